#!/usr/bin/env bash
# perl: hashes, regular expressions, sorting, closures, forks.
. "$(dirname "$0")/../common.sh"
need perl

cat >"$room/script.pl" <<'SCRIPT'
# The program under test: the hash order is fixed by PERL_HASH_SEED.
use strict; use warnings; use Digest::SHA qw(sha256_hex); use List::Util qw(sum reduce); use Storable qw(freeze thaw dclone);
my %count;
for my $i (1 .. 200000) { $count{"key" . ($i * 7919 % 5003)} .= chr(97 + $i % 26); }
print sha256_hex(join ",", map { "$_=$count{$_}" } sort keys %count), "\n";
my @lists = map { [map { $_ * 3 } 0 .. $_ % 100] } 1 .. 5000;
print sum(map { scalar @$_ } @lists), " ", sha256_hex(freeze(\@lists)), "\n";
my $copy = dclone(\%count);
delete @{$copy}{grep { /7$/ } keys %$copy};
print scalar(keys %$copy), "\n";
my $text = join " ", map { sprintf "%05d-%s", $_, "z" x ($_ % 17) } 1 .. 30000;
my $n = () = $text =~ /\d+-(z{3,9})\b/g;
(my $other = $text) =~ s/(\d+)-(z+)/$2$1/g;
print "$n ", sha256_hex($other), "\n";
my @subs = map { my $k = $_; sub { $k++ + $_[0] } } 1 .. 10000;
print sum(map { $_->(5) } @subs), "\n";
for my $child (1 .. 5) {
  my $pid = fork() // die;
  if (!$pid) { my @x = map { "x" x $_ } 1 .. 2000; exit(length(join "", @x) % 200); }
  waitpid $pid, 0;
  print "child ", $? >> 8, "\n";
}
print reduce { $a ^ $b } map { length } sort { $b cmp $a } split / /, $text;
print "\n";
SCRIPT
run_script() { PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0 perl "$room/script.pl"; }
compare "perl" run_script

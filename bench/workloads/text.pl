# Text in hashes and arrays: splitting, joining, sorting, substitution.
use strict;
use warnings;

my $scale = @ARGV ? $ARGV[0] : 1;
my $state = 4711;

sub number {
    my ($limit) = @_;
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    return ($state >> 8) % $limit;
}

my %count;
my %lines_of;
my @lines;
for my $i (1 .. int(50_000 * $scale) + 1) {
    my $line = join(' ', map { 'w' . number(3000) . ('x' x number(12)) } 1 .. 4 + number(12));
    push @lines, $line;
    for my $word (split / /, $line) {
        $count{$word}++;
        push @{$lines_of{substr($word, 0, 3)}}, $i if $i % 4 == 0;
    }
}
my @top = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
my $sum = 0;
for my $line (@lines) {
    (my $copy = $line) =~ s/w(\d)/<$1>/g;
    $sum = ($sum * 31 + length($copy)) % 1_000_000_007;
}
printf "%d words, first %s, %d groups, sum %d\n", scalar(@top), join(',', @top[0 .. 4]), scalar(keys %lines_of), $sum;

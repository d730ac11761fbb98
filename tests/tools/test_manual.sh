#!/usr/bin/env bash
# The manual pages: complete, and without mistakes for groff and mandoc where these are installed.
# Usage: test_manual.sh WEIR MAN_FOLDER INCLUDE_FOLDER
weir=$1
man=$2
headers=$3
. "$(dirname "$0")/common.sh"
status=0 output= errors=

has() {
  checks=$((checks + 1))
  grep -qF -- "$2" "$1" || complain "${1##*/} should have: $2"
}
# As it stands in a page.
escaped() { printf '%s' "${1//-/\\-}"; }

for page in man1/weir.1 man5/weir.conf.5 man3/weir.3; do
  checks=$((checks + 1))
  [ -s "$man/$page" ] || complain "$page was not made"
done

# weir(1): every command with every option, and how each ends.
while read -r command; do
  has "$man/man1/weir.1" ".SS weir $command"
  while read -r option; do
    has "$man/man1/weir.1" "\\fB$(escaped "$option")\\fR"
  done < <("$weir" "$command" --help | grep -oE '^  (-[a-z],)?--[a-z-]+' | grep -oE -- '--[a-z-]+')
done < <("$weir" --help | sed -n '/^Subcommands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
for each in '.SH EXIT STATUS' 'Exit status: 0 everything works' 'Exit status: that of PROGRAM' 64 125 126 127; do
  has "$man/man1/weir.1" "$each"
done

# weir.conf(5): every key with its default.
keys=0
while read -r assignment; do
  has "$man/man5/weir.conf.5" "\\fB${assignment%%=*}\\fR=\\fI$(escaped "${assignment#*=}")\\fR"
  keys=$((keys + 1))
done < <("$weir" options | sed -nE 's/^  ([a-z_]+=[^ ]*) .*/\1/p')
checks=$((checks + 1))
[ "$keys" -gt 20 ] || complain "only $keys keys were looked for"

# Section 3: every function with a page of its own that leads to what says more.
for header in "$headers"/weir/*.h; do
  name=$(basename "$header" .h)
  [ "$name" = weir ] && page=weir || page=weir_$name
  functions=0
  for function in $(grep -E '^WEIR_API ' "$header" | grep -oE '\bweir_[a-z_]+\(' | tr -d '('); do
    has "$man/man3/$page.3" " $function" # its name in NAME
    has "$man/man3/$page.3" "$function("
    [ "$function" = "$page" ] || has "$man/man3/$function.3" ".so man3/$page.3"
    functions=$((functions + 1))
  done
  # Some only lay something out.
  checks=$((checks + 1))
  [ "$functions" -gt 0 ] || ! grep -q WEIR_API "$header" || complain "no function of $header was looked for"
done
has "$man/man3/weir.3" 'Allocates \fBsize\fR bytes (0 is allowed'

pages=("$man"/man1/weir.1 "$man"/man5/*.5 "$man"/man3/*.3)
if command -v groff >/dev/null; then
  for page in "${pages[@]}"; do
    invoke bash -c 'cd "$1" && groff -man -ww -Tutf8 -s "$2" >"$3"' - "$man" "$page" "$room/rendered"
    checks=$((checks + 1))
    [ "$status" = 0 ] && [ -z "$errors" ] || complain "groff should take ${page##*/} without a word"
    grep -q . "$room/rendered" || complain "${page##*/} shows nothing"
  done
else
  echo "groff is not installed: its part is left out"
fi
if command -v mandoc >/dev/null; then
  invoke mandoc -T lint -W error "${pages[@]}"
  checks=$((checks + 1))
  [ "$status" = 0 ] || complain "mandoc finds mistakes"
fi
finish

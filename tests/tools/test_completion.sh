#!/usr/bin/env bash
# Completion in bash: what is offered for a line that ends at the cursor, with nothing but the file that is installed.
# Usage: test_completion.sh WEIR COMPLETION_FILE
PATH=$(dirname "$1"):$PATH
. "$(dirname "$0")/common.sh"
. "$2"
status=0 errors=

# ask LINE: splits it into words as readline does with its usual breaks (no quotes in it), and leaves the candidates in
# $output.
ask() {
  local line=$1 word
  COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=()
  while IFS= read -r word; do COMP_WORDS+=("$word"); done < <(grep -oE '[=:]+|[^ =:]+' <<<"$line")
  [[ $line != *' ' ]] || COMP_WORDS+=("")
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _weir
  output=$(printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C sort)
  checks=$((checks + 1))
}

# completes LINE WORD...: exactly these are offered.
completes() {
  ask "$1"
  [ "$output" = "$(printf '%s\n' "${@:2}" | LC_ALL=C sort)" ] || complain "'$1' should offer: ${*:2}"
}

# offers LINE WORD...: these are among what is offered.
offers() {
  local word
  ask "$1"
  for word in "${@:2}"; do
    grep -qxF -- "$word" <<<"$output" || complain "'$1' should offer $word"
  done
}

mapfile -t commands < <(weir --help | sed -n '/^Subcommands:/,/^$/s/^  \([a-z_]*\) .*/\1/p')
checks=$((checks + 1))
[ "${#commands[@]}" -ge 3 ] || { output="${commands[*]}"; complain "weir --help lists no commands"; }
completes 'weir ' "${commands[@]}"
completes 'weir ru' run
completes 'weir doc' doctor
completes 'weir no' ''
completes 'weir nonsense ' ''
completes 'weir --ver' --version
completes 'weir run --sw' --swap --swap-size
completes 'weir run --limit 1G --su' --summary
completes 'weir doctor --' --help --swap --json
completes 'weir doctor ' ''

completes 'weir get 4711 page' page_cluster
completes 'weir get 4711 vm.pa' vm.page-cluster
completes 'weir set 4711 vm.w' vm.watermark_scale_factor=
completes 'weir set 4711 tcache' ''
completes 'weir set 4711 limit=' 0 cgroup
completes 'weir set 4711 decay_ms=1s kswapd=' 0 1
# Values: of options that name a key, of types that list words, of keys.
completes 'weir run --limit c' cgroup
completes 'weir run --limit=c' cgroup
completes 'weir run --rss-limit ' 0 cgroup
completes 'weir run --zswap ' on off
completes 'weir run --zswap=o' on off
completes 'weir run --swap-size ' ''
completes 'weir run --set zswap_c' zswap_compressor=
completes 'weir run --set zswap_compressor=' lz4 zstd
completes 'weir run --set zswap_compressor=z' zstd
completes 'weir run --set=thp=d' dense
completes 'weir run --set summary=' 0 1
completes 'weir run --set nonsense=' ''
mapfile -t keys < <(weir options | sed -nE 's/^  ([a-z_]+)=.*/\1=/p')
checks=$((checks + 1))
[ "${#keys[@]}" -gt 20 ] || { output="${keys[*]}"; complain "weir options lists no keys"; }
completes 'weir run --set ' "${keys[@]}"

# Paths.
mkdir "$room/folder" "$room/fine"
touch "$room/file"
cd "$room" || exit 1
completes 'weir run --swap fi' file fine
completes "weir run --swap=$room/fo" "$room/folder"
completes "weir run --set swap=$room/fi" "$room/file" "$room/fine"
completes 'weir doctor --swap fo' folder
completes 'weir run --set swap=no' none

# Another command's words.
printf '#!/bin/sh\n' >"$room/weir-test-program"
chmod +x "$room/weir-test-program"
PATH=$PATH:$room
completes 'weir run -- weir-test-p' weir-test-program
completes 'weir run weir-test-p' weir-test-program
completes 'weir run --limit 1G --summary weir-test-p' weir-test-program
completes 'weir run --limit=1G --set a=b -- weir-test-program fol' folder
completes 'weir run cat fol' folder
completes 'weir run -- cat --sw' ''
offers 'weir run ' cat weir-test-program

# With the package bash-completion that is its business, and it hears where the command begins.
_command_offset() { COMPREPLY=("from $1"); }
completes 'weir run --limit=1G -- cat x' 'from 6'
completes 'weir run cat' 'from 2'
unset -f _command_offset

finish

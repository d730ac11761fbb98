#!/usr/bin/env bash
# bash: arrays, associative arrays, strings, subshells, pipes, process substitution, here-documents, recursion.
. "$(dirname "$0")/../common.sh"
need bash seq sort

cat >"$room/script" <<'SCRIPT'
declare -A table
for i in $(seq 20000); do table[key$((i % 4000))]+="$i,"; done
for key in $(printf '%s\n' "${!table[@]}" | sort); do echo "$key ${#table[$key]} ${table[$key]:0:20}"; done
list=()
for ((i = 0; i < 30000; ++i)); do list+=("item $i of a growing list"); done
echo "${#list[@]} ${list[@]: -2}"
text=x
for i in $(seq 13); do text+=$text; done
echo "${#text}"
text=${text//xx/yz}
echo "${#text} ${text:100:10}"
fib() { (($1 < 2)) && echo "$1" || echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); }
fib 9
paste <(seq 2000) <(seq 2000 | sort -r) | while read -r a b; do echo "$((a * b))"; done | tail -n 3
for i in $(seq 100); do (exit $((i % 7))) || echo -n "$? "; done
echo
cat <<TEXT
$(for i in $(seq 500); do echo "line $i $RANDOM" | cut -d' ' -f1,2; done)
TEXT
trap 'echo bye' EXIT
mapfile -t lines < <(seq 100000)
echo "${#lines[@]} ${lines[99999]}"
SCRIPT
run_script() { bash "$room/script"; }
compare "bash script" run_script

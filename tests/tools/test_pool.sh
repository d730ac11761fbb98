#!/usr/bin/env bash
# weir run --pool and weir pool: processes that share a limit, come, fork, are stopped and are killed; the limit changed
# meanwhile; refusals.
# Usage: test_pool.sh WEIR LIBRARY HOLDER CHURNER
weir=$1
library=$(dirname "$2")/libweir-malloc.so
holder=$3
churner=$4
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/processes.sh"

pool=test-$$
remove_pool() {
  stop_all
  rm -f "/dev/shm/weir-pool.$(id -u).$pool"
}
trap remove_pool EXIT

in_pool() { "$weir" run --pool "$pool" --limit 64M --swap none -- "$@"; }
member() { "$weir" pool show "$pool" | awk -v p="$1" -v column="$2" '$1 == p {print int($column)}'; }
granted() { member "$1" 2; }
granted_between() { local now; now=$(granted "$1"); [ "${now:-0}" -ge "$2" ] && [ "$now" -le "$3" ]; }
members() { "$weir" pool ls | awk -v n="$pool" '$1 == n {print $2}'; }
has_members() { [ "$(members)" = "$1" ]; }
all_used() { "$weir" pool show "$pool" | awk '$1 == "all" {print int($3 + 0.999)}'; }
used_at_most() { [ "$(all_used)" -le "$1" ]; }
# What the kernel says that the heaps hold, arenas and compressed memory, in MiB (see rss_sampler).
resident() {
  local sum=0
  for each in "$@"; do
    sum=$((sum + $(awk '/^[0-9a-f]+-/ {split($1, a, "-"); heap = length(a[1]) == 12 && a[1] >= "200000000000" && a[1] < "540000000000"}
                        /^Rss:/ && heap {kb += $2} END {print int(kb / 1024)}' "/proc/$each/smaps")))
  done
  echo "$sum"
}

# -- refusals
refuses 66 "weir: pool $pool: No such file or directory" "$weir" pool show "$pool"
refuses 64 "weir: --pool a/b: expected 1 to 63 letters, digits, '.', '_' or '-', no '.' first" \
  "$weir" run --pool a/b --limit 64M -- true
refuses_with 64 "A subcommand is required" "$weir" pool
invoke env LD_PRELOAD="$library" WEIR_CONF="pool=$pool" true
holds "a pool needs a limit" [ "$errors" = \
  "weir: pool=$pool: it needs a limit (limit=SIZE or rss_limit=SIZE); this process shares no limit" ]
invoke env LD_PRELOAD="$library" WEIR_CONF="pool=a/b,limit=64M" true
holds "the library says what a name is" grep -q "^weir: pool=a/b: a pool's name has 1 to 63 letters" "$room/errors"

# -- one that grows little by little to nearly twice the limit: the room for what is compressed grows with its part
growing='
import os
blocks = [(os.urandom(1600) + bytes(2496)) * 64 for _ in range(430)]
assert all(block == block[:4096] * 64 for block in blocks)
print(len(blocks))'
invoke env PYTHONMALLOC=malloc "$weir" run --pool "$pool" --limit 64M --swap none -- python3 -c "$growing"
case $errors in *"pages cannot be swapped here"*) echo "$errors" >&2; exit 77 ;; esac
holds "one member may have as much as without a pool" [ "$status:$output" = 0:430 ]
rm -f "/dev/shm/weir-pool.$(id -u).$pool"

# -- one member, and a second one that wants as much
start first "$weir" run --pool "$pool" --limit 64M --swap none -- "$holder" 60
first=$pid
[ "$("$weir" ps | awk -v p="$first" '$1 == p {print $2}')" = swap ] ||
  { echo "pages cannot be swapped here" >&2; exit 77; }
holds "it is in the pool" has_members 1
becomes "alone it has what it needs" granted_between "$first" 60 64
# The pool's limit need not be named again.
start second "$weir" run --pool "$pool" --swap none -- "$holder" 60
second=$pid
holds "both are in it" has_members 2
becomes "both have half of it: the first" granted_between "$first" 30 34
becomes "and the second" granted_between "$second" 30 34
becomes "they hold no more than the limit" used_at_most 64
now=$(resident "$first" "$second")
holds "the kernel says so too ($now MiB)" [ "$now" -le 72 ]

# -- a child of a fork has an entry of its own, and what it had is free when it is killed
kill -USR1 "$first"
becomes "the child is a member" has_members 3
becomes "three have a third: the second" granted_between "$second" 19 23
becomes "they hold no more than the limit" used_at_most 64
child=$(pgrep -P "$first")
kill -KILL "$child"
becomes "it is gone" has_members 2
becomes "and what it had is there again" granted_between "$second" 30 34

# -- a member that is stopped keeps what it has, and holds up nobody
kill -STOP "$first"
start third "$weir" run --pool "$pool" --swap none -- "$holder" 4
holds "another comes meanwhile" has_members 3
kill -KILL "$pid"
kill -CONT "$first"

# -- the limit is changed
refuses 64 "weir: pool set: 12Q: expected limit=SIZE" "$weir" pool set "$pool" 12Q
refuses_with 64 "limit=12Q" "$weir" pool set "$pool" limit=12Q
refuses_with 64 "a pool has a limit of its own" "$weir" pool set "$pool" limit=0
refuses_with 64 "the limit is that of the pool $pool, for all of its processes; see weir pool set" \
  "$weir" set "$second" limit=32M
refuses 75 "weir: pool $pool: 2 processes are in it; they have to end first" "$weir" pool rm "$pool"
prints "" "$weir" pool set "$pool" limit=40M
becomes "members come down to it" used_at_most 40
becomes "the first one too" granted_between "$first" 18 22
prints "" "$weir" pool set "$pool" limit=128M
becomes "and go up again" granted_between "$first" 55 66

# -- programs that allocate, fork and check what they have, while others are killed
kill -KILL "$first"
prints "" "$weir" pool set "$pool" limit=24M
checkers=()
for i in 1 2 3; do
  start "churner$i" "$weir" run --pool "$pool" --swap none -- "$churner"
  checkers+=("$pid")
done
for _ in $(seq 15); do
  start victim "$weir" run --pool "$pool" --swap none -- "$holder" 8
  kill -KILL "$pid"
done
for each in "${checkers[@]}"; do kill -TERM "$each"; done
# One that found a wrong byte has ended without a word.
for i in 1 2 3; do becomes "churner $i checked everything" grep -q checked "$room/churner$i"; done
kill -KILL "$second"
becomes "everybody is gone" has_members 0
holds "nothing is granted" [ "$("$weir" pool ls | awk -v n="$pool" '$1 == n {print $4}')" = 0.0 ]
prints "" "$weir" pool rm "$pool"
refuses 66 "weir: pool $pool: No such file or directory" "$weir" pool rm "$pool"
finish

#!/usr/bin/env bash
# weir get and weir set: values, refusals and statuses; programs whose limit is lowered and raised, whose watermarks
# change, that are stopped, idle, end, become another program, fork, or are changed by two commands at once.
# Usage: test_settings.sh WEIR LIBRARY HOLDER CHURNER
weir=$1
library=$(dirname "$2")/libweir-malloc.so
holder=$3
churner=$4
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/processes.sh"

rss_mib() { awk '/^VmRSS/ {print int($2 / 1024)}' "/proc/$1/status"; }
rss_at_most() { [ "$(rss_mib "$1")" -le "$2" ]; }
zone_value() { "$weir" zoneinfo "$1" | awk -v name="$2" '$1 == name {print $2; exit}'; }
used_mib() { "$weir" ps --json | tr '{' '\n' | grep "\"pid\":$1," | sed -E 's/.*"used":([0-9]+).*/\1/' | awk '{print int($1 / 256)}'; }
used_at_most() { [ "$(used_mib "$1")" -le "$2" ]; }

start limited "$weir" run --limit 64M --swap "$room" -- "$holder" 48
limited=$pid
start idle env LD_PRELOAD="$library" "$holder" 8
idle=$pid
[ "$("$weir" ps | awk -v p="$limited" '$1 == p {print $2}')" = swap ] ||
  { echo "pages cannot be swapped here" >&2; exit 77; }

# -- get
prints "limit = 64M" "$weir" get "$limited" limit
prints $'64M\n10000' "$weir" get -n "$limited" limit decay_ms
prints '{"vm.page-cluster":"3","swap":"'"$room"'"}' "$weir" get --json "$limited" vm.page-cluster swap
prints "limit = 0" "$weir" get "$idle" limit
invoke "$weir" get "$limited"
holds "every option is there" [ "$(wc -l <"$room/output")" = "$(("$("$weir" options | wc -l)" - 1))" ]
holds "as a table" [ "$(sed 's/ = .*//' "$room/output" | awk '{print length}' | sort -u | wc -l)" = 1 ]
start texts env LD_PRELOAD="$library" WEIR_CONF="pool=some.pool,swap=/no/such/place" "$holder" 1
prints $'pool = some.pool\nswap = /no/such/place\nswap_fault = none' "$weir" get "$pid" pool swap swap_fault
invoke "$weir" get --changeable "$limited"
holds "what can be changed" [ "$(awk '{print $1}' "$room/output" | sort | tr '\n' ' ')" = \
  "compaction_proactiveness decay_ms dirty_background_bytes dirty_background_ratio dirty_bytes dirty_expire_centisecs dirty_ratio dirty_writeback_centisecs extfrag_threshold kswapd limit min_free_kbytes oom oom_dump_tasks oom_kill_allocating_task oom_score_adj page_cluster rss_limit standby_percent stats_at_exit swap swap_size swappiness watermark_scale_factor zone_reclaim_mode zswap_compressor zswap_max " ]
refuses 64 "weir: get: unknown key 'limti' (did you mean 'limit'?)" "$weir" get "$limited" limti
refuses 66 "weir: process $$: it is not on weir (or was started with stats_page=0)" "$weir" get $$
refuses_with 64 "pid" "$weir" get
refuses_with 64 "pid" "$weir" get nobody limit

# -- a limit that is lowered and raised
before=$(rss_mib "$limited")
prints "limit = 20M (was 64M)" "$weir" set "$limited" limit=20M
prints "limit = 20M" "$weir" get "$limited" limit
becomes "the heap shrinks to the limit" used_at_most "$limited" 20
becomes "and so does the process ($before MiB before)" rss_at_most "$limited" $((before - 24))
holds "ps shows it" [ "$("$weir" ps | awk -v p="$limited" '$1 == p {print $3}')" = "20.0" ]
prints '{"key":"limit","old":"20M","new":"96M"}' "$weir" set --json "$limited" limit=98304K
holds "the zone has it" [ "$(zone_value "$limited" managed)" = $((96 * 256)) ]

# -- watermarks
prints $'vm.min_free_kbytes = 4096 (was 0)\nwatermark_scale_factor = 1000 (was 10)' \
  "$weir" set "$limited" vm.min_free_kbytes=4096 watermark_scale_factor=1000
holds "min" [ "$(zone_value "$limited" min)" = 1024 ]
holds "low" [ "$(zone_value "$limited" low)" = $((1024 + 96 * 256 / 10)) ]

# -- how is swapped, and decay
prints $'standby_percent = 25 (was 10)\nvm.page-cluster = 0 (was 3)\nzswap_max = 8M (was 0)\ndecay_ms = 1000 (was 10000)' \
  "$weir" set "$limited" standby_percent=25 vm.page-cluster=0 zswap_max=8M decay_ms=1s

prints "zswap_compressor = zstd (was lz4)" "$weir" set "$limited" zswap_compressor=zstd
prints "vm.swappiness = 10 (was 60)" "$weir" set "$limited" vm.swappiness=10

# -- another swap file, as it is shown and written to, and none
place() { "$weir" swaps "$1" | awk 'NR == 2 {print $1}'; }
has_place() { [ "$(place "$1")" = "$2" ]; }
mkdir "$room/other"
prints "swap = $room/other (was $room)" "$weir" set "$limited" swap="$room/other"
becomes "it is the one that is shown" has_place "$limited" "$room/other"
prints "swap = $room/other" "$weir" get "$limited" swap
prints "swap = none (was $room/other)" "$weir" set "$limited" swap=none
becomes "there is none" has_place "$limited" ""
prints "swap = none" "$weir" get "$limited" swap
cd "$room"
prints $'swap_size = 96M (was 0)\nswap = '"$room (was none)" "$weir" set "$limited" swap_size=96M swap=.
cd "$OLDPWD"
becomes "the first is back" has_place "$limited" "$room"
holds "it is as large as was asked for" [ "$("$weir" swaps "$limited" | awk 'NR == 2 {print $3}')" = $((96 * 1024)) ]
refuses 64 "weir: process $limited: swap=/no/such/folder/file: no such file or directory" \
  "$weir" set "$limited" swap=/no/such/folder/file
prints "swap = $room" "$weir" get "$limited" swap

# -- refusals
refuses 64 "weir: process $limited: page_cluster=7: expected a whole number 0..6 (2^n pages)" "$weir" set "$limited" page_cluster=7
refuses 64 "weir: process $limited: limit=1K: expected a size 1M..16T (bytes, or with K, M, G, T), or cgroup" \
  "$weir" set "$limited" limit=1K
refuses_with 64 "limit=0: a limit cannot be taken away while the program runs" "$weir" set "$limited" limit=0
refuses 64 "weir: process $limited: tcache=0: cannot be changed while the program runs; set it when the program starts, in WEIR_CONF or by weir run" \
  "$weir" set "$limited" tcache=0
refuses 64 "weir: process $limited: vm.swappiness=201: expected a whole number 0..200" "$weir" set "$limited" vm.swappiness=201
refuses 64 "weir: process $limited: vm.extfrag_threshold=1001: expected a whole number 0..1000" \
  "$weir" set "$limited" vm.extfrag_threshold=1001
refuses_with 64 "vm.compact_memory=1: nothing can be moved: " "$weir" set "$limited" vm.compact_memory=1
refuses_with 64 "unknown key 'nonsense'" "$weir" set "$limited" nonsense=1
refuses 64 "weir: set: limit: expected KEY=VALUE" "$weir" set "$limited" limit
refuses 64 "weir: set: =1: expected KEY=VALUE" "$weir" set "$limited" =1
refuses_with 64 "at most 63 characters" "$weir" set "$limited" "$(printf 'k%.0s' $(seq 70))=1"
refuses_with 64 "assignments" "$weir" set "$limited"
refuses_with 66 "it is not on weir" "$weir" set $$ decay_ms=1
refuses 66 "weir: process 4194303: no such process" "$weir" set 4194303 decay_ms=1
# What stands before a refusal is done.
invoke "$weir" set "$limited" standby_percent=11 standby_percent=51 standby_percent=12
holds "the first is done, the third is not" [ "$status/$output" = "64/standby_percent = 11 (was 25)" ]
prints "standby_percent = 11" "$weir" get "$limited" standby_percent

# -- another user's process
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  refuses_with 66 "permission denied" setpriv --reuid 65534 --regid 65534 --clear-groups "$weir" set "$limited" decay_ms=1
  holds "nothing was changed" [ "$("$weir" get -n "$limited" decay_ms)" = 1000 ]
fi

# -- a process that does not answer: stopped, or idle without a thread of weir's
kill -STOP "$limited"
refuses_with 75 "process $limited: it has not answered within 0.3 s" "$weir" set --wait 0.3 "$limited" limit=40M
kill -CONT "$limited"
prints "standby_percent = 13 (was 11)" "$weir" set "$limited" standby_percent=13
holds "what was withdrawn is not done" [ "$("$weir" get -n "$limited" limit)" = 96M ]
refuses_with 75 "nothing was changed" "$weir" set --wait 0.3 "$idle" decay_ms=1
prints "decay_ms = 10000" "$weir" get "$idle" decay_ms
# SIGINT takes the request away, too.
"$weir" set --wait 60 "$idle" decay_ms=1 >/dev/null 2>&1 &
asking=$!
becomes "it asks" sh -c "ls -l /proc/$asking/fd | grep -q /mem"
kill -TERM "$asking"
wait "$asking"
holds "ended by the signal" [ $? = 143 ]

# -- the process ends, or becomes another program, meanwhile
start ending env LD_PRELOAD="$library" "$holder" 4
ending=$pid
"$weir" set --wait 60 "$ending" decay_ms=1 2>"$room/gone" &
asking=$!
becomes "it asks" sh -c "ls -l /proc/$asking/fd | grep -q /mem"
kill -KILL "$ending"
wait "$ending" 2>/dev/null
wait "$asking"
holds "an end is told" [ "$?/$(cat "$room/gone")" = "66/weir: process $ending: it ended, or became another program, before it answered" ]
start changing env LD_PRELOAD="$library" "$holder" 4
changing=$pid
"$weir" set --wait 60 "$changing" decay_ms=1 2>"$room/gone" &
asking=$!
becomes "it asks" sh -c "ls -l /proc/$asking/fd | grep -q /mem"
kill -USR2 "$changing"
wait "$asking"
holds "another program is told" [ "$?/$(cat "$room/gone")" = "66/weir: process $changing: it ended, or became another program, before it answered" ]

# -- two commands at once, while the program allocates and forks
hammer() {
  local of=$1 tag=$2
  shift 2
  for round in $(seq 25); do
    for each; do
      "$weir" set --wait 30 "$of" "$each" >>"$room/hammer.$tag" 2>&1 || return 1
    done
  done
}
for kind in with without; do
  if [ $kind = with ]; then
    start "churner.$kind" "$weir" run --limit 24M --swap "$room" -- "$churner"
    first="limit=16M limit=64M zswap_max=4M zswap_max=0" second="vm.min_free_kbytes=2048 vm.min_free_kbytes=0 standby_percent=5 standby_percent=40"
  else
    start "churner.$kind" env LD_PRELOAD="$library" "$churner"
    first="decay_ms=0 decay_ms=10s decay_ms=-1" second="vm.min_free_kbytes=2048 vm.min_free_kbytes=0 decay_ms=50"
  fi
  hammer "$pid" "$kind.1" $first &
  one=$!
  hammer "$pid" "$kind.2" $second &
  two=$!
  wait "$one"
  holds "the first is answered, $kind a limit" [ $? = 0 ]
  wait "$two"
  holds "the second is answered, $kind a limit" [ $? = 0 ]
  kill -TERM "$pid"
  wait "$pid"
  holds "no byte is lost, $kind a limit" [ $? = 0 ]
done
finish

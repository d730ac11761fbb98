#!/usr/bin/env bash
# The commands that look at processes on weir: the kernel's formats, the invariants of the numbers, and processes that
# fork, become other programs, end, or belong to somebody else.
# Usage: test_inspect.sh WEIR LIBRARY HOLDER
weir=$1
library=$(dirname "$2")/libweir-malloc.so
holder=$3
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/processes.sh"

# shows PATTERN-FILE COMMAND...: every line that it prints matches one of the extended patterns, and every pattern a line.
shows() {
  local patterns=$1
  shift
  invoke "$@"
  checks=$((checks + 1))
  [ "$status" = 0 ] && [ -z "$errors" ] || return $(complain "$*")
  grep -vxEf "$patterns" "$room/output" >"$room/strange" && complain "$* prints: $(cat "$room/strange")"
  while IFS= read -r pattern; do
    grep -qxE -- "$pattern" "$room/output" || complain "$* prints no line like: $pattern"
  done <"$patterns"
}

value() { "$weir" vmstat --counters "$1" | awk -v name="$2" '$1 == name {print $2}'; }
own_descriptors() { ls -l "/proc/$1/fd" | grep -E 'weir-stats|userfaultfd'; }
meminfo() { "$weir" meminfo "$1" | awk -v name="$2:" '$1 == name {print $2}'; }

start limited "$weir" run --limit 24M --swap "$room" -- "$holder" 64
limited=$pid
start free env LD_PRELOAD="$library" "$holder" 40
free=$pid

# -- ps
invoke "$weir" ps
holds "ps lists both" [ "$(awk -v a="$limited" -v b="$free" '$1 == a || $1 == b' "$room/output" | wc -l)" = 2 ]
holds "a limit is shown" [ "$(awk -v p="$limited" '$1 == p {print $3, $8}' "$room/output")" = "24.0 holder" ]
holds "no limit is shown" [ "$(awk -v p="$free" '$1 == p {print $2, $3}' "$room/output")" = "none -" ]
holds "the shell is not on weir" [ -z "$(awk -v p="$$" '$1 == p' "$room/output")" ]
mode=$(awk -v p="$limited" '$1 == p {print $2}' "$room/output")

# -- the kernel's formats
number='[0-9]+'
cat >"$room/buddyinfo" <<'END'
Node 0, zone   Normal ( *[0-9]+ ){11}
END
cat >"$room/extfrag_index" <<'END'
Node 0, zone   Normal ((-1\.000| 0\.[0-9]{3}|-0\.[0-9]{3}) ){11}
END
cat >"$room/unusable_index" <<'END'
Node 0, zone   Normal ([01]\.[0-9]{3} ){11}
END
cat >"$room/pagetypeinfo" <<'END'
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order( +[0-9]+ ){11}
Node    0, zone   Normal, type    Unmovable ( *[0-9]+ ){11}
Node    0, zone   Normal, type      Movable ( *[0-9]+ ){11}
Node    0, zone   Normal, type  Reclaimable ( *[0-9]+ ){11}
Number of blocks type     Unmovable      Movable  Reclaimable 
Node 0, zone   Normal ( *[0-9]+ ){3}
END
cat >"$room/meminfo" <<'END'
[A-Z][A-Za-z]+(\(file\))?: +[0-9]+ kB
MemTotal: +24576 kB
Swap(Cached|Total|Free): +[0-9]+ kB
END
cat >"$room/slabinfo" <<'END'
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> <batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>
malloc-[0-9]+( +[0-9]+){5} : tunables( +0){3} : slabdata( +[0-9]+){3}
END
cat >"$room/numastat" <<'END'
(numa_hit|numa_miss|numa_foreign|interleave_hit|local_node|other_node) [0-9]+
END
cat >"$room/zoneinfo" <<'END'
Node 0, zone   Normal
  per-node stats
      [a-z_]+ +[0-9]+
  pages free     [0-9]+
        (boost|min|low|high|spanned|present|managed|cma) +[0-9]+
        protection: \(0\)
  pagesets
  node_unreclaimable:  0
  start_pfn:           0
END
if [ "$(ls -d /sys/devices/system/node/node[0-9]* 2>/dev/null | wc -l)" -le 1 ]; then
  for file in buddyinfo extfrag_index unusable_index pagetypeinfo meminfo slabinfo numastat zoneinfo; do
    shows "$room/$file" "$weir" "$file" "$limited"
  done
fi
invoke "$weir" swaps "$limited"
holds "the heading of /proc/swaps" [ "$(head -n 1 "$room/output")" = "$(printf 'Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority')" ]

# -- invariants
for each in "$limited" "$free"; do
  "$weir" zoneinfo "$each" | awk '
    /pages free/ {free = $3} /nr_used_pages/ {used = $2} / managed/ {managed = $2} /^        min/ {min = $2}
    /^        low/ {low = $2} /^        high/ {high = $2}
    END {exit free + used == managed && min > 0 && min <= low && low <= high ? 0 : 1}'
  holds "free + used = managed, min <= low <= high in $each" [ $? = 0 ]
  holds "given out is at least given back in $each" [ "$(value "$each" pgalloc_normal)" -ge "$(value "$each" pgfree)" ]
done
holds "40 MiB are in use without a limit" [ "$(($(meminfo "$free" MemTotal) - $(meminfo "$free" MemFree)))" -ge 40960 ]
holds "without a limit there is no swap" [ "$("$weir" swaps "$free" | wc -l)" = 1 ]
if [ "$mode" = swap ]; then
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    "$weir" vmstat --counters "$limited" | awk '{v[$1] = $2} END {
      ok = v["pgscan_kswapd"] >= v["pgsteal_kswapd"] && v["pgscan_direct"] >= v["pgsteal_direct"]
      ok = ok && v["pgsteal_kswapd"] + v["pgsteal_direct"] > 0 && v["zswpin"] <= v["zswpout"]
      exit ok && v["pgfault"] >= v["pgmajfault"] ? 0 : 1}'
    holds "counters in order" [ $? = 0 ]
  done
  holds "the swap file is listed" [ "$("$weir" swaps "$limited" | awk -v d="$room" '$1 == d && $2 == "file" && $4 <= $3' | wc -l)" = 1 ]
  holds "swap is used" [ "$("$weir" vmstat "$limited" | awk 'NR == 3 {print $3}')" -gt 10000 ]
else
  echo "only in part: pages cannot be swapped here ($mode)"
fi

# -- rates
invoke "$weir" vmstat "$limited" 0.1 3
holds "vmstat: three lines of 17 columns" [ "$(awk 'NR > 2 && NF == 17' "$room/output" | wc -l)" = 3 ]
holds "vmstat's heading" [ "$(sed -n 2p "$room/output")" = " r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st" ]
holds "processors add up" [ -z "$(awk 'NR > 2 && $13 + $14 + $15 != 100' "$room/output")" ]
invoke "$weir" sar -B "$limited" 0.2 2
holds "sar's heading" [ "$(sed -n 3p "$room/output" | cut -c 10-)" = "    pgpgin/s pgpgout/s   fault/s  majflt/s  pgfree/s pgscank/s pgscand/s pgsteal/s    %vmeff" ]
holds "sar: two lines and the average" [ "$(awk 'NR > 3 && NF == 10' "$room/output" | wc -l)" = 3 ]
holds "sar's average is the last" [ "$(awk 'END {print $1}' "$room/output")" = Average: ]
holds "no page is stolen twice" [ -z "$(awk 'NR > 3 && $10 > 100' "$room/output")" ]

# -- JSON, if there is somebody who reads it
if command -v python3 >/dev/null; then
  for command in ps "vmstat $limited" "vmstat --counters $limited" "zoneinfo $limited" "buddyinfo $limited" \
    "pagetypeinfo $limited" "meminfo $limited" "slabinfo $limited" "numastat $limited" "swaps $limited"; do
    "$weir" $command --json 2>"$room/errors" | python3 -m json.tool >/dev/null 2>>"$room/errors"
    holds "JSON of $command: $(cat "$room/errors")" [ $? = 0 ]
  done
fi

# -- programs that read the kernel's files
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
  as_kernel() { # FILE PID COMMAND...
    "$weir" "$1" "$2" >"$room/as_kernel"
    unshare -m sh -c 'mount --bind "$1" "/proc/$2" && shift 2 && "$@"' sh "$room/as_kernel" "$1" "${@:3}"
  }
  command -v free >/dev/null && holds "free(1) reads meminfo" \
    [ "$(as_kernel meminfo "$limited" free -k | awk '/^Mem:/ {print $2}')" = 24576 ]
  command -v slabtop >/dev/null && holds "slabtop(1) reads slabinfo" \
    grep -q malloc- <(as_kernel slabinfo "$free" slabtop -o 2>&1)
  command -v swapon >/dev/null && [ "$mode" = swap ] && holds "swapon(8) reads swaps" \
    grep -q "$room" <(as_kernel swaps "$limited" swapon --show=NAME 2>&1)
fi

# -- the target notices nothing: its descriptors are its own
for each in "$limited" "$free"; do
  holds "no descriptor of weir's in $each" [ -z "$(own_descriptors "$each")" ]
done

# -- where processes of one user may not read each other (Yama), a limit's page is found by the descriptor of weir's thread
if command -v "${CC:-cc}" >/dev/null && [ "$mode" = swap ]; then
  cat >"$room/closed.c" <<'END'
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
int open(const char* path, int flags, ...) {
  const size_t length = strlen(path);
  if (length > 4 && strcmp(path + length - 4, "/mem") == 0) return errno = EACCES, -1;
  return openat(AT_FDCWD, path, flags);
}
int open64(const char* path, int flags, ...) __attribute__((alias("open")));
END
  if "${CC:-cc}" -D_GNU_SOURCE -U_FORTIFY_SOURCE -shared -fPIC -o "$room/closed.so" "$room/closed.c" 2>"$room/errors"; then
    closed() { env LD_PRELOAD="$room/closed.so" "$weir" "$@"; }
    invoke closed meminfo "$limited"
    holds "by descriptor" [ "$(awk '$1 == "MemTotal:" {print $2}' "$room/output")" = 24576 ]
    refuses 66 "weir: process $free: permission denied: kernel.yama.ptrace_scope keeps a user's processes apart; try as root" \
      closed meminfo "$free"
  fi
fi

# -- a forked child has numbers of its own
for each in "$limited" "$free"; do
  kill -USR1 "$each"
  child=
  for _ in $(seq 100); do
    child=$(pgrep -P "$each" 2>/dev/null | head -n 1)
    [ -n "$child" ] && "$weir" ps | awk -v p="$child" '$1 == p {found = 1} END {exit !found}' && break
    sleep 0.05
  done
  started+=("$child")
  holds "the child of $each is on weir" [ "$("$weir" meminfo --json "${child:-0}" | cut -d, -f1)" = "{\"pid\":$child" ]
  holds "the child of $each holds what its parent does" [ "$(value "$child" pgalloc_normal)" -ge 10000 ]
  holds "no descriptor of weir's in a child" [ -z "$(own_descriptors "$child")" ]
  kill -KILL "$child"
done

# -- another program, another page; the watcher ends
"$weir" vmstat "$free" 0.1 >"$room/watched" 2>&1 &
watcher=$!
sleep 0.3
kill -USR2 "$free"
wait "$watcher"
holds "the watcher of a process that becomes another ends with 0" [ $? = 0 ]
holds "sleep on weir" [ "$("$weir" ps | awk -v p="$free" '$1 == p {print $8}')" = sleep ]
holds "its memory is new" [ "$(value "$free" pgalloc_normal)" -lt 10000 ]

# -- a process that ends while it is watched
"$weir" sar -B "$limited" 0.1 >"$room/watched" 2>&1 &
watcher=$!
sleep 0.5
kill -KILL "$limited"
wait "$watcher"
holds "the watcher of a process that ends ends with 0" [ $? = 0 ]
holds "and has said how it was" grep -q ^Average: "$room/watched"
refuses 66 "weir: process $limited: no such process" "$weir" meminfo "$limited"
# One whose parent never asks for its status.
bash -c '"$0" 1 >"$1" & echo $!; exec sleep 1000' "$holder" "$room/nobody" >"$room/orphan" &
started+=("$!")
disown "$!"
becomes "it has started" grep -q ready "$room/nobody"
orphan=$(cat "$room/orphan")
kill -KILL "$orphan"
becomes "it has ended, and is there still" grep -q '^State:.Z' "/proc/$orphan/status"
refuses 66 "weir: process $orphan: no such process" "$weir" meminfo "$orphan"
(for _ in $(seq 200); do LD_PRELOAD=$library /bin/true; done) &
for _ in 1 2 3 4 5 6 7 8; do
  invoke "$weir" ps
  holds "ps among processes that come and go" [ "$status" = 0 ]
done
wait $!

# -- mistakes
refuses 66 "weir: process 4194303: no such process" "$weir" zoneinfo 4194303
refuses 66 "weir: process $$: it is not on weir (or was started with stats_page=0)" "$weir" buddyinfo $$
refuses_with 64 'weir swaps --help' "$weir" swaps none
refuses_with 64 'weir vmstat --help' "$weir" vmstat 1 2 3 4
refuses 64 "weir: 'x': expected a number of lines (1 to 4294967295)" "$weir" vmstat "$free" 1 x
refuses 64 'weir: sar: INTERVAL is missing; see weir sar --help' "$weir" sar -B "$free"
start hidden env LD_PRELOAD="$library" WEIR_CONF=stats_page=0 "$holder" 1
refuses 66 "weir: process $pid: it is not on weir (or was started with stats_page=0)" "$weir" meminfo "$pid"
for command in ps vmstat sar zoneinfo buddyinfo extfrag_index unusable_index pagetypeinfo meminfo slabinfo numastat swaps; do
  invoke "$weir" "$command" --help
  holds "$command --help has examples and statuses" \
    [ "$status$(grep -c '^Examples:\|^Exit status: 0; 64' "$room/output")" = 02 ]
  holds "weir --help names $command" grep -q "^  $command " <("$weir" --help)
done

# -- somebody else's
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  # A user of the test's own: others run programs on weir as nobody.
  stranger=$((60000 + $$ % 5000))
  as_stranger() { setpriv --reuid "$stranger" --regid "$stranger" --clear-groups "$@"; }
  cp "$weir" "$room/weir"
  chmod 755 "$room/weir"
  if as_stranger "$room/weir" --version >/dev/null 2>&1; then
    refuses 66 "weir: process $free: permission denied: it is another user's, or protected" as_stranger "$room/weir" meminfo "$free"
    refuses 66 'weir: none of your processes is on weir; name one by its PID' as_stranger "$room/weir" meminfo
  fi
fi
finish

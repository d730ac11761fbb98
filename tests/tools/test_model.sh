#!/usr/bin/env bash
# Numbers of an idle program add up to the page; nobody else may read it; counters of a busy one follow a model in every
# sample; and a process may be read while it forks, becomes another program and ends, hundreds of times.
# Usage: test_model.sh WEIR LIBRARY HOLDER MORTAL STRESS
weir=$1
library=$(dirname "$2")/libweir-malloc.so
holder=$3
mortal=$4
stress=$5
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
. "$here/processes.sh"
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
status=0 output= errors=

start limited "$weir" run --limit 24M --swap "$room" -- "$holder" 64
limited=$pid
mode=$("$weir" ps | awk -v p="$limited" '$1 == p {print $2}')
[ "$mode" = swap ] || { echo "pages cannot be swapped here ($mode)"; exit 77; }
start free env LD_PRELOAD="$library" "$holder" 40
free=$pid

# -- an idle one, which stands still while it is looked at. It may be stopped while weir's threads hold pages that are on
# no list; then it is let go on and stopped again.
adds_up() { # PID
  local try ok=1
  for try in $(seq 20); do
    kill -STOP "$1"
    python3 - "$weir" "$1" <<'END_OF_CHECK' 2>"$room/sums"
import json, subprocess, sys
def view(name): return json.loads(subprocess.run([sys.argv[1], name, "--json", sys.argv[2]], check=True, capture_output=True).stdout)
zones, blocks, meminfo, slabs = view("zoneinfo"), view("buddyinfo"), view("meminfo"), view("slabinfo")
types = view("pagetypeinfo")
for zone, node, by_type in zip(zones["nodes"], blocks["nodes"], types["nodes"]):
    free = sum(count << order for order, count in enumerate(node["free_blocks"]))
    assert free + zone["nr_charged"] == zone["present"], ("free blocks + given out is not present", free, zone)
    assert zone["pgalloc_normal"] - zone["pgfree"] == zone["nr_charged"], ("given out - given back is not in use", zone)
    assert zone["present"] <= zone["spanned"] and zone["nr_free_resident"] <= free, zone
    for order, count in enumerate(node["free_blocks"]):
        assert sum(t["free_blocks"][order] for t in by_type["types"].values()) == count, ("types", order)
kb = lambda pages: pages * 4
zone_sum = lambda name: kb(sum(zone[name] for zone in zones["nodes"]))
assert meminfo["MemTotal"] == zone_sum("managed") and meminfo["MemFree"] == zone_sum("nr_free_pages"), meminfo
assert meminfo["SwapCached"] == zone_sum("nr_standby") and meminfo["Zswap"] == zone_sum("nr_zswap_pool"), meminfo
assert meminfo["Slab"] == kb(sum(s["num_slabs"] * s["pagesperslab"] for n in slabs["nodes"] for s in n["slabs"])), meminfo
END_OF_CHECK
    ok=$?
    kill -CONT "$1"
    [ "$ok" = 0 ] && return
  done
  cat "$room/sums" >&2
  return 1
}
holds "numbers of a program under a limit add up" adds_up "$limited"
holds "numbers of a program without a limit add up" adds_up "$free"

# -- somebody else's: one clear line, status 66, from every command
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  # A user of the test's own: others run programs on weir as nobody.
  stranger=$((60000 + $$ % 5000))
  as_stranger() { setpriv --reuid "$stranger" --regid "$stranger" --clear-groups "$@"; }
  cp "$weir" "$room/weir"
  chmod 755 "$room/weir"
  mkdir -m 777 "$room/nobody"
  if as_stranger "$room/weir" --version >/dev/null 2>&1; then
    for each in "$limited" "$free"; do
      refusal="weir: process $each: permission denied: it is another user's, or protected"
      for command in zoneinfo buddyinfo extfrag_index unusable_index pagetypeinfo meminfo slabinfo numastat swaps 'vmstat -p' 'vmstat --counters -p' \
        "sar 1 1 -B -p" "record -o $room/nobody/file"; do
        # shellcheck disable=SC2086 # words
        refuses 66 "$refusal" as_stranger "$room/weir" $command "$each"
      done
    done
    invoke as_stranger "$room/weir" ps
    holds "ps of somebody else lists nothing" [ "$status$(wc -l <"$room/output")$errors" = 01 ]
    holds "a recording of somebody else's process leaves no file" [ -z "$(ls -A "$room/nobody")" ]
  else
    echo "left out: other users cannot run the command here"
  fi
fi
# -- a busy program: threads that come and go, children of forks, more than its limit
mkdir "$room/swap"
# (Samples are far enough apart that it gets a processor between two of them on a busy machine as well; 800 of them, next
# to which what it waits for at its end, its last child, is little.)
invoke "$weir" run --limit 12M --swap "$room/swap" --set zswap_max=3M --record "$room/live.jsonl" --record-interval 40 -- \
  "$stress" --seconds 32 --threads 2
holds "the program ends well" [ "$status" = 0 ]
invoke python3 "$here/model.py" "$room/live.jsonl" 100
holds "every sample follows the model" [ "$status" = 0 ]
echo "$output"

# -- processes that fork, exec and end while they are read
mkdir "$room/mortal"
for seed in 1 2; do
  invoke python3 "$here/watch_mortals.py" "$weir" env WEIR_LIBRARY="$library" \
    "$weir" run --limit 4M --swap "$room/mortal" -- "$mortal" 300 "$seed"
  holds "mortals under a limit, $seed" [ "$status" = 0 ]
  echo "with a limit: $output"
  invoke python3 "$here/watch_mortals.py" "$weir" env LD_PRELOAD="$library" "$mortal" 300 "$seed"
  holds "mortals without a limit, $seed" [ "$status" = 0 ]
  echo "without: $output"
done
holds "nothing is left in the directory of swap files: $(ls "$room/mortal" "$room/swap")" \
  [ -z "$(ls -A "$room/mortal")$(ls -A "$room/swap")" ]
# (Pools stay until they are removed; another test may have one.)
holds "nothing is left in shared memory" [ -z "$(ls /dev/shm 2>/dev/null | grep -i weir | grep -v "^weir-pool\.")" ]

finish

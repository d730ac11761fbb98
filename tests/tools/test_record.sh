#!/usr/bin/env bash
# Recordings: what is in them, what the recorder leaves alone in the program, and the pictures that are drawn of them.
# Usage: test_record.sh WEIR LIBRARY HOLDER
weir=$1
library=$(dirname "$2")/libweir-malloc.so
holder=$3
. "$(dirname "$0")/common.sh"
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
# The interpreter itself: python3 may be a script that becomes it, whose programs would be recorded too.
PATH=$(dirname "$(python3 -c 'import sys; print(sys.executable)')"):$PATH
cd "$room" || exit 1
status=0 output= errors=

# holds WHAT CONDITION...: the condition is true.
holds() {
  local what=$1
  shift
  checks=$((checks + 1))
  "$@" || complain "$what"
}

# has_lines FILE COUNT: waits until it has as many.
has_lines() {
  for _ in $(seq 200); do
    [ -f "$1" ] && [ "$(wc -l <"$1")" -ge "$2" ] && return 0
    sleep 0.05
  done
  return 1
}

# The recorders that are there: what has the file open.
recorders_of() { ls -l /proc/[0-9]*/fd 2>/dev/null | grep -F -- "-> $room/$1" | wc -l; }
has_no_recorder() {
  for _ in $(seq 100); do
    [ "$(recorders_of "$1")" = 0 ] && return 0
    sleep 0.02
  done
  return 1
}

cat >check.py <<'END_OF_CHECK'
import json, sys
lines = open(sys.argv[1]).read()
assert lines.endswith("\n"), "the last line has no end"
lines = [json.loads(line) for line in lines.splitlines()]
header, samples = lines[0], lines[1:]
assert header["weir_recording"] == 1 and header["page_size"] == 4096, header
assert header["limit"] == int(sys.argv[2]), header
for node in header["nodes"]:
    assert 0 < node["min"] <= node["low"] <= node["high"] < node["managed"], node
assert len(samples) >= int(sys.argv[3]), f"{len(samples)} samples"
for sample in samples:
    for node in sample["nodes"]:
        assert node["free"] + node["used"] == node["managed"], node
        assert node["standby"] + node["zswap_pool"] <= node["managed"], node
    counters = sample["counters"]
    assert counters["pgscan_kswapd"] >= counters["pgsteal_kswapd"] and counters["pgfault"] >= counters["pgmajfault"]
# A map is of a moment later than its sample: by as much as changes between two samples, and a little.
maps = 0
for before, sample, after in zip(samples, samples[1:], samples[2:]):
    for node, m in zip(sample["nodes"], sample.get("map", [])):
        maps += 1
        assert m["node"] == node["node"] and m["cells"], m
        sums = [0, 0, 0, 0]
        for pages, movable, *states in m["cells"]:
            assert 64 <= pages <= 512 and movable in (0, 1) and sum(states) <= pages, m
            sums = [a + b for a, b in zip(sums, states)]
        near = [max(s["nodes"][m["node"]][key] for s in (before, sample, after)) for key in ("used", "standby", "swapped")]
        far = [min(s["nodes"][m["node"]][key] for s in (before, sample, after)) for key in ("used", "standby", "swapped")]
        assert far[2] * 0.7 - 256 <= sums[2] <= near[2] * 1.3 + 256, (sums, node)
        assert sums[0] + sums[1] <= near[0] * 1.1 + 256, (sums, node)
print("maps", maps, file=sys.stderr)
for before, after in zip(samples, samples[1:]):
    assert after["ms"] > before["ms"], after["ms"]
    for name, value in before["counters"].items():
        assert after["counters"][name] >= value, name
print(max(sum(node["swapped"] for node in sample["nodes"]) for sample in samples))
END_OF_CHECK

# is_picture FILE: well-formed, and nothing in it comes from elsewhere or runs.
is_picture() {
  python3 - "$1" <<'END_OF_CHECK'
import re, sys, xml.etree.ElementTree
text = open(sys.argv[1], encoding="utf-8").read()
root = xml.etree.ElementTree.fromstring(text)
assert root.tag == "{http://www.w3.org/2000/svg}svg"
assert not [e for e in root.iter() if e.tag.split("}")[1] in ("script", "image", "use", "style", "foreignObject")]
assert "href" not in text and "http" not in text.replace("http://www.w3.org/2000/svg", "")
assert not re.search(r"nan|inf\b", text), "a number is none"
END_OF_CHECK
}

# -- a process that runs already
"$weir" run --limit 24M --swap "$room" -- "$holder" 64 >ready 2>ready.errors &
pid=$!
disown "$pid"  # without the shell's own word about its end
for _ in $(seq 200); do
  grep -q ready ready && break
  sleep 0.05
done
mode=$("$weir" ps | awk -v p="$pid" '$1 == p {print $2}')
[ "$mode" = swap ] || { kill -KILL "$pid"; echo "pages cannot be swapped here ($mode)"; exit 77; }
prints '' "$weir" record "$pid" -o by-pid.jsonl --interval 20 --duration 1
invoke python3 check.py by-pid.jsonl 6144 3
holds "a recording of a process" [ "$status" = 0 ]
holds "it holds more than its limit" [ "$output" -gt 5000 ]
prints '' "$weir" record "$pid" -o maps.jsonl --interval 20 --duration 1 --map-interval 100
invoke python3 check.py maps.jsonl 6144 3
holds "with maps" [ "$status" = 0 -a "${errors#maps }" -ge 3 ]
prints '' "$weir" record "$pid" -o no-maps.jsonl --interval 20 --duration 0.3 --map-interval 0
holds "without maps" [ "$(grep -c '"map"' no-maps.jsonl)" = 0 ]
for signal in INT TERM; do
  # (A shell starts what is in the background with SIGINT ignored.)
  python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])' \
    "$weir" record "$pid" -o "$signal.jsonl" --interval 20 &
  recorder=$!
  has_lines "$signal.jsonl" 4
  kill -$signal "$recorder"
  wait "$recorder"
  holds "SIG$signal ends a recording with 0" [ $? = 0 ]
  invoke python3 check.py "$signal.jsonl" 6144 2
  holds "SIG$signal leaves a complete recording" [ "$status" = 0 ]
done
"$weir" record "$pid" -o - --interval 20 >ended.jsonl &
recorder=$!
has_lines ended.jsonl 4
kill -KILL "$pid"
wait "$recorder"
holds "the recorder of a process that ends ends with 0" [ $? = 0 ]
invoke python3 check.py ended.jsonl 6144 2
holds "and leaves a complete recording on stdout" [ "$status" = 0 ]
refuses 66 "weir: process $pid: no such process" "$weir" record "$pid" -o by-pid.jsonl
holds "an earlier recording was not emptied for that" [ -s by-pid.jsonl ]

# -- a program from its start
cat >program.py <<'END_OF_PROGRAM'
import os, signal, sys, time
held = [bytes([i % 200]) * 65536 for i in range(400)]
for name, meaning in (("SigBlk", "blocked"), ("SigIgn", "ignored"), ("ShdPnd", "pending"), ("SigPnd", "pending")):
    mask = int([l for l in open("/proc/self/status") if l.startswith(name)][0].split()[1], 16)
    # Python itself ignores SIGPIPE and SIGXFSZ.
    if mask & ~(1 << 12 | 1 << 24): print("signals", meaning, hex(mask))
try:
    print("child", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no child", sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:4])
print(sys.stdin.read(), end="", flush=True)
if os.fork() == 0:
    os._exit(sum(block[0] for block in held) % 2)
print("forked", os.wait()[1] >> 8, flush=True)
os.closerange(3, 1000)
total = sum(block[5] for i in range(3) for block in held)
time.sleep(0.3)
sys.exit(37)
END_OF_PROGRAM
run() { "$weir" run --limit 16M --swap none "$@"; }
echo typed | PYTHONMALLOC=malloc run --record run.jsonl -- python3 program.py >run.output 2>run.errors
holds "the exit status is the program's" [ $? = 37 ]
echo typed | PYTHONMALLOC=malloc run -- python3 program.py >plain.output 2>plain.errors
holds "what the program prints and sees is as without a recorder" cmp run.output plain.output
holds "it has no child: $(cat run.output)" grep -q '^no child' run.output
holds "nothing is on stderr: $(cat run.errors)" [ ! -s run.errors ]
holds "the recorder ends with the program" has_no_recorder run.jsonl
# (The program's last name: python3 may be a script that becomes it.)
awk '/"weir_recording"/ {n = 0} {line[n++] = $0} END {for (i = 0; i < n; ++i) print line[i]}' run.jsonl >last.jsonl
invoke python3 check.py last.jsonl 4096 3
holds "a recording of a program" [ "$status" = 0 ]

# The recorder has nothing of the program's, and a program that is killed leaves a complete recording.
("$weir" run --limit 16M --swap none --record killed.jsonl --record-interval 20 -- "$holder" 30 >/dev/null & echo $! >victim; wait $!) \
  2>/dev/null &
has_lines killed.jsonl 5
victim=$(cat victim)
holds "the process is the program" [ "$(cat "/proc/$victim/comm")" = holder ]
holds "the program has no child" [ -z "$(cat "/proc/$victim/task/$victim/children")" ]
kept=$(ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v RS= -v file="-> $room/killed.jsonl" 'index($0, file)' |
  sed -n 's/.* -> //p' | sort -u | tr '\n' ' ')
holds "the recorder keeps nothing else open: $kept" [ "$(wc -w <<<"$kept")" = 4 ]
for each in /dev/null pidfd killed.jsonl "/proc/$victim/mem"; do holds "the recorder has $each: $kept" grep -qF "$each" <<<"$kept"; done
kill -KILL "$victim"
wait
holds "the recorder ends with a killed program" has_no_recorder killed.jsonl
invoke python3 check.py killed.jsonl 4096 4
holds "a killed program leaves a complete recording" [ "$status" = 0 ]
(run --record term.jsonl -- sh -c 'kill -TERM $$'; exit $?) 2>/dev/null
holds "the signal is the program's" [ $? = 143 ]
# SIGCHLD may be blocked and ignored where the program is started.
invoke python3 -c 'import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
os.execv(sys.argv[1], sys.argv[1:])' "$weir" run --limit 16M --record blocked.jsonl -- grep -E '^(SigPnd|ShdPnd)' /proc/self/status
holds "no SIGCHLD is pending" [ "$(grep -c '0000000000000000' output)" = 2 ]
invoke python3 -c 'import os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])' "$weir" run --limit 16M --record ignored.jsonl -- sh -c 'exit 5'
holds "SIGCHLD ignored" [ "$status$errors" = 5 ]
invoke bash -c '"$@" <&- >&- ' - "$weir" run --limit 16M --record closed.jsonl -- sh -c 'exit 6'
holds "started with descriptors closed" [ "$status" = 6 ]

# -- pictures
for each in by-pid run killed ended; do
  prints '' "$weir" plot "$each.jsonl" -o "$each.svg"
  invoke is_picture "$each.svg"
  holds "the picture of $each.jsonl" [ "$status" = 0 ]
done
holds "the title is the command" grep -q '>python3 program.py<' run.svg
"$weir" plot - -o - <run.jsonl >piped.svg
holds "from stdin to stdout" cmp run.svg piped.svg
head -n 2 by-pid.jsonl >one.jsonl
prints '' "$weir" plot one.jsonl -o one.svg
holds "a picture of one sample" is_picture one.svg
# Maps: one rectangle for each square at least.
prints '' "$weir" plot maps.jsonl --map 0.1 --map 99 -o map.svg
holds "a picture with maps" is_picture map.svg
holds "of two moments" [ "$(grep -c '>Arena at [0-9.]* s<' map.svg)" = 2 ]
rectangles() { grep -c '<rect' "$1"; }
"$weir" plot maps.jsonl -o plain.svg
holds "with squares" [ "$(rectangles map.svg)" -gt $(($(rectangles plain.svg) + 2 * 20)) ]
refuses 64 'weir: no-maps.jsonl: no map was recorded (--map-interval 0, or the memory of the process could not be read)' \
  "$weir" plot no-maps.jsonl --map 0 -o x.svg
for each in '"map":[{"node":0,"cells":[[512,0,1,2,3]]}]' '"map":[{"node":0,"cells":[[512,0,500,2,3,10]]}]' \
  '"map":[{"cells":[]}]' '"map":[{"node":0,"cells":[[0,0,0,0,0,0]]}]' '"map":[{"node":-1,"cells":[]}]'; do
  sed "2s/}\$/,$each}/" no-maps.jsonl >bad-map.jsonl
  refuses_with 66 'bad-map.jsonl:2: damaged line' "$weir" plot bad-map.jsonl -o x.svg
done
refuses_with 64 'plot --help' "$weir" plot maps.jsonl --map never -o x.svg
# A command with everything that XML minds; a last line that was cut off; several nodes.
python3 - <<'END_OF_CHECK'
import json
lines = open("by-pid.jsonl").read().splitlines()
header = json.loads(lines[0])
header["arguments"] = "a<b>&\"c\" \u00e4\x01" + 100 * "\u00e4"
open("strange.jsonl", "w").write("\n".join([json.dumps(header)] + lines[1:] + [lines[1][:40]]))
odd = b"\\uffff\xff\xc3\x28\xed\xa0\x80"  # what JSON may say and XML may not, and what is no UTF-8
open("bytes.jsonl", "wb").write(json.dumps(dict(header, arguments="ODD")).encode().replace(b"ODD", odd) + b"\n" + lines[1].encode() + b"\n")
lines = [json.loads(line) for line in lines]
for line in lines:
    line["nodes"] += [dict(line["nodes"][0], node=1)]
lines[0]["limit"] *= 2
open("nodes.jsonl", "w").write("".join(json.dumps(line) + "\n" for line in lines))
first, out = lines[1], open("long.jsonl", "w")
out.write(json.dumps(lines[0]) + "\n")
for i in range(20000):
    first["nodes"][0]["free"] = 17 * i % 6000 if i != 7777 else 1
    first["ms"] = i * 100
    first["counters"]["pswpin"] = i * i % 7 + 100 * i
    out.write(json.dumps(first) + "\n")
END_OF_CHECK
for each in strange bytes nodes long; do
  prints '' "$weir" plot "$each.jsonl" -o "$each.svg"
  holds "the picture of $each.jsonl" is_picture "$each.svg"
done
holds "watermarks are added up" grep -q 'limit 48.0 MiB' nodes.svg
holds "a long recording gives a small picture" [ "$(wc -c <long.svg)" -lt 400000 ]

# -- mistakes
sed '4s/"nodes"/"nodes/' by-pid.jsonl >damaged.jsonl
refuses 66 'weir: damaged.jsonl:4: damaged line: expected a sample, later than the one before' "$weir" plot damaged.jsonl -o x.svg
sed -n '1,2p;2p' by-pid.jsonl >backwards.jsonl
refuses_with 66 'backwards.jsonl:3: damaged line' "$weir" plot backwards.jsonl -o x.svg
echo hello >hello.jsonl
refuses_with 66 'hello.jsonl:1: this is no recording' "$weir" plot hello.jsonl -o x.svg
: >empty.jsonl
refuses_with 66 'empty.jsonl: empty' "$weir" plot empty.jsonl -o x.svg
head -n 1 by-pid.jsonl >header.jsonl
refuses 66 'weir: header.jsonl: no sample: nothing was recorded' "$weir" plot header.jsonl -o x.svg
refuses 66 'weir: none.jsonl: No such file or directory' "$weir" plot none.jsonl -o x.svg
refuses 66 'weir: .: Is a directory' "$weir" plot . -o x.svg
refuses 64 'weir: no/x.svg: No such file or directory' "$weir" plot run.jsonl -o no/x.svg
LD_PRELOAD=$library sleep 30 &
free=$!
disown "$free"
for _ in $(seq 100); do
  "$weir" ps | awk -v p="$free" '$1 == p {found = 1} END {exit !found}' && break
  sleep 0.05
done
prints '' "$weir" record "$free" -o free.jsonl --interval 50 --duration 0.3
kill "$free"
refuses_with 64 'free.jsonl: the process had no limit' "$weir" plot free.jsonl -o x.svg
holds "no picture was made of a mistake" [ ! -e x.svg ]
refuses 64 'weir: no/x.jsonl: No such file or directory' "$weir" run --record no/x.jsonl -- touch started
refuses 64 'weir: .: Is a directory' "$weir" run --record . -- touch started
refuses_with 127 'no-such-program' "$weir" run --record never.jsonl -- no-such-program
holds "no file is made for a program that is not there" [ ! -e never.jsonl ]
refuses_with 66 'it is not on weir' "$weir" record $$ -o x.jsonl
refuses_with 64 'weir record --help' "$weir" record $$
refuses_with 64 'weir record --help' "$weir" record $$ -o x.jsonl --interval 0
holds "nothing was started, nothing made" [ ! -e started -a ! -e x.jsonl ]
if [ -w /dev/full ]; then
  invoke run --record /dev/full -- sh -c 'sleep 0.2; exit 7'
  holds "a full disk ends the recording, not the program" [ "$status$errors" = 7 ]
fi
for command in record plot; do
  invoke "$weir" "$command" --help
  holds "$command --help has examples and statuses" \
    [ "$status$(grep -c '^Examples:\|^Exit status: 0; 64' "$room/output")" = 02 ]
done
finish

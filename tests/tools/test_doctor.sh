#!/usr/bin/env bash
# The command `weir doctor`: what it says of this machine agrees with what the machine says itself, restrictions are
# named and end in status 1, and JSON is JSON.
# Usage: test_doctor.sh WEIR
weir=$1
. "$(dirname "$0")/common.sh"

# says STATUS PART... -- COMMAND...: ends with STATUS and prints every PART.
says() {
  local wanted=$1 parts=()
  shift
  while [ "$1" != -- ]; do parts+=("$1"); shift; done
  shift
  invoke "$@"
  checks=$((checks + 1))
  [ "$status" = "$wanted" ] && [ -z "$errors" ] || complain "$* should end with $wanted and an empty stderr"
  for part in "${parts[@]}"; do
    grep -qE -- "$part" "$room/output" || complain "$* should print: $part"
  done
}

# What the limit comes to here, by the library itself.
mode=$("$weir" run --limit 64M --summary -- "$weir" --version 2>&1 | sed -n 's/^\tMode: //p')
# Without userfaultfd, what the system has swap for goes there, if the process may use it.
blind='purge only' others=
[ "$(wc -l </proc/swaps)" -le 1 ] || blind='(pageout|purge only)' others=pageout
case $mode in swap | purge) ;; "${others:-purge}") ;; *) invoke true; complain "a program under a limit has mode '$mode'" ;; esac

invoke "$weir" doctor --swap "$room"
checks=$((checks + 1))
[ -z "$errors" ] && [ "$status" -le 1 ] || complain "doctor should end with 0 or 1"
[[ "$(tail -n 1 "$room/output")" == "$mode"* ]] || complain "the verdict should be: $mode"
if grep -q '^lacks' "$room/output"; then wanted=1; else wanted=0; fi
[ "$status" = "$wanted" ] || complain "status should be $wanted"
[ -z "$(find "$room" -mindepth 1 ! -name output ! -name errors)" ] || complain "a file was left where swap was tried"

# What can be compared with other sources.
says "$status" "kernel +Linux $(uname -r), $(uname -m)" "page size +$(($(getconf PAGESIZE) / 1024)) KiB" \
  "vm.max_map_count +$(cat /proc/sys/vm/max_map_count)" "vm.overcommit_memory +$(cat /proc/sys/vm/overcommit_memory)" \
  "file system +$(df --output=fstype "$room" | tail -n 1)" "a nameless file in $room" -- "$weir" doctor --swap "$room"

# Restrictions, each with what would lift it.
says 1 'lacks +RLIMIT_AS +2 GiB' 'to change it: ulimit -v unlimited|prlimit' -- \
  bash -c 'ulimit -Sv 2097152; exec "$@"' - "$weir" doctor
says 1 'lacks +RLIMIT_NOFILE +64' 'to change it: ulimit -n 256' -- bash -c 'ulimit -Sn 64; exec "$@"' - "$weir" doctor
says 1 "lacks +swap file +$room/no/such: no such file" "to change it: mkdir -p '$room/no/such'" -- \
  "$weir" doctor --swap "$room/no/such"
seq 100000 >"$room/data"
sum=$(cksum <"$room/data")
says 1 "lacks +swap file +$room/data: holds data" -- "$weir" doctor --swap "$room/data"
checks=$((checks + 1))
[ "$sum" = "$(cksum <"$room/data")" ] || complain "a file with data was changed"
says 1 "^(swap, without a file|$blind)" -- "$weir" doctor --swap none
if [ "$(stat -f -c %T /dev/shm 2>/dev/null)" = tmpfs ]; then
  says 1 'lacks +file system +tmpfs' 'swapping there saves nothing' -- "$weir" doctor --swap /dev/shm
fi
truncate -s 2M "$room/file"
chmod 644 "$room/file"
says "$wanted" "note +swap file +$room/file, 2 MiB" "to change it: chmod 600 '$room/file'" -- \
  "$weir" doctor --swap "$room/file"
mkdir "$room/a, b"
says "$wanted" "a nameless file in $room/a, b" -- "$weir" doctor --swap "$room/a, b"
WEIR_CONF="swap=$room" says "$wanted" "a nameless file in $room" -- "$weir" doctor

# Somebody without rights.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
  if [ "$(cat /proc/sys/vm/unprivileged_userfaultfd 2>/dev/null)" = 0 ] && "${nobody[@]}" test -x "$weir" &&
    ! "${nobody[@]}" test -r /dev/userfaultfd; then
    says 1 'lacks +userfaultfd\(2\) +refused' 'to change it: (sudo sysctl -w vm.unprivileged_userfaultfd=1|docker)' \
      "^$blind: .*userfaultfd" -- "${nobody[@]}" "$weir" doctor
  fi
fi

# No library: nothing could be tried, and it says so.
mkdir "$room/bare"
cp "$weir" "$room/bare/weir"
says 1 'lacks +a program +no mode' 'set WEIR_LIBRARY' '^unknown: ' -- "$room/bare/weir" doctor

if command -v python3 >/dev/null; then
  mkdir "$room/quote\"d" && printf -v strange '%s/\xff\t' "$room"
  for place in "$room" "$room/quote\"d" "$strange" none; do
    invoke "$weir" doctor --json --swap "$place"
    checks=$((checks + 1))
    python3 -c '
import json, sys
report = json.load(open(sys.argv[1]))
assert report["mode"] == sys.argv[2], report["mode"]
assert report["restricted"] == (int(sys.argv[3]) == 1)
assert all(set(f) == {"grade", "name", "value", "meaning", "remedy"} for f in report["findings"])
assert len(report["findings"]) > 15
' "$room/output" "$mode" "$status" 2>"$room/errors" || complain "not the JSON that was expected: $(cat "$room/errors")"
  done
fi

refuses_with 64 'see weir doctor --help' "$weir" doctor --nonsense
refuses_with 64 'see weir doctor --help' "$weir" doctor here
refuses_with 64 '--swap : expected the path' "$weir" doctor --swap ''
WEIR_CONF=gaurd=1 refuses 64 "weir: WEIR_CONF: unknown key 'gaurd' (did you mean 'guard'?)" "$weir" doctor
invoke "$weir" doctor --help
checks=$((checks + 1))
[ "$status" = 0 ] && [[ "$output" == *'Exit status: 0 '* ]] || complain "doctor --help does not explain its exit status"
finish

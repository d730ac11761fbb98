# common.sh: sourced by every program test, which is called with the library to preload as its argument.
#
#   need PROGRAM...          skips the test unless all of them are there
#   compare NAME FUNCTION    runs FUNCTION plainly and preloaded, each in an empty directory of its own, and demands the
#                            same standard output and exit status; what is not the same by nature (times, process
#                            numbers, ports) FUNCTION must leave out
#   wait_for COMMAND...      repeats the command until it succeeds, for half a minute at most
#   free_port                prints a port that nobody listens on
# In FUNCTION $mode is plain or weir, $project the top of the tree; every process it starts is preloaded in weir mode.
set -u
name=$(basename "$0" .sh)
project=$(cd "$(dirname "$0")/../../.." && pwd)

fail() { echo "$name: $*" >&2; exit 1; }
skip() { echo "skipped: $*"; exit 77; }

[ $# -ge 1 ] && [ -r "$1" ] || { echo "$name: bad library '${1:-}'; use: $name.sh LIBRARY" >&2; exit 64; }
library=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
unset LD_PRELOAD WEIR_CONF
export LC_ALL=C.UTF-8 TZ=UTC

# Short: sockets of servers live there, and their names are limited to 108 bytes.
room=$(mktemp -d /tmp/weir-programs-XXXXXX) || exit 1
servers=()

# Ends what the test started, by process number, and removes the room.
clean_up() {
  local server
  for server in "${servers[@]}"; do kill "$server" 2>/dev/null; done
  rm -rf "$room"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

need() {
  local program
  for program in "$@"; do
    command -v "$program" >/dev/null || skip "$program is not installed"
  done
}

run_mode() {
  local mode=$1 function=$2
  mkdir -p "$room/$mode"
  (
    cd "$room/$mode" || exit 1
    if [ "$mode" = weir ]; then
      export LD_PRELOAD=$library
      grep -q "$(basename "$library" | cut -d. -f1)" /proc/self/maps || { echo "the preload does not take" >&2; exit 99; }
    fi
    "$function"
  ) >"$room/$mode.out" 2>"$room/$mode.err"
  echo "exit status $?" >>"$room/$mode.out"
  rm -rf "${room:?}/$mode"
}

compare() {
  local title=$1 function=$2
  run_mode plain "$function"
  run_mode weir "$function"
  if ! cmp -s "$room/plain.out" "$room/weir.out"; then
    echo "$title: output differs (< plain, > with weir):" >&2
    diff -a "$room/plain.out" "$room/weir.out" | head -n 40 >&2
    echo "standard error with weir:" >&2
    tail -n 20 "$room/weir.err" >&2
    fail "$title differs under weir"
  fi
  if grep -a '^weir: ' "$room/weir.err" >&2; then fail "$title: weir complained"; fi
  # Two equal failures prove nothing.
  if ! grep -qax 'exit status 0' "$room/plain.out"; then
    tail -n 5 "$room/plain.out" "$room/plain.err" >&2
    fail "$title fails also without weir"
  fi
  [ "$(wc -l <"$room/plain.out")" -gt 1 ] || fail "$title printed nothing to compare"
  echo "$title: same output, $(wc -c <"$room/plain.out") bytes"
}

wait_for() {
  local tries
  for tries in $(seq 300); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.1
  done
  echo "no success in half a minute after $tries tries: $*" >&2
  return 1
}

free_port() {
  local port
  for _ in $(seq 50); do
    port=$((20000 + RANDOM % 20000))
    (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return 0; }
  done
  return 1
}

# The system's own interpreter: another one in PATH may be linked in ways of its own.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3)

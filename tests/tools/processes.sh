# processes.sh: sourced after common.sh by tests that look at running processes: starts them, and ends them with the test.
chmod 755 "$room"
started=()
stop_all() {
  for each in "${started[@]}"; do kill -KILL "$each" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$room"
}
trap stop_all EXIT

# start NAME COMMAND...: runs it until the end of the test; its process is $pid once it said that it is ready.
start() {
  local output=$room/$1
  shift
  "$@" >"$output" 2>"$output.errors" </dev/null &
  pid=$!
  started+=("$pid")
  disown "$pid"  # without the shell's own word about its end
  for _ in $(seq 400); do
    grep -q ready "$output" && return
    sleep 0.05
  done
  echo "$* does not start" >&2
  exit 1
}

# holds WHAT CONDITION...: the condition is true.
holds() {
  local what=$1
  shift
  checks=$((checks + 1))
  "$@" || complain "$what"
}

# becomes WHAT CONDITION...: the condition becomes true before half a minute is over.
becomes() {
  local what=$1
  shift
  checks=$((checks + 1))
  for _ in $(seq 300); do
    "$@" && return
    sleep 0.1
  done
  complain "$what"
}

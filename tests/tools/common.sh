# common.sh: sourced by the tests of the command: expectations about one run of it, and a folder that goes away.
set -u
failures=0
checks=0
room=$(mktemp -d) || exit 1
trap 'rm -rf "$room"' EXIT
unset LD_PRELOAD WEIR_CONF WEIR_LIBRARY

# invoke COMMAND...: runs it, leaving $status, $output and $errors.
invoke() {
  "$@" >"$room/output" 2>"$room/errors" </dev/null
  status=$?
  output=$(cat "$room/output")
  errors=$(cat "$room/errors")
}

complain() {
  echo "FAILED: $*" >&2
  echo "  status $status, output: $output" >&2
  echo "  errors: $errors" >&2
  failures=$((failures + 1))
}

# refuses STATUS MESSAGE COMMAND...: ends with STATUS and exactly this line on stderr, and prints nothing.
refuses() {
  local wanted=$1 message=$2
  shift 2
  invoke "$@"
  checks=$((checks + 1))
  [ "$status" = "$wanted" ] && [ "$errors" = "$message" ] && [ -z "$output" ] ||
    complain "$* should end with $wanted and say: $message"
}

# refuses_with STATUS PART COMMAND...: the same, but PART need only be somewhere in the one line.
refuses_with() {
  local wanted=$1 part=$2
  shift 2
  invoke "$@"
  checks=$((checks + 1))
  [ "$status" = "$wanted" ] && [ "$(wc -l <"$room/errors")" = 1 ] && [[ "$errors" == weir:*"$part"* ]] ||
    complain "$* should end with $wanted and one line with: $part"
}

# prints TEXT COMMAND...: ends with 0, prints exactly TEXT, and says nothing on stderr.
prints() {
  local wanted=$1
  shift
  invoke "$@"
  checks=$((checks + 1))
  [ "$status" = 0 ] && [ "$output" = "$wanted" ] && [ -z "$errors" ] || complain "$* should print: $wanted"
}

# warns PART COMMAND...: the program runs and ends with 0 after one line of warning with PART.
warns() {
  local part=$1
  shift
  invoke "$@"
  checks=$((checks + 1))
  [ "$status" = 0 ] && [ "$(grep -c '^weir: warning: ' "$room/errors")" = 1 ] && [[ "$errors" == *"$part"* ]] ||
    complain "$* should warn of: $part"
}

finish() {
  [ "$failures" = 0 ] || { echo "$failures of $checks checks failed" >&2; exit 1; }
  echo "$checks checks"
}

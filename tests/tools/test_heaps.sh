#!/usr/bin/env bash
# weir heaps: the table and JSON of a program's heaps, with and without a limit, of a forked child, of more heaps than
# are shown, of a program without any.
# Usage: test_heaps.sh WEIR LIBRARY TENANTS
weir=$1
library=$(dirname "$2")/libweir-malloc.so
tenants=$3
. "$(dirname "$0")/common.sh"
. "$(dirname "$0")/processes.sh"
status=0 output="" errors=""

# value PID PYTHON: an expression on the JSON `d`, with `all` its heap of that name.
value() {
  "$weir" heaps --json "$1" | python3 -c "
import json, sys
d = json.load(sys.stdin)
all = [h for h in d['list'] if h['name'] == 'all'][0]
print(($2))"
}
is() { [ "$(value "$1" "$2")" = "$3" ] || { echo "$2 is $(value "$1" "$2"), not $3" >&2; return 1; }; }
row() { "$weir" heaps "$1" | awk '$NF == "all"' | tr -s ' '; }

start free env LD_PRELOAD="$library" "$tenants" 0
free=$pid
start limited "$weir" run --limit 64M -- "$tenants" 0
limited=$pid
start many env LD_PRELOAD="$library" "$tenants" 100
many=$pid
for each in "$free" "$limited"; do
  holds "the row of a heap" [ "$(row "$each")" = " 2.0 0.0 8.0 4.0 2.0 -5 release 1 all" ]
  holds "two heaps" is "$each" "d['heaps'], d['shown'], d['unit']" "(2, 2, 'pages')"
  holds "pages" is "$each" "all['charged'], all['limit'], all['soft_limit'], all['limit_failures']" "(512, 2048, 1024, 1)"
  holds "policy" is "$each" "all['oom_policy'], all['oom_score_adj'], all['capped']" "('release', -5, 0)"
  holds "a name with quotes" is "$each" "d['list'][1]['name']" 'odd ä "name"'
done
holds "not all are shown" is "$many" "d['heaps'], d['shown']" "(102, 64)"
holds "and the table says so" [ "$("$weir" heaps "$many" | tail -n 1)" = "(64 of 102 heaps are shown)" ]
for each in "$free" "$limited"; do
  kill -USR1 "$each"
  has_child() { pgrep -P "$each" tenants >"$room/children"; }
  becomes "a child" has_child
  child=$(cat "$room/children")
  started+=("$child")
  child_has_more() { is "$child" "all['charged']" 768 2>/dev/null; }
  becomes "the child's heap grows" child_has_more
  holds "its parent's does not" is "$each" "all['charged']" 512
done
start sleeper env LD_PRELOAD="$library" sh -c 'echo ready; exec sleep 60'
has_none() { [ "$("$weir" heaps "$1" 2>/dev/null | wc -l)" = 1 ]; }
becomes "a program without heaps" has_none "$pid"
refuses_with 66 "not on weir" "$weir" heaps $$
refuses_with 66 "no such process" "$weir" heaps 4194303
finish

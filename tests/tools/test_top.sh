#!/usr/bin/env bash
# weir top in a terminal (of tmux): what is on the screen, keys, other sizes, processes that end, and the terminal afterwards.
# Usage: test_top.sh WEIR LIBRARY HOLDER TENANTS
weir=$1
library=$(dirname "$2")/libweir-malloc.so
holder=$3
tenants=$4
. "$(dirname "$0")/common.sh"
command -v tmux >/dev/null || { echo "tmux is not installed"; exit 77; }
chmod 755 "$room"
export TMUX_TMPDIR=$room LC_ALL=C.UTF-8
unset TMUX
status=0 output= errors=

started=()
stop_all() {
  [ -z "${socket:-}" ] || tmux -L "$socket" kill-server 2>/dev/null
  for each in "${started[@]}"; do kill -KILL "$each" 2>/dev/null; done
  wait 2>/dev/null
  rm -rf "$room"
}
trap stop_all EXIT

# start NAME COMMAND...: runs it until the end of the test; its process is $pid once it said that it is ready.
start() {
  local output=$room/$1.output
  shift
  : >"$output"  # there may be that of an earlier one
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

# -- the terminal
terminals=0
# terminal KIND: a shell in a new terminal of that kind, 80x24.
terminal() {
  [ -z "${socket:-}" ] || tmux -L "$socket" kill-server
  socket=$1.$((++terminals))
  tmux -L "$socket" -f /dev/null new-session -d -s t -x 80 -y 24 'sleep 600'
  tmux -L "$socket" set-option -g default-terminal "$1"
  tmux -L "$socket" set-option -g escape-time 0
  tmux -L "$socket" respawn-pane -k -t t "exec env PS1='\$ ' bash --norc --noprofile -i"
  sees '^\$ *$'
}
keys() { tmux -L "$socket" send-keys -t t "$@"; }
types() { keys -l -- "$1"; }
command_line() {
  types "$1"
  keys Enter
}
resize() { tmux -L "$socket" resize-window -t t -x "$1" -y "$2"; }
screen() { tmux -L "$socket" capture-pane -p -t t; }
coloured() { tmux -L "$socket" capture-pane -e -p -t t; }
# What the shell has started.
top_pid() { pgrep -P "$(tmux -L "$socket" display-message -p -t t '#{pane_pid}')"; }

# Ends weir top. What is typed before it has ended is lost: it throws away what it has not read.
quits() {
  keys q
  for _ in $(seq 300); do
    top_pid >/dev/null || return 0
    sleep 0.05
  done
  complain "weir top should end"
}

# sees PATTERN: waits until a line of the screen matches.
sees() {
  checks=$((checks + 1))
  for _ in $(seq 300); do
    screen | grep -qE -- "$1" && return 0
    sleep 0.05
  done
  output=$(screen)
  complain "the screen should have: $1"
  # Whatever comes now would have to wait in vain too.
  [ "$failures" -lt 3 ] || finish
}
# lacks PATTERN: no line of the screen matches now.
lacks() {
  checks=$((checks + 1))
  output=$(screen)
  grep -qE -- "$1" <<<"$output" || return 0
  complain "the screen should not have: $1"
}
# holds WHAT CONDITION...: the condition is true.
holds() {
  local what=$1
  shift
  checks=$((checks + 1))
  output=$(screen 2>/dev/null)
  "$@" || complain "$what"
}

# Names that nothing else has.
lim=lim$$ fre=fre$$
for each in "$lim" "$fre"; do cp "$holder" "$room/$each"; done
# New ones, because they end by themselves after a while.
start_programs() {
  for each in "${started[@]}"; do kill -KILL "$each" 2>/dev/null; done
  started=()
  start limited "$weir" run --limit 24M --swap none -- "$room/$lim" 64
  limited=$pid
  start free env LD_PRELOAD="$library" "$room/$fre" 3
  free=$pid
}
start_programs
[ "$("$weir" ps | awk -v p="$limited" '$1 == p {print $2}')" = swap ] || { echo "pages cannot be swapped here"; exit 77; }

# -- refusals
refuses 64 'weir: top: stdout is not a terminal; weir ps and weir vmstat PID 1 write lines' "$weir" top
refuses 64 'weir: top: stdout is not a terminal; weir ps and weir vmstat PID 1 write lines' "$weir" top "$limited"
refuses_with 64 'top --help' "$weir" top -d 0
refuses_with 64 'top --help' "$weir" top -d fast
refuses_with 64 'top --help' "$weir" top -n 0
refuses_with 64 'top --help' "$weir" top --json
refuses_with 64 'top --help' "$weir" top 0
refuses 66 "weir: process $$: it is not on weir (or was started with stats_page=0)" "$weir" top $$
true &
gone=$!
wait "$gone"
refuses 66 "weir: process $gone: no such process" "$weir" top "$gone"
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
  as_nobody() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
  cp "$weir" "$room/weir"
  chmod 755 "$room/weir"
  if as_nobody "$room/weir" --version >/dev/null 2>&1; then
    refuses 66 "weir: process $free: permission denied: it is another user's, or protected" as_nobody "$room/weir" top "$free"
  fi
fi
terminal tmux-256color
command_line "'$weir' top <<<x; echo status \$?"
sees '^weir: top: stdin is not a terminal$'
sees '^status 64$'
for kind in no-such-kind dumb; do
  command_line "TERM=$kind '$weir' top; echo $kind \$?"
  sees "^weir: top: TERM=$kind: that kind of terminal is not known here"
  sees "^$kind 64$"
done
command_line "TERM= '$weir' top; echo empty \$?"
sees '^weir: top: TERM is not set'
sees '^empty 64$'

# -- the list
terminal tmux-256color
command_line "stty -g >'$room/before'; echo line before; '$weir' top -d 0.2; echo status \$?; stty -g >'$room/after'"
sees "^ *$limited swap    24\.0M 2[0-9]\.[0-9]M .* $lim$"
sees "^ *$free none        - .* $fre$"
sees ' every 0\.2 s *$'
sees "^ *$limited swap .* [1-9][0-9]* +[1-9][0-9]* +[1-9][0-9]* +[1-9][0-9]* $lim$" # it swaps, now
lacks 'line before'
keys F6
sees '^ Sort by '
keys Home Enter
first_pid() { screen | awk -v a="$lim" -v b="$fre" '$NF == a || $NF == b {print $1; exit}'; }
becomes_first() {
  for _ in $(seq 100); do
    [ "$(first_pid)" = "$1" ] && return 0
    sleep 0.05
  done
  return 1
}
low=$((limited < free ? limited : free)) high=$((limited < free ? free : limited))
holds "ordered by PID" becomes_first "$low"
types I
holds "the other way round" becomes_first "$high"
types '<'
holds "ordered by COMMAND" becomes_first "$free"
types +
sees ' every 0\.5 s *$'
types --
sees ' every 0\.1 s *$'
types p
sees ' paused *$'
types p
sees ' every 0\.1 s *$'
types /nothing-like-it
sees 'Search: nothing-like-it  \(none\)$'
keys Escape F3
sees 'Search: *$'
types "${lim^^}"
sees "Search: ${lim^^}$"
keys Enter Enter
sees "^ weir top  process $limited  $lim "
keys Escape
sees '^F1Help F3Search F5Open '
keys F1
sees 'F10 q Ctrl-C +quit'
keys x
sees '^F1Help F3Search F5Open '

# -- the view of one
keys F5
sees "^ weir top  process $limited  $lim "
sees '^ limit 24\.0M \(swap\)  resident 2[0-9]\.[0-9]M  peak 2[0-9]\.[0-9]M  in use .* swapped [1-9]'
sees '^ zswap .* holds .*  swap file none'
sees '^ memory  \[█+▓+.*\] 2[0-9]\.[0-9]M of 24\.0M'
sees '^ node 0  \[.*┃.*┃.*┃.*\] free .* min .* low .* high '
sees '^ kswapd scan/s +[1-9][0-9]* .*[▁▂▃▄▅▆▇█] max [1-9]'
sees '^ direct scan/s +[0-9]+ .* max [0-9]+'
sees '^ swap in/s +[1-9][0-9]* .*[▁▂▃▄▅▆▇█] max [1-9]'
sees '^ swap out/s +[1-9][0-9]* .*[▁▂▃▄▅▆▇█] max [1-9]'
sees '^ faults/s +[1-9][0-9]* .*[▁▂▃▄▅▆▇█] max [1-9]'
sees '^ +OBJS +ACTIVE +USE OBJSIZE +SLABS OBJ/SLAB MEMORY NAME *$'
sees '^ +[0-9]+ +[0-9]+ +[0-9]+% +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+K malloc-[0-9]+$'
level_colour() { coloured | grep ' node 0 ' | grep -qE "$1"; }
holds "the level has one of the four colours, as of 256" level_colour '38;5;(40|39|208|196)m█'
types /malloc-
sees 'Search: malloc-$'
keys Escape F6
sees '^ Sort by '
keys Escape
sees '^F1Help F3Search F6Sort EscList'

# -- its heaps
keys Tab
sees '^CHARGED SWAPPED LIMIT  SOFT  PEAK   ADJ POLICY     FAILED NAME *$'
sees '^ no heaps: a program makes them by weir_heap_create '
sees '^F1Help F3Search F6Sort EscList TabClasses '
keys Tab
sees '^ +OBJS +ACTIVE +USE OBJSIZE '
quits
start many "$weir" run --limit 64M -- "$tenants" 100
command_line "clear; '$weir' top -d 0.2 $pid"
sees '^F1Help F3Search F6Sort EscList TabHeaps '
keys Tab
sees '^   2\.0M       0  8\.0M  4\.0M  2\.0M    -5 release         1 all *$' # the largest
sees '^ 64 of 102 heaps are shown *$'
types '/odd'
sees '^ +[0-9.KM]+ +0 +- +- +[0-9.KM]+     0 fail            0 odd ä "name" *$'
keys Enter Tab
sees '^ +OBJS +ACTIVE +USE OBJSIZE '
quits
command_line "clear; echo line before; '$weir' top -d 0.1 $limited; echo status \$?; stty -g >'$room/after'"
sees '^ node 0 '

# -- other sizes
resize 60 20
sees '^weir top needs 80x24, this is 60x20 \(q quits\)$'
holds "and nothing else" [ "$(screen | grep -c .)" = 1 ]
resize 120 50
sees '^ weir top.{98} every 0\.1 s *$'
sees '^ +[▁▂▃▄▅▆▇█][ ▁▂▃▄▅▆▇█]*$' # graphs of several lines
resize 80 24
sees '^ weir top.{58} every 0\.1 s *$'
sees '^F1Help F3Search F6Sort EscList'

# -- how it ends
keys F10
sees '^status 0$'
sees '^line before$'
lacks 'node 0'
settings_are_back() {
  for _ in $(seq 100); do
    [ -s "$room/after" ] && cmp -s "$room/before" "$room/after" && return 0
    sleep 0.05
  done
  return 1
}
holds "the terminal's settings are as before" settings_are_back
start_programs
for signal in INT TERM HUP; do
  rm -f "$room/after"
  command_line "clear; '$weir' top -d 3600 $limited; echo $signal \$?; stty -g >'$room/after'"
  sees '^ node 0 '
  if [ "$signal" = INT ]; then keys C-c; else kill -$signal "$(top_pid)"; fi
  sees "^$signal 0$"
  lacks 'node 0'
  holds "the terminal's settings are as before SIG$signal" settings_are_back
done
rm -f "$room/after"
command_line "clear; '$weir' top -d 0.2 $limited"
sees '^ node 0 '
keys C-z
sees '^\[1\]\+  Stopped '
lacks '^ node 0 '
command_line fg
sees '^ node 0 '
sees '^F1Help F3Search F6Sort EscList'
quits
command_line "clear; stty -g >'$room/after'"
holds "the terminal's settings are as before it was stopped" settings_are_back
command_line "clear; '$weir' top -d 0.1 -n 3; echo three \$?"
sees '^three 0$'

# -- 8 colours, and no UTF-8
start_programs
terminal screen
command_line "LC_ALL=C '$weir' top -d 0.2 $limited"
sees '^ node 0  \[.*\|.*\|.*\|.*\] free '
sees '^ faults/s +[1-9][0-9]* .*[.:|#] max [1-9]'
holds "all of it is ASCII" [ -z "$(screen | LC_ALL=C tr -d '\n -~')" ]
holds "the level has the nearest of 8 colours" level_colour '3[1-4]m#'
quits

# -- a process that becomes another program, and ends. An hour between updates: the end is an event.
command_line "clear; '$weir' top -d 0.2 $limited"
sees "^ weir top  process $limited  $lim "
kill -USR2 "$limited"
sees "^ weir top  process $limited  sleep "
quits
command_line "clear; '$weir' top -d 3600 $free"
sees "^ weir top  process $free  $fre "
kill -KILL "$free"
sees "^ weir top  process $free  $fre  ended "
sees '^ limit none  in use '
keys Escape
sees "^ *$limited .* sleep$"
lacks "^ *$free "
quits
sees '^\$ *$'
finish

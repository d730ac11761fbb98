#!/usr/bin/env bash
# A limit that is the cgroup's: what weir shows is the group's, and follows it up and down while the program runs; where
# others fill the group, weir leaves room to them before the kernel has to kill somebody; and who listens hears of that.
# usage: test_cgroup.sh WEIR LIBRARY HOLDER; status 77: no group can be made here
set -u
here=$(dirname "$0")
. "$here/common.sh"
. "$here/processes.sh"
weir=$1 holder=$3
export WEIR_LIBRARY=$2

# The own group of one of the versions, where a new one can be made, and the names of its files.
for version in 1 2; do
  case $version in
    1) top=/sys/fs/cgroup/memory files="memory.limit_in_bytes memory.limit_in_bytes" own=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup) ;;
    2) top=/sys/fs/cgroup files="memory.max memory.high" own=$(sed -n 's/^0:://p' /proc/self/cgroup) ;;
  esac
  [ -n "$own" ] || continue
  group=$top$own/weir-test-$$
  mkdir "$group" 2>/dev/null || continue
  read -r hard soft <<<"$files"
  [ -w "$group/$hard" ] && break
  rmdir "$group"
  group=
done
if [ -z "${group:-}" ] || [ ! -d "$group" ]; then
  echo "skipped: no memory group can be made here"
  exit 77
fi
end() {
  stop_all
  for _ in $(seq 100); do rmdir "$group" 2>/dev/null && break || sleep 0.05; done
}
trap end EXIT

limit_of() { "$weir" meminfo "$1" | awk '$1 == "MemTotal:" {print $2 / 1024}'; }
limit_is() { [ "$(limit_of "$1")" = "$2" ]; }

echo $((128 << 20)) >"$group/$hard" || exit 77
start grouped sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$weir" run --swap "$room" -- "$holder" 32
prints "limit = cgroup" "$weir" get "$pid" limit
holds "the limit is the group's" limit_is "$pid" 128
echo $((192 << 20)) >"$group/$hard"
becomes "it grows with the group's" limit_is "$pid" 192
echo $((96 << 20)) >"$group/$soft"
becomes "and shrinks with it" limit_is "$pid" 96
echo max >"$group/$soft" 2>/dev/null || echo -1 >"$group/$soft"
[ "$hard" = "$soft" ] || echo max >"$group/$hard"
sleep 2
holds "without one of the group's the last one holds" limit_is "$pid" 96
prints "limit = 64M (was cgroup)" "$weir" set "$pid" limit=64M
echo $((160 << 20)) >"$group/$hard"
sleep 2
holds "one of its own is not the group's any more" limit_is "$pid" 64
kill -KILL "$pid"

# -- others in the group
echo $((256 << 20)) >"$group/$hard"
start first sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$weir" run --swap "$room" -- "$holder" 152
first=$pid
holds "alone it has all of it" limit_is "$first" 256
start second sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$holder" 92
second=$pid
leaves_room() { awk -v mib="$(limit_of "$first")" 'BEGIN {exit !(mib > 200 && mib < 254)}'; }
becomes "it leaves room to one without weir" leaves_room
holds "and nobody is killed" kill -0 "$first" "$second"
kill -KILL "$second"
becomes "and has all of it again" limit_is "$first" 256
kill -KILL "$first"

# -- who listens hears that the kernel killed somebody in the group
start listener sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$weir" run --limit 64M -- "$here/cgroup_listener.py"
sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" "$holder" 400 >"$room/killed" 2>&1
holds "more than the group may have ends a program" test $? != 0
becomes "and weir says so" grep -q heard "$room/listener"
finish

#!/usr/bin/env bash
# redis with about 150 MiB: filled, saved in the background (fork) while clients go on writing, loaded again from what was
# saved, every value read back: the digest of all data must be the same.
. "$(dirname "$0")/../common.sh"
need redis-server redis-cli redis-benchmark

fill_script='for i = 1, 60000 do
  redis.call("set", "string:" .. i, string.rep("v" .. i, i % 300))
  redis.call("hset", "hash:" .. i % 500, "field" .. i, i)
  redis.call("zadd", "zset:" .. i % 200, i, "member" .. i)
  redis.call("rpush", "list:" .. i % 500, i, i * 2)
end
return redis.call("dbsize")'

cli() { redis-cli -h 127.0.0.1 -p "$port" "$@"; }
saved() { cli info persistence | grep -q '^rdb_bgsave_in_progress:0'; }

use_redis() {
  port=$(free_port) || return 1
  "$limited" redis-server --bind 127.0.0.1 --port "$port" --save '' --dir "$PWD" --enable-debug-command local \
    --activedefrag no >server.log 2>>"$PRESSURE_ERR" &
  server=$!  # not local: the trap runs when the function is left
  trap 'kill $server 2>/dev/null; wait $server' EXIT
  wait_for cli ping || { cat server.log >&2; return 1; }
  cli eval "$fill_script" 0
  cli debug digest
  redis-benchmark -h 127.0.0.1 -p "$port" -q -n 60000 -r 20000 -d 500 -c 20 -P 4 -t set,get >/dev/null 2>&1 &
  local load=$!
  cli bgsave
  wait "$load" && echo "load done"
  wait_for saved || return 1
  cli info persistence | grep '^rdb_last_bgsave_status'
  # What the clients wrote has random keys; the rest must be untouched.
  cli eval 'for i, key in ipairs(redis.call("keys", "key:*")) do redis.call("del", key) end return redis.call("dbsize")' 0
  cli debug digest
  cli bgsave
  wait_for saved || return 1
  cli debug reload nosave
  cli debug digest
  cli shutdown nosave
  wait "$server"
  echo "server ended with $?"
  trap - EXIT
}
compare_limited "redis" use_redis

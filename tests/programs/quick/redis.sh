#!/usr/bin/env bash
# redis: every data type filled with known content, background saves (fork) under load, a reload from disk: the digest
# of all data must be the same.
. "$(dirname "$0")/../common.sh"
need redis-server redis-cli redis-benchmark

fill_script='for i = 1, 20000 do
  redis.call("set", "string:" .. i, string.rep("v", i % 300))
  redis.call("rpush", "list:" .. i % 50, i, i * 2)
  redis.call("hset", "hash:" .. i % 100, "field" .. i, i)
  redis.call("zadd", "zset:" .. i % 20, i, "member" .. i)
  redis.call("sadd", "set:" .. i % 30, i)
  redis.call("append", "growing", "abcdefgh")
end
return redis.call("dbsize")'

cli() { redis-cli -h 127.0.0.1 -p "$port" "$@"; }

use_redis() {
  port=$(free_port) || return 1
  redis-server --bind 127.0.0.1 --port "$port" --save '' --dir "$PWD" --enable-debug-command local \
    --activedefrag no >server.log 2>&1 &
  local server=$!
  trap 'kill $server 2>/dev/null; wait $server' EXIT
  wait_for cli ping || { cat server.log >&2; return 1; }
  cli eval "$fill_script" 0
  redis-benchmark -h 127.0.0.1 -p "$port" -q -n 30000 -d 500 -c 20 -P 4 -t set,get,lpush,lpop >/dev/null 2>&1 &
  local load=$!
  cli bgsave
  wait "$load" && echo "load done"
  wait_for saved || return 1
  cli eval 'return redis.call("del", "key:__rand_int__", "mylist")' 0 >/dev/null
  cli debug digest
  cli debug reload
  cli debug digest
  cli eval 'for i = 1, 20000, 2 do redis.call("del", "string:" .. i) end return redis.call("dbsize")' 0
  cli memory purge
  cli shutdown nosave
  wait "$server"
  echo "server ended with $?"
  trap - EXIT
}
saved() { cli info persistence | grep -q '^rdb_bgsave_in_progress:0'; }
compare "redis" use_redis

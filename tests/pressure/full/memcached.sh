#!/usr/bin/env bash
# memcached with about 150 MiB of values of all sizes, set and read back over several connections at once.
. "$(dirname "$0")/../common.sh"
need memcached
[ -n "$python" ] || skip "python3 is not installed"

cat >"$room/client.py" <<'SCRIPT'
# Sets and reads back values from several threads; prints only what is the same on every run.
import hashlib, random, socket, sys, threading

COUNT = 6000

def value(seed, i):
    return (b"%d-%d " % (seed, i)) * (1 + (i * 37 + seed) % 900)

def talk(seed, results):
    stream = socket.create_connection(("127.0.0.1", int(sys.argv[1]))).makefile("rwb")
    total, order = hashlib.sha256(), random.Random(seed)
    for i in range(COUNT):
        stream.write(b"set key%d_%d 0 0 %d\r\n" % (seed, i, len(value(seed, i))) + value(seed, i) + b"\r\n")
        stream.flush()
        assert stream.readline() == b"STORED\r\n"
    for _ in range(COUNT):
        i = order.randrange(COUNT)
        stream.write(b"get key%d_%d\r\n" % (seed, i))
        stream.flush()
        size = int(stream.readline().split()[3])
        found = stream.read(size + 2)
        assert found == value(seed, i) + b"\r\n", (seed, i)
        total.update(found)
        assert stream.readline() == b"END\r\n"
    results[seed] = total.hexdigest()

results = {}
threads = [threading.Thread(target=talk, args=(seed, results)) for seed in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(results.items()))
sys.exit(len(results) != 6)
SCRIPT
use_memcached() {
  local port
  port=$(free_port) || return 1
  "$limited" memcached -u "$(id -un)" -l 127.0.0.1 -p "$port" -U 0 -m 400 -t 4 >server.log 2>>"$PRESSURE_ERR" &
  server=$!  # not local: the trap runs when the function is left
  trap 'kill $server 2>/dev/null; wait $server' EXIT
  wait_for bash -c ": </dev/tcp/127.0.0.1/$port" || { cat server.log >&2; return 1; }
  "$python" "$room/client.py" "$port" || return 1
  kill -TERM "$server"
  wait "$server"
  echo "server ended with $?"
  trap - EXIT
}
compare_limited "memcached" use_memcached

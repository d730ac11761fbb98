"""A Redis server under the allocator on a free loopback port, loaded by redis-benchmark (which runs without it)."""
import socket
import subprocess
import time

from harness import measure

REQUESTS = 120_000   # per command; about a second in all, pipelined
KEY_SPACE = 100_000  # distinct keys, so that SET both inserts and replaces
VALUE_SIZES = (24, 400)  # bytes: values in the small and in the middle size classes
START_SECONDS = 10


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def command(port, *words):
    """Sends one command and returns the first piece of the reply."""
    request = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
        s.sendall(request.encode())
        return s.recv(4096).decode(errors="replace")


def wait_until_up(port, server):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            if command(port, "PING").startswith("+PONG"):
                return
        except OSError:
            time.sleep(0.02)
    server.kill()
    raise measure.RunFailed("redis-server did not answer")


def load(port, scale):
    for size in VALUE_SIZES:
        result = subprocess.run(
            ["redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-q", "-P", "16", "-c", "20", "-r", str(KEY_SPACE),
             "-d", str(size), "-n", str(max(1000, int(REQUESTS * scale / len(VALUE_SIZES)))),
             "-t", "set,get,lpush,lpop,sadd,hset"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=measure.TIMEOUT_SECONDS)
        if result.returncode != 0 or "ERR" in result.stdout:
            raise measure.RunFailed("redis-benchmark failed: " + (result.stderr or result.stdout).strip()[-200:])


def run(context, workload, preload):
    port = free_port()
    server = measure.Launched(
        context.launcher, preload, workload.env,
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
         "--daemonize", "no", "--loglevel", "warning"], context.work_dir)
    try:
        wait_until_up(port, server)
        start = time.monotonic()
        load(port, workload.scale)
        wall = time.monotonic() - start
        try:
            command(port, "SHUTDOWN", "NOSAVE")
        except OSError:
            pass  # the server closes the connection instead of answering
        usage, _ = server.finish()
    except (OSError, subprocess.TimeoutExpired) as error:
        server.kill()
        raise measure.RunFailed(f"redis: {error}") from None
    except BaseException:
        server.kill()  # also when the user interrupts: no server stays behind
        raise
    # The wall time is the client's: the server itself also waits to be started and stopped.
    return measure.Sample(output="redis", **{**usage, "wall": wall})

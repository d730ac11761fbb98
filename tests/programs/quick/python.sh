#!/usr/bin/env bash
# python3: containers, regular expressions, json, compression, threads, processes, sqlite, ctypes, with its own small-object
# allocator and, by PYTHONMALLOC=malloc, with every object straight from malloc.
. "$(dirname "$0")/../common.sh"
[ -n "$python" ] || skip "python3 is not installed"

cat >"$room/script.py" <<'SCRIPT'
# The program under test: everything it prints is the same on every run.
import concurrent.futures, ctypes, gc, hashlib, json, multiprocessing, os, re, sqlite3, subprocess, sys, threading, zlib

def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]

def work(n):
    data = {str(i): [i] * (i % 50) for i in range(n)}
    text = json.dumps(data, sort_keys=True)
    assert json.loads(text) == data
    return digest(text), len(zlib.compress(text.encode(), 9))

if __name__ == "__main__":
    print(work(20000))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        print(list(pool.map(work, range(1000, 3000, 100))))
    with multiprocessing.get_context("fork").Pool(3) as pool:
        print(pool.map(work, range(500, 900, 50)))
    words = re.findall(r"[a-z]+(?=\d)", " ".join("word%dx%d" % (i, i * 7) for i in range(50000)))
    print(len(words), digest("".join(words)))
    rows = sqlite3.connect(":memory:")
    rows.execute("create table t(a integer, b text)")
    rows.executemany("insert into t values(?, ?)", ((i % 1000, "text %d" % i) for i in range(100000)))
    print(rows.execute("select a, count(*), max(b) from t group by a order by a desc limit 3").fetchall())
    print(subprocess.run([sys.executable, "-c", "print(sum(range(10**6)))"], capture_output=True, text=True).stdout)
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    for i in range(1000):
        libc.free(libc.malloc(i * 10))
    big = [bytearray(i * 100) for i in range(3000)]
    del big[::2]
    big = [b + b for b in big]
    print(sum(len(b) for b in big))
    class Node:
        pass
    for _ in range(20000):
        a, b = Node(), Node()
        a.other, b.other = b, a
    print(gc.collect() >= 0, threading.active_count())
    child = os.fork()
    if child == 0:
        os._exit(len(work(3000)) + 5)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
SCRIPT
own_allocator() { "$python" "$room/script.py"; }
plain_malloc() { PYTHONMALLOC=malloc "$python" "$room/script.py"; }
compare "python3" own_allocator
compare "python3 with PYTHONMALLOC=malloc" plain_malloc

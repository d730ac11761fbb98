#!/usr/bin/env python3
"""The programs of bench/symptoms, each the plainest that has its trouble:

  symptoms.py bursts MIB            grows to MIB, 4 MiB at once with pauses between, and never looks back
  symptoms.py random MIB TOUCHES    fills MIB with text, then reads single pages anywhere
  symptoms.py rounds MIB TIMES      fills MIB with text and reads all of it in order, again and again
  symptoms.py records MIB TIMES     the same, but reads four pages in a row, anywhere
  symptoms.py noise MIB TIMES       the same with what does not compress
  symptoms.py objects MIB TOUCHES   makes MIB of Python's own small objects, then reads single ones anywhere
  symptoms.py peak MIB SECONDS      holds MIB, frees them, and lies idle
  symptoms.py handles MIB TIMES     fills MIB with objects that have handles, frees half of them, and wants an eighth of
                                    MIB in one piece, again and again

Each prints what it has resident at the end and at most, in MiB; no memory is exit status 1."""
import ctypes
import os
import random
import sys
import time

MIB = 1 << 20
PAGE = 4096
PAGES = MIB // PAGE

chance = random.Random(1)
words = [b"%08d " % chance.randrange(10**8) for _ in range(4096)]


def text_page():
    """Some 1,800 bytes of text, the rest zeros: LZ4 makes a third of it."""
    return b"".join(chance.choices(words, k=200))


def block_of(page):
    block = bytearray(MIB)
    for at in range(0, MIB, PAGE):
        content = page()
        block[at : at + len(content)] = content
    return block


def fill(mib, page=text_page):
    return [block_of(page) for _ in range(mib)]


def bursts(mib, _):
    pages = [text_page() for _ in range(64)]
    kept = []
    for at in range(mib):
        kept.append(block_of(lambda: pages[chance.randrange(64)]))
        if at % 4 == 3:
            time.sleep(0.15)


def touch(blocks, page):
    return blocks[page // PAGES][page % PAGES * PAGE]


def random_touches(mib, touches):
    blocks = fill(mib)
    return sum(touch(blocks, chance.randrange(mib * PAGES)) for _ in range(touches))


def rounds(mib, times, page=text_page):
    blocks = fill(mib, page)
    return sum(sum(block[::PAGE]) for _ in range(times) for block in blocks)


def records(mib, times):
    blocks = fill(mib)
    starts = (chance.randrange(mib * PAGES - 4) for _ in range(times))
    return sum(touch(blocks, start + i) for start in starts for i in range(4))


def noise(mib, times):
    return rounds(mib, times, lambda: os.urandom(PAGE))


def objects(mib, touches):
    # A tuple of three, two numbers and a short text take some 250 bytes together.
    kept = [(i, i * 1000003, "object %d" % i) for i in range(mib * MIB // 250)]
    return sum(len(kept[chance.randrange(len(kept))][2]) for _ in range(touches))


def peak(mib, seconds):
    blocks = fill(mib, lambda: b"x")
    del blocks[:]
    time.sleep(seconds)


def handles(mib, times):
    weir = ctypes.CDLL(None)
    for name in ("weir_movable_alloc", "malloc"):
        getattr(weir, name).restype = ctypes.c_void_p
        getattr(weir, name).argtypes = [ctypes.c_size_t]
    for name in ("weir_movable_free", "free"):
        getattr(weir, name).restype = None
        getattr(weir, name).argtypes = [ctypes.c_void_p]
    kept = []
    for _ in range(times):
        kept += [weir.weir_movable_alloc(4 * PAGE) for _ in range(mib * MIB // (4 * PAGE) - len(kept))]
        chance.shuffle(kept)
        while len(kept) * 4 * PAGE > mib * MIB // 2:
            weir.weir_movable_free(kept.pop())
        time.sleep(1.2)
        piece = weir.malloc(mib * MIB // 8)
        if not piece:
            raise MemoryError
        weir.free(piece)


def memory():
    with open("/proc/self/status", encoding="ascii") as file:
        values = dict(line.split(":") for line in file)
    return [int(values[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")]


def main():
    run = {"bursts": bursts, "random": random_touches, "rounds": rounds, "records": records, "noise": noise,
           "objects": objects, "peak": peak, "handles": handles}
    try:
        run[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    except MemoryError:
        sys.exit("out of memory")
    print("resident %.1f, at most %.1f" % tuple(memory()))


main()

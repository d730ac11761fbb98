#!/usr/bin/env python3
"""limit.py: the program behind limit.svg. It fills 150 MiB with text, walks over all of it three times, works on 30 MiB
for four seconds, and walks over all of it once more. README.md says how the picture is made."""
import random
import time

MIB = 1 << 20
PAGE = 4096

words = [b"%08d " % random.randrange(10**8) for _ in range(4096)]
blocks = []
for _ in range(150):
    block = bytearray(MIB)
    for at in range(0, MIB, PAGE):
        block[at : at + 1296] = b"".join(random.choices(words, k=144))
    blocks.append(block)


def walk(some):
    return sum(sum(block[::PAGE]) for block in some)


total = 0
for _ in range(3):
    total += walk(blocks)
    time.sleep(1)
end = time.monotonic() + 4
while time.monotonic() < end:
    total += walk(blocks[:30])
total += walk(reversed(blocks))
print(total)

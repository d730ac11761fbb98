"""Dictionaries, lists, strings and JSON: an allocation for nearly every object when PYTHONMALLOC=malloc."""
import hashlib
import json
import sys

scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
digest = hashlib.sha256()
state = 12345


def number(limit):
    global state
    state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
    return (state >> 33) % limit


def record(i):
    return {"id": i, "name": f"name-{number(10_000)}", "tags": [f"t{number(50)}" for _ in range(number(6))],
            "score": number(1_000_000) / 7, "nested": {"a": number(100), "b": [number(9)] * number(5)}}


for repeat in range(3):
    records = [record(i) for i in range(int(16_000 * scale) + 1)]
    by_name = {}
    for r in records:
        by_name.setdefault(r["name"], []).append(r)
    text = json.dumps(records)
    back = json.loads(text)
    assert back == records
    back.sort(key=lambda r: (r["score"], r["id"]))
    words = " ".join(r["name"] for r in back).replace("-", " ").split()
    counts = {}
    for w in words:
        counts[w] = counts.get(w, 0) + 1
    digest.update(repr(sorted(counts.items())[:100]).encode())
    digest.update(text.encode())
print(digest.hexdigest())

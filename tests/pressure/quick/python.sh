#!/usr/bin/env bash
# python3 with every object straight from malloc: dictionaries, lists and strings of about 150 MiB, sorted, hashed,
# changed in random order, then checked.
. "$(dirname "$0")/../common.sh"
[ -n "$python" ] || skip "python3 is not installed"

cat >"$room/script.py" <<'SCRIPT'
import hashlib, json, random
rng = random.Random(7)
table = {f"key {i}": {"id": i, "name": f"name {i * 7919 % 100003}", "tags": [i % 13, str(i)]} for i in range(130000)}
keys = sorted(table, key=lambda k: (table[k]["name"], table[k]["id"]))
print(len(keys), hashlib.sha256("".join(keys).encode()).hexdigest())
for _ in range(60000):
    entry = table[f"key {rng.randrange(len(keys))}"]
    entry["tags"].append(entry["id"] * 3)
    entry["name"] = entry["name"][::-1]
for i in range(0, 130000, 3):
    del table[f"key {i}"]
print(hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest())
blobs = [bytes([i % 251]) * (i % 3000) for i in range(20000)]
rng.shuffle(blobs)
print(hashlib.sha256(b"".join(blobs)).hexdigest())
print(sum(len(e["tags"]) for e in table.values()))
SCRIPT
use_python() { PYTHONMALLOC=malloc PYTHONHASHSEED=0 "$limited" "$python" "$room/script.py"; }
compare_limited "python3" use_python

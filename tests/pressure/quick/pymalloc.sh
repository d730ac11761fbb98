#!/usr/bin/env bash
# python3 as it is: its objects come from an allocator of its own, which takes its memory by mmap. Some 80 MiB of
# dictionaries, lists and strings, read and changed in random order, then freed in parts and made anew.
. "$(dirname "$0")/../common.sh"
[ -n "$python" ] || skip "python3 is not installed"

cat >"$room/script.py" <<'SCRIPT'
import hashlib, json, os, random
rng = random.Random(11)
table = {f"key {i}": {"id": i, "name": f"name {i * 7919 % 100003}", "tags": [i % 13, str(i)]} for i in range(90000)}
keys = sorted(table, key=lambda k: (table[k]["name"], table[k]["id"]))
print(len(keys), hashlib.sha256("".join(keys).encode()).hexdigest())
for _ in range(20000):
    entry = table[f"key {rng.randrange(len(keys))}"]
    entry["tags"].append(entry["id"] * 3)
    entry["name"] = entry["name"][::-1]
if os.fork() == 0:
    os._exit(0 if sum(e["id"] for e in table.values()) == 90000 * 89999 // 2 else 1)
print(os.wait()[1])
for round in range(1):
    for i in range(round, 90000, 3):
        del table[f"key {i}"]
    for i in range(round, 90000, 3):
        table[f"key {i}"] = {"id": i, "name": f"new {i * round}", "tags": [str(i * 5)]}
print(hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest())
print(sum(len(e["tags"]) for e in table.values()))
SCRIPT
use_python() { PYTHONHASHSEED=0 "$limited" "$python" "$room/script.py"; }
compare_limited "python3, with its own allocator" use_python

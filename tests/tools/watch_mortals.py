#!/usr/bin/env python3
"""watch_mortals.py WEIR COMMAND...: looks, as fast as it can, at all processes of a command that come, fork, become
other programs and end, until the command is over.

Whatever moment weir reads at, it says either numbers that are right or one line of the known ones, with exit status 66;
it never crashes, and what the command prints and its exit status are its own. Prints how often it saw what."""
import collections
import json
import os
import random
import re
import subprocess
import sys

GONE = re.compile(r"weir: process \d+: (no such process|it is not on weir \(or was started with stats_page=0\))\n")
NO_PROCESS = 66


def fail(what, result):
    sys.exit(f"watch_mortals: {what}: status {result.returncode}\n  stdout: {result.stdout[:2000]}\n  stderr: {result.stderr}")


def descendants(root):
    """The processes below it now."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                parents[int(name)] = int(file.read().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            pass
    found = []
    for pid in parents:
        above = pid
        while above not in (0, root):
            above = parents.get(above, 0)
        if above == root:
            found.append(pid)
    return found


def rows(text):
    return {line.split()[0].rstrip(":"): int(line.split()[1]) for line in text.splitlines()}


def check_counters(text):
    v = rows(text)
    assert v["pgscan_kswapd"] >= v["pgsteal_kswapd"] and v["pgscan_direct"] >= v["pgsteal_direct"], "stolen > scanned"
    assert v["pgfault"] >= v["pgmajfault"] and v["pgalloc_normal"] >= v["pgfree"], "faults or pages"
    assert all(0 <= n < 1 << 48 for n in v.values()), "a number that cannot be"


def check_meminfo(text):
    v = rows(text)
    assert v["MemFree"] <= v["MemTotal"] and v["SwapFree"] <= v["SwapTotal"], "more is free than there is"
    assert v["SwapCached"] + v["Zswap"] + v["AnonPages"] <= v["MemTotal"], "parts are more than the whole"


def check_zoneinfo(text):
    v = json.loads(text)
    for node in v["nodes"]:
        assert node["nr_free_pages"] + node["nr_used_pages"] == node["managed"], "free + used is not managed"
        assert 0 < node["min"] <= node["low"] <= node["high"], "watermarks"
        assert node["nr_standby"] + node["nr_zswap_pool"] <= node["managed"], "standby and pool"


def check_slabs(text):
    for node in json.loads(text)["nodes"]:
        for each in node["slabs"]:
            assert each["active_objs"] <= each["num_objs"] == each["num_slabs"] * each["objperslab"], each


def check_json(text):
    json.loads(text)


VIEWS = [(["vmstat", "--counters", "-p"], check_counters), (["meminfo"], check_meminfo), (["zoneinfo", "--json"], check_zoneinfo),
         (["slabinfo", "--json"], check_slabs), (["buddyinfo", "--json"], check_json), (["swaps", "--json"], check_json),
         (["pagetypeinfo", "--json"], check_json), (["vmstat", "--json", "-p"], check_json)]


def look(weir, pid, view, check, seen):
    result = subprocess.run([weir, *view, str(pid)], capture_output=True, text=True, check=False)
    if result.returncode == 0 and not result.stderr:
        try:
            check(result.stdout)
        except (AssertionError, ValueError, KeyError, IndexError) as error:
            fail(f"{' '.join(view)} of {pid}: {error!r}", result)
        seen["read"] += 1
    elif result.returncode == NO_PROCESS and GONE.fullmatch(result.stderr) and not result.stdout:
        seen["gone"] += 1
    else:
        fail(f"{' '.join(view)} of {pid}", result)


def look_at_all(weir, seen):
    result = subprocess.run([weir, "ps", "--json"], capture_output=True, text=True, check=False)
    if result.returncode != 0 or result.stderr:
        fail("ps", result)
    seen["listed"] += len(json.loads(result.stdout))


def main():
    weir, command = sys.argv[1], sys.argv[2:]
    chance = random.Random(1)
    seen = collections.Counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        while program.poll() is None:
            # (The first has not looked at a page yet, or waits for the others.)
            for pid in descendants(program.pid) or [program.pid]:
                view, check = chance.choice(VIEWS)
                look(weir, pid, view, check, seen)
            if chance.random() < 0.1:
                look_at_all(weir, seen)
        output, errors = program.stdout.read(), program.stderr.read()
    print(f"{output.strip()}; read {seen['read']} times, gone {seen['gone']} times, listed {seen['listed']}")
    if program.returncode != 0 or errors:
        sys.exit(f"watch_mortals: the program ended with {program.returncode} and said: {errors}")
    if not seen["read"]:
        sys.exit("watch_mortals: nothing was ever read")


main()

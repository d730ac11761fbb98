#!/usr/bin/env python3
"""model.py FILE LEAST: a recording of weir record follows the model of what is counted, in each sample and from each to
the next. In at least LEAST of them something was counted since the one before (else the program waits for its children,
or for a processor, and they say nothing), and in a tenth of all pages were swapped out.

What does not follow, and is not checked: pages read from the swap file may be more than were written to it, because a
page that was only read keeps its copy there and need not be written again; and `resident` may be above `managed` for
some milliseconds, by free pages that kswapd has not given back yet."""
import json
import sys

MAXIMA = ("stall_longest_us",)  # grows, too, but is no sum


def check_nodes(nodes):
    for n in nodes:
        assert n["free"] + n["used"] == n["managed"], "free + used is not managed"
        assert n["standby"] + n["zswap_pool"] <= n["managed"], "standby and compressed memory are more than there is"


def check_counters(c, nodes):
    assert c["pgscan_kswapd"] >= c["pgsteal_kswapd"], "kswapd stole what it had not scanned"
    assert c["pgscan_direct"] >= c["pgsteal_direct"], "direct reclaim stole what it had not scanned"
    assert c["pgfault"] >= c["pgmajfault"] + c["pgfault_standby"], "faults of two kinds are more than all"
    assert c["zswpin"] <= c["zswpout"], "more was decompressed than compressed"
    assert c["zswpin"] + c["zswpwb"] <= c["zswpout"], "more left compressed memory than came"
    assert c["zswpin"] + c["pswpin"] <= c["workingset_refault_anon"], "pages came back that had not been away"
    assert c["zswap_same_filled"] <= c["zswpout"] and c["zswpwb"] <= c["pswpout"], "parts are more than all"
    assert c["workingset_activate_anon"] <= c["workingset_refault_anon"], "activated refaults are more than refaults"
    assert c["pgfree"] <= c["pgalloc_normal"], "more was given back than given out"
    assert c["stall_longest_us"] <= c["stall_us"] or c["allocstall"] == 0, "the longest stall is longer than all"
    away = sum(n["swapped"] for n in nodes)
    assert away <= c["zswpout"] + c["pswpout"] - c["zswpwb"], "pages are away that were never written"


def check_step(before, after):
    assert after["ms"] > before["ms"], "time stands still"
    for name, value in before["counters"].items():
        assert after["counters"][name] >= value, f"{name} falls"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    samples = lines[1:]
    for at, sample in enumerate(samples):
        try:
            assert set(lines[0]) & {"weir_recording"} and "weir_recording" not in sample, "two programs in one recording"
            check_nodes(sample["nodes"])
            check_counters(sample["counters"], sample["nodes"])
            if at != 0:
                check_step(samples[at - 1], sample)
        except AssertionError as wrong:
            sys.exit(f"model: sample {at} of {len(samples)}: {wrong}\n{json.dumps(sample)}")
    steps = [(a["counters"], b["counters"]) for a, b in zip(samples, samples[1:])]
    busy = sum(a != b for a, b in steps)
    moves = sum(a["zswpout"] != b["zswpout"] for a, b in steps)
    if busy < int(sys.argv[2]) or moves < len(samples) // 10:
        sys.exit(f"model: of {len(samples)} samples {busy} have news, {moves} of pages swapped out: too few to say anything")
    last = samples[-1]["counters"]
    print(f"{len(samples)} samples, {busy} with news, swapping in {moves}: {last['zswpout']} pages compressed, "
          f"{last['pswpout']} written, {last['workingset_refault_anon']} came back, {last['allocstall']} stalls")


main()

#!/usr/bin/env python3
"""formats.py WEIR PID FILE...: what weir prints for a process has the format of the kernel's files of these names.

Every file has one pattern for each kind of line. All lines of the machine's own file must match, which shows that the
pattern is right, and then all lines of weir's. Names of rows and counters must be names that the kernel has, but for
those listed here as weir's own. A file that the machine
lacks is named on stdout."""
import os
import re
import subprocess
import sys


def field(width):
    """A number at the right end of so many columns; it is wider only when it does not fit."""
    fits = "|".join(f" {{{width - digits}}}\\d{{{digits}}}" for digits in range(1, width + 1))
    return rf"(?:{fits}|\d{{{width + 1},}})"


N = r"\d+"
ZONE = rf"Node {N}, zone (?= *\w+(?: |$)).{{8}}"
ORDERS = rf" (?:{field(6)} ){{11}}"
TYPE = r"(?= *[A-Z]\w+ ).{12} "
SLAB = rf"(?: {field(6)}){{3}}(?: {field(4)}){{2}} : tunables(?: {field(4)}){{3}} : slabdata(?: {field(6)}){{3}}"

FORMATS = {
    "buddyinfo": [ZONE + ORDERS],
    "extfrag_index": [ZONE + r" (?:(?:-1| 0)\.\d{3} | 0\.-?\d{1,3} |-0\.\d{3} | 1\.000 ){11}"],
    "unusable_index": [ZONE + r" (?:[01]\.\d{3} ){11}"],
    "pagetypeinfo": [
        rf"Page block order: {N}", rf"Pages per block:  {N}", r"",
        r"Free pages count per migrate type at order {7}0 {6}1 {6}2 {6}3 {6}4 {6}5 {6}6 {6}7 {6}8 {6}9 {5}10 ",
        rf"Node {field(4)}, zone (?= *\w+,).{{8}}, type {TYPE}(?:>?{field(6)} ){{11}}",  # > where it stopped counting
        rf"Number of blocks type  (?:{TYPE})+",
        rf"{ZONE} (?:{field(12)} )+",
    ],
    "meminfo": [rf"HardwareCorrupted: {field(5)} kB", rf"(?=[A-Z][\w()]*: *\d+ kB$).{{16}}{field(8)} kB", rf"HugePages_\w+: +{N}"],
    "slabinfo": [
        r"slabinfo - version: 2\.1",
        r"# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> "
        r"<batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>",
        rf"(?:(?=\S+ +\d).{{17}}|\S{{18,}}){SLAB}",
    ],
    "zoneinfo": [
        ZONE, r"  per-node stats", rf"      (?=[a-z_0-9]+ +{N}$)(?:.{{12}}|\S{{13,}}) {N}", rf"  pages free     {N}",
        rf"        (?=(?:boost|min|low|high|promo|spanned|present|managed|cma) +{N}$).{{8}} {N}",
        rf"        protection: \({N}(?:, {N})*\)", r"  pagesets", rf"    cpu: {N}",
        rf"              (?:count|high|batch|high_min|high_max): +{N}", rf"  vm stats threshold: {N}",
        rf"  node_unreclaimable:  {N}", rf"  start_pfn: {{11}}{N}",
    ],
    "vmstat": [rf"[a-z][a-z0-9_]* {N}"],
    "numastat": [rf"(?:numa_hit|numa_miss|numa_foreign|interleave_hit|local_node|other_node) {N}"],
    "swaps": [
        r"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority",
        rf"(?:(?=\S+ +[fp]).{{40}}|\S{{40,}} )(?:partition|file\t)\t{N}\t\t?{N}\t\t?-?{N}",
    ],
}
# What weir counts and no kernel does; everything else must be the kernel's.
OWN_COUNTERS = set(
    "pageblock_stolen pgpurged pgmoved arena_grow arena_grow_fail purge_fail pgfault_zero pgfault_standby pglift pglift_back kswapd_wake "
    "zswap_moved zswap_same_filled zswap_reject_compress swap_write_error swap_read_error pageblock_armed stall_us "
    "stall_longest_us slabs_freed pgunmap_file purge_throttle".split())
# The kernel has these under another name, or only in some configurations: allocstall is split by zone since 4.10.
CONFIGURED = set("allocstall numa_hit numa_miss numa_foreign zswpin zswpout zswpwb swap_ra swap_ra_hit pgalloc_normal "
                 "workingset_refault_anon workingset_activate_anon Zswap Zswapped pgrotated zone_reclaim_success "
                 "zone_reclaim_failed".split())


ELSEWHERE = {
    "numastat": "/sys/devices/system/node/node0/numastat",
    "extfrag_index": "/sys/kernel/debug/extfrag/extfrag_index",
    "unusable_index": "/sys/kernel/debug/extfrag/unusable_index",
}


def kernel_text(name):
    path = ELSEWHERE.get(name, "/proc/" + name)
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError as error:
        print(f"{path}: {error.strerror}: not compared with it")
        return ""


def weir_text(weir, name, pid):
    command = ["vmstat", "--counters"] if name == "vmstat" else [name]
    return subprocess.run([weir, *command, pid], check=True, capture_output=True, text=True).stdout


def misfits(text, patterns):
    return [line for line in text.splitlines() if not any(re.fullmatch(p, line) for p in patterns)]


def first_words(text):
    return {line.split()[0].rstrip(":") for line in text.splitlines() if line.split()}


def complaints(weir, pid, name):
    ours, kernels = weir_text(weir, name, pid), kernel_text(name)
    for whose, text in (("the kernel", kernels), ("weir", ours)):
        for line in misfits(text, FORMATS[name]):
            yield f"{name}: a line of {whose} has another format: {line!r}"
    if not ours.endswith("\n"):
        yield f"{name}: the last line has no end"
    if kernels and name in ("vmstat", "meminfo"):
        strange = first_words(ours) - first_words(kernels) - OWN_COUNTERS - CONFIGURED
        if strange:
            yield f"{name}: no name of the kernel's: {' '.join(sorted(strange))}"
        # sysstat adds up everything that begins so, as pages reclaimed or scanned.
        sums = {w for w in first_words(ours) if w.startswith(("pgsteal_", "pgscan_"))}
        if name == "vmstat" and sums != {"pgsteal_kswapd", "pgsteal_direct", "pgscan_kswapd", "pgscan_direct"}:
            yield f"vmstat: counters that sar would add up: {' '.join(sorted(sums))}"


def main():
    weir, pid, names = sys.argv[1], sys.argv[2], sys.argv[3:] or list(FORMATS)
    wrong = [text for name in names for text in complaints(weir, pid, name)]
    for text in wrong:
        print("formats:", text, file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()

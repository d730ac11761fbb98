"""What bench/pressure measures besides the comparison: the round trip of a fault, who reclaims while a program grows, and
what weir costs where no limit is set."""
import json
import os
import re
import statistics
import subprocess
import time

from harness import extras, measure, report
from harness import pressure_regimes as regimes
from harness import pressure_report

FAULT_SECONDS = 2
RAMP_RATE_MIB = 200
RAMP_TIMES = 4           # the ramp ends at this many times the limit
PAIR = "pair/64"
PAIR_MIN_TIME = 0.1      # seconds per micro-benchmark and run
PROGRAMS = (["larson", "0.5"], ["large_blocks", "0.5"])  # small objects by several threads; runs of pages
FAR_LIMIT = "64G"        # a limit that nothing here comes near: the code is there, with nothing to do
# Counter -> its label in weir's summary. Elsewhere (statistics) it goes by its /proc/vmstat name.
COUNTERS = {"pgsteal_kswapd": "Reclaimed by kswapd (pages)", "pgsteal_direct": "Reclaimed directly (pages)",
            "pgscan_kswapd": "Scanned by kswapd (pages)", "pgscan_direct": "Scanned directly (pages)",
            "allocstall": "Stalls", "stall_longest_ms": "Stalls, longest (ms)", "peak_mib": "Peak resident (MiB)",
            "pswpout": "Swapped out to file (pages)", "zswpout": "Swapped out to compressed memory (pages)"}


def median_of(samples, field):
    values = [s[field] for s in samples if field in s]
    return statistics.median(values) if values else None


# --- the round trip of a fault

def fault_rows(options, context):
    """Name -> (command, environment). Weir's rows have more data than the limit, with content that must be decompressed
    and with pages of one repeated word, which need none, like the bare loop."""
    program = context.program("fault_trip")
    common = [program, "--seconds", str(FAULT_SECONDS if not options.quick else FAULT_SECONDS / 2), "--compressibility",
              str(options.compressibility)]
    rows = {f"UFFDIO_COPY, handler {where}": ([*common, "--mode", "bare", "--handler", how], {})
            for how, where in (("same", "on the same CPU"), ("follow", "following"), ("other", "on another CPU"))}
    conf = f"limit={context.limit},swap=none,zswap_max={context.limit}"
    accepted, complaint = regimes.accepts(context.library, conf)
    if accepted:
        env = {"LD_PRELOAD": context.library, "WEIR_CONF": conf}
        heap = [*common, "--mode", "heap", "--memory", str(context.data)]
        rows["weir, pages of one word"] = ([*heap, "--content", "same"], env)
        rows["weir, LZ4"] = (heap, env)
    return rows, "" if accepted else f"weir is left out, it takes no limit: {complaint}"


def faults(options, context):
    rows, note = fault_rows(options, context)
    samples, problems = {name: [] for name in rows}, []
    for n in range(options.rounds):
        names = list(rows)
        turn = n % len(names)
        for name in names[turn:] + names[:turn]:
            command, env = rows[name]
            try:
                found = json.loads(extras.output_of(command, {**os.environ, **env}))
                if found["faults"] == 0:
                    raise measure.RunFailed("no page was ever missing")
                samples[name].append(found)
            except measure.RunFailed as failure:
                problems.append(f"faults: {name}: {failure}")
    base = median_of(samples["UFFDIO_COPY, handler following"], "p50_ns")
    lines = [["FAULT ROUND TRIP", "p50", "min..max", "p90", "p99", "faults", "p50 / following"]]
    for name, found in samples.items():
        if not found:
            lines.append([name, "failed", "", "", "", "", ""])
            continue
        low, high = min(s["p50_ns"] for s in found), max(s["p50_ns"] for s in found)
        p50 = median_of(found, "p50_ns")
        lines.append([name, pressure_report.duration(p50),
                      f"{pressure_report.duration(low)}..{pressure_report.duration(high)}",
                      pressure_report.duration(median_of(found, "p90_ns")),
                      pressure_report.duration(median_of(found, "p99_ns")),
                      f"{sum(s['faults'] for s in found):,}", f"{p50 / base:.2f}" if base else "-"])
    text = report.table("", lines).lstrip("\n") + (f"\nnote: {note}" if note else "")
    return {"samples": samples, "note": note}, text, problems


# --- a program that grows

def counters_in(text):
    """Counters out of what weir printed at exit: its summary, or else the statistics."""
    found = {}
    for name, label in COUNTERS.items():
        match = re.search(rf"^\s*{re.escape(label)}: ([\d.]+)$", text, re.M) or re.search(rf"^\s*{name}:?\s+(\d+)", text, re.M)
        if match:
            found[name] = float(match.group(1)) if "." in match.group(1) else int(match.group(1))
    return found


def ramp_once(context, conf, command):
    process = regimes.Weir("weir", conf, ()).start(context, command)
    with regimes.Sampler(lambda: regimes.status_bytes(process.pid, "RssAnon", "RssShmem")) as sampler:
        status = process.wait()
    if status != 0:
        raise process.failure(status)
    return {**json.loads(process.text(process.out)), "memory": sampler.most, **counters_in(process.text(process.err))}


def ramp(options, context):
    conf = "limit={limit},swap={swap_dir}"
    accepted, complaint = regimes.accepts(context.library, conf.format(limit=context.limit, swap_dir=context.swap_dir))
    if not accepted:
        return {"note": complaint}, f"RAMP: left out, this weir takes no limit: {complaint}", []
    command = [context.program("ramp"), "--memory", str(RAMP_TIMES * context.limit), "--rate", f"{RAMP_RATE_MIB}M",
               "--compressibility", str(options.compressibility)]
    printing = ",summary=1" if regimes.accepts(context.library, "summary=1")[0] else ",stats_at_exit=1"
    samples, problems = [], []
    for _ in range(options.rounds):
        try:
            samples.append(ramp_once(context, conf + printing, command))
        except regimes.RunFailed as failure:
            problems.append(f"ramp: {failure}")
    lines = [["RAMP", "MiB/s", "by kswapd", "directly", "kswapd's share", "stalls", "page p99", "p99.9", "longest", "MiB"]]
    for n, s in enumerate(samples):
        kswapd, direct = s.get("pgsteal_kswapd"), s.get("pgsteal_direct")
        if kswapd is None or direct is None:
            problems.append("ramp: no pgsteal_kswapd and pgsteal_direct in what weir printed at exit")
        s["share"] = kswapd / (kswapd + direct) if kswapd is not None and direct is not None and kswapd + direct else None
        lines.append([f"round {n + 1}", f"{s['mib_per_s']:.0f}", str(kswapd), str(direct),
                      f"{100 * s['share']:.1f}%" if s["share"] is not None else "-", str(s.get("allocstall", "-")),
                      *[pressure_report.duration(s[f]) for f in ("p99_ns", "p999_ns", "max_ns")],
                      pressure_report.mib(s["memory"])])
    return {"samples": samples}, report.table("", lines).lstrip("\n"), problems


# --- no limit

def reference_library(options, context, problems):
    """The library to compare with: a path, or a commit of this project that is built for the purpose."""
    given = options.reference
    if not given or os.path.isfile(given):
        return os.path.abspath(given) if given else None
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    commit = subprocess.run(["git", "-C", top, "rev-parse", "--verify", "--quiet", given + "^{commit}"], capture_output=True,
                            text=True).stdout.strip()
    if not commit:
        problems.append(f"no-limit: --reference '{given}': expected an existing library or a commit of this project")
        return None
    place = os.path.join(options.build, "pressure-reference", commit[:12])
    source, library = os.path.join(place, "source"), os.path.join(place, "build", "lib", "libweir-malloc.so")
    if not os.path.exists(library):
        print(f"building weir as of {commit[:12]}", flush=True)
        os.makedirs(source, exist_ok=True)
        for command in (f"git -C '{top}' archive {commit} | tar -x -C '{source}'",
                        f"cmake -S '{source}' -B '{place}/build' -DCMAKE_BUILD_TYPE=Release -DWEIR_TESTS=OFF -DWEIR_BENCH=OFF",
                        f"cmake --build '{place}/build' --target weir_malloc --parallel {os.cpu_count() or 1}"):
            result = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True)
            if result.returncode != 0:
                problems.append(f"no-limit: cannot build {commit[:12]}: " + (result.stderr.strip().splitlines() or ["?"])[-1])
                return None
    return os.path.realpath(library)


def pair_once(context, env):
    text = extras.output_of([context.program("pairs"), f"--benchmark_filter=^{PAIR}$", "--benchmark_format=json",
                             f"--benchmark_min_time={PAIR_MIN_TIME}"], env)
    entry = json.loads(text)["benchmarks"][0]
    return entry["cpu_time"] * {"ns": 1, "us": 1e3}[entry["time_unit"]]


def program_once(context, command, env):
    start = time.monotonic()
    extras.output_of([context.program(command[0]), *command[1:]], env)
    return (time.monotonic() - start) * 1e3


def instruction_counts(context, library, conf):
    env = {**os.environ, "WEIR_CONF": conf}
    env.pop("LD_PRELOAD", None)
    try:
        counts = json.loads(extras.output_of([context.program("count_instructions"), library], env))
        return {name: counts[name]["median"] for name in ("malloc", "free")}
    except measure.RunFailed:
        return {}


def no_limit(options, context):
    problems = []
    kinds = {"no limit": (context.library, ""), "no limit, again": (context.library, "")}
    reference = reference_library(options, context, problems)
    if reference:
        kinds["reference"] = (reference, "")
    far = f"limit={FAR_LIMIT},swap=none"
    if regimes.accepts(context.library, far)[0]:
        kinds[f"limit {FAR_LIMIT}"] = (context.library, far)
    if not os.path.exists(context.program("pairs")):
        return {}, "NO LIMIT: left out, Google Benchmark is missing (apt-get install libbenchmark-dev)", problems
    samples = {kind: {} for kind in kinds}
    for n in range(2 * options.rounds + 1):
        names = list(kinds)
        turn = n % len(names)
        for kind in names[turn:] + names[:turn]:
            library, conf = kinds[kind]
            env = {**os.environ, "LD_PRELOAD": library, "WEIR_CONF": conf}
            try:
                samples[kind].setdefault(PAIR, []).append(pair_once(context, env))
                for command in PROGRAMS:
                    samples[kind].setdefault(command[0], []).append(program_once(context, command, env))
            except measure.RunFailed as failure:
                problems.append(f"no-limit: {kind}: {failure}")
    counts = {kind: instruction_counts(context, *kinds[kind]) for kind in kinds}
    columns = [PAIR, *[command[0] for command in PROGRAMS]]
    lines = [["NO LIMIT: median (least)", f"{PAIR}, ns", *[f"{c}, ms" for c in columns[1:]], "instructions malloc", "free"]]
    for kind, by in samples.items():
        lines.append([kind, *[f"{statistics.median(by[c]):.4g} ({min(by[c]):.4g})" if c in by else "failed" for c in columns],
                      *[str(counts[kind].get(name, "-")) for name in ("malloc", "free")]])
    text = report.table("", lines).lstrip("\n")
    if not reference:
        text += "\nnote: --reference LIB|COMMIT adds weir without the code for limits"
    return {"samples": samples, "instructions": counts, "reference": reference}, text, problems


SECTIONS = {"faults": faults, "ramp": ramp, "no_limit": no_limit}

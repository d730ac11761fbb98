"""What is measured besides the programs: micro-benchmarks, instruction counts, start-up time, memory held when idle."""
import json
import os
import re
import statistics
import subprocess
import threading
import time

from harness import measure, report

MICRO = ["pairs", "cross_thread", "resize"]
MIN_TIME = 0.02       # seconds per micro-benchmark and run; the median over the rounds does the rest
PAIR = "pair/64"      # the one named in the summary
SPAWN_ROUNDS = 300
IDLE_SECONDS = 12
IDLE_PEAK_MIB = 270
IDLE_THREADS = (1, 2)


def environment(allocator):
    env = dict(os.environ)
    env.pop("LD_PRELOAD", None)
    if allocator.path:
        env["LD_PRELOAD"] = allocator.path
    return env


def output_of(command, env=None):
    """Standard output of a tool, or RunFailed with the last line of its complaint."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, env=env, timeout=measure.TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise measure.RunFailed(str(error)) from None
    if result.returncode != 0:
        complaint = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise measure.RunFailed(complaint[-1])
    return result.stdout


def micro_once(context, program, allocator):
    """Name of benchmark -> ns: wall time where threads or paging matter to the wall clock, else processor time."""
    text = output_of([os.path.join(context.bench_dir, program), "--benchmark_format=json",
                      f"--benchmark_min_time={MIN_TIME}"], environment(allocator))
    factor = {"ns": 1, "us": 1e3, "ms": 1e6}
    result = {}
    for entry in json.loads(text)["benchmarks"]:
        name = entry["name"].replace("/real_time", "")
        result[name] = entry["real_time" if "/real_time" in entry["name"] else "cpu_time"] * factor[entry["time_unit"]]
    return result


def instructions(context, allocators, lines):
    counts = {}
    for a in allocators:
        try:
            counts[a.name] = json.loads(output_of([os.path.join(context.bench_dir, "count_instructions"), a.path]))
        except measure.RunFailed as failure:
            lines.append(f"instructions of {a.name}: {failure}")
    rows = [["INSTRUCTIONS, median", *counts]]
    for function in ("malloc", "free"):
        rows.append([f"{function}(64)" if function == "malloc" else "free"] +
                    [str(c[function]["median"]) for c in counts.values()])
    lines.append(report.table("", rows).lstrip("\n"))
    return counts


def micro(context, allocators, options):
    samples, lines = {}, []
    for r in range(options.rounds):
        turn = r % len(allocators)
        for a in allocators[turn:] + allocators[:turn]:
            for program in MICRO:
                if not os.path.exists(os.path.join(context.bench_dir, program)):
                    return {}, "MICRO: not built, Google Benchmark is missing (apt-get install libbenchmark-dev)"
                try:
                    for name, ns in micro_once(context, program, a).items():
                        samples.setdefault(name, {}).setdefault(a.name, []).append(ns)
                except measure.RunFailed as failure:
                    lines.append(f"{program} under {a.name}: {failure}")
    names = [a.name for a in allocators]
    medians = {bench: {n: statistics.median(v) for n, v in by.items()} for bench, by in samples.items()}
    rows = [["MICRO: median ns", *names]]
    for bench, by in medians.items():
        rows.append([bench] + [f"{by[n]:.4g}" if by.get(n, 0) < 1000 else f"{by[n]:,.0f}" for n in names if n in by])
    lines.append(report.table("", [r for r in rows if len(r) == len(names) + 1]).lstrip("\n"))
    pair = medians.get(PAIR, {})
    peers = {n: v for n, v in pair.items() if n != "weir"}
    if "weir" in pair and peers:
        best = min(peers, key=peers.get)
        lines.append(f"malloc(64)+free: weir {pair['weir']:.2f} ns, best peer {best} {peers[best]:.2f} ns, "
                     f"ratio {pair['weir'] / peers[best]:.2f}")
    counts = instructions(context, allocators, lines)
    return {"median_ns": medians, "samples_ns": samples, "instructions": counts}, "\n\n".join(lines)


def startup(context, allocators, options):
    preloaded = [a for a in allocators if a.path]
    rounds = SPAWN_ROUNDS if not options.quick else SPAWN_ROUNDS // 3
    try:
        times = json.loads(output_of([os.path.join(context.bench_dir, "spawn_time"), str(rounds),
                                      *[a.path for a in preloaded]]))
    except measure.RunFailed as failure:
        return {}, f"START-UP: {failure}"
    (none, none_best), *others = times
    rows = [["START-UP of /bin/true, ms", "median", "above none", "least", "above none"],
            ["nothing preloaded", f"{none:.3f}", "", f"{none_best:.3f}", ""]]
    rows += [[a.name, f"{t:.3f}", f"{t - none:+.3f}", f"{best:.3f}", f"{best - none_best:+.3f}"]
             for a, (t, best) in zip(preloaded, others)]
    findings = {"rounds": rounds, "none_ms": none, "none_least_ms": none_best,
                "median_ms": {a.name: t for a, (t, _) in zip(preloaded, others)},
                "least_ms": {a.name: best for a, (_, best) in zip(preloaded, others)}}
    return findings, report.table("", rows).lstrip("\n")


def status_kib(pid, field):
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(rf"^{field}:\s+(\d+)", file.read(), re.MULTILINE).group(1))


def watch(process, result):
    """Samples resident memory at whole seconds after the moment of the call."""
    start = time.monotonic()
    result["peak_kib"] = status_kib(process.pid, "VmHWM")
    for second in range(1, IDLE_SECONDS + 1):
        time.sleep(max(0.0, start + second - time.monotonic()))
        result["rss_kib"].append(status_kib(process.pid, "VmRSS"))
    process.kill()
    process.wait()


def hold(context, allocator, threads):
    """Starts one holder and returns it once all is freed; it then sleeps longer than it is watched."""
    command = [os.path.join(context.bench_dir, "idle_hold"), str(IDLE_SECONDS + 60), str(IDLE_PEAK_MIB), str(threads)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(allocator))
    if process.stdout.readline() != b"freed\n":
        process.kill()
        process.wait()
        return None
    return process


def idle(context, allocators, options):
    """All holders sleep at the same time, each watched from the moment it had freed everything."""
    findings, watchers, lines = {}, [], []
    for threads in IDLE_THREADS:
        for a in allocators:
            process = hold(context, a, threads)
            if process is None:
                lines.append(f"idle under {a.name} with {threads} threads: the program failed")
                continue
            result = findings.setdefault(a.name, {})[str(threads)] = {"peak_kib": 0, "rss_kib": []}
            watchers.append(threading.Thread(target=watch, args=(process, result)))
            watchers[-1].start()
    for watcher in watchers:
        watcher.join()
    rows = [["IDLE: RSS in MiB", "peak", *[f"{s} s" for s in range(1, IDLE_SECONDS + 1)]]]
    for name, by_threads in findings.items():
        for threads, result in by_threads.items():
            label = f"{name}, {threads} thread" + ("s" if threads != "1" else "")
            rows.append([label] + [f"{kib / 1024:.1f}" for kib in [result["peak_kib"], *result["rss_kib"]]])
    lines.append(report.table("", rows).lstrip("\n"))
    return findings, "\n".join(lines)


SECTIONS = {"micro": micro, "startup": startup, "idle": idle}

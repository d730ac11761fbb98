"""Tables and JSON of bench/pressure."""
import datetime
import os
import statistics

from harness import report

OVER = (1.05, 8 << 20)  # resident memory may reach the larger of limit * 1.05 and limit + 8 MiB
LATENCIES = ("p50_ns", "p99_ns", "p999_ns")


class Series:
    """All samples of one workload in one regime."""

    def __init__(self):
        self.samples, self.error, self.over = [], "", ""

    def check_memory(self, regime, limit):
        """What holds more than its limit is not compared: with more memory anything is faster."""
        memory = self.samples[-1]["memory"]
        if regime.counts_pool and getattr(regime, "limited", True) and memory > max(limit * OVER[0], limit + OVER[1]):
            self.over = f"held {mib(memory)} MiB at a limit of {mib(limit)}"

    def values(self, field):
        return [s[field] for s in self.samples if field in s]

    def median(self, field):
        values = self.values(field)
        return statistics.median(values) if values and not self.error else None

    @property
    def rate(self):
        return self.median("touches_per_s")


def ratio(results, workload, name, baseline):
    """How many times the baseline's touches per second; None where either is missing."""
    mine, base = results[workload].get(name), results[workload].get(baseline)
    return mine.rate / base.rate if mine and base and mine.rate and base.rate and not mine.over and not base.over else None


def duration(ns):
    if ns is None:
        return "-"
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.0f} ns"


def mib(number):
    return f"{number / (1 << 20):.0f}"


def ratios_text(results, workload, regime):
    parts = []
    for baseline in regime.baseline:
        value = ratio(results, workload, regime.name, baseline)
        if value:
            parts.append(f"{value:.2f} x {baseline}")
    return "; ".join(parts)


def row(results, workload, regime):
    series = results[workload][regime.name]
    if series.error or not series.samples:
        return [f"  {regime.name}", "failed" if series.error else "-", "", "", "", "", "", ""]
    low, high = min(series.values("touches_per_s")), max(series.values("touches_per_s"))
    memory = max(series.values("memory"))
    return [f"  {regime.name}", f"{series.rate:,.0f}", f"{low:,.0f}..{high:,.0f}",
            *[duration(series.median(field)) for field in LATENCIES], mib(memory) + ("!" if series.over else ""),
            ratios_text(results, workload, regime)]


def table(results, regimes):
    rows = [["", "touches/s", "min..max", "p50", "p99", "p99.9", "MiB", "touches/s, ratio"]]
    for workload in results:
        rows.append([workload] + [""] * 7)
        rows += [row(results, workload, r) for r in regimes if r.name in results[workload]]
    return report.table("", rows).lstrip("\n")


def summary_lines(results, regimes):
    """The geometric mean of each ratio over the workloads that have it."""
    lines = []
    for regime in regimes:
        for baseline in regime.baseline:
            values = [v for v in (ratio(results, w, regime.name, baseline) for w in results) if v]
            if values:
                lines.append(f"{regime.name} / {baseline}: {report.geometric_mean(values):.2f} (geometric mean of "
                             f"{len(values)}, {min(values):.2f} to {max(values):.2f})")
    return lines


def as_dict(results, regimes, context, options, facts, findings):
    workloads = {}
    for workload, by_regime in results.items():
        workloads[workload] = {}
        for regime in regimes:
            series = by_regime.get(regime.name)
            if series is None:
                continue
            fields = ("touches_per_s", *LATENCIES, "memory")
            workloads[workload][regime.name] = {
                "error": series.error, "over": series.over, "median": {f: series.median(f) for f in fields},
                "ratio": {b: ratio(results, workload, regime.name, b) for b in regime.baseline},
                "samples": series.samples}
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": report.machine(), "limit": context.limit, "data": context.data, "options": options,
            "calibration": facts,
            "regimes": {r.name: {"notes": r.notes, "oom_kills": r.oom_kills, "conf": getattr(r, "conf", None)}
                        for r in regimes},
            "workloads": workloads, **findings}


def kernel_settings():
    """What of the kernel's tuning may matter to whoever repeats this."""
    result = {}
    for path in ("/proc/sys/vm/page-cluster", "/proc/sys/vm/swappiness", "/sys/kernel/mm/lru_gen/enabled",
                 "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/mm/swap/vma_ra_enabled"):
        if os.path.exists(path):
            with open(path) as file:
                result[path] = file.read().strip()
    return result

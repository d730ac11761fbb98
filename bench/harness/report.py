"""Tables, geometric means and JSON from measured series."""
import datetime
import json
import math
import os
import platform

from harness import measure

SLOW = 1.1  # programs above this ratio of the baseline are named
MIB = 1024


def ratio(series, baseline, field, of=measure.Series.median):
    """Median against the baseline's median; None where either has no samples."""
    if not series.samples or not baseline.samples or series.error or baseline.error:
        return None
    base = of(baseline, field)
    return of(series, field) / base if base > 0 else None


def best(series, field):
    """The least sample: what the allocator can do when nothing else disturbs the machine."""
    return min(series.values(field))


def geometric_mean(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


class Summary:
    """Ratios of every allocator to the baseline over all programs."""

    def __init__(self, results, names, baseline):
        self.results, self.names, self.baseline = results, names, baseline
        self.time = {n: self.ratios(n, "wall") for n in names}
        self.cpu = {n: self.ratios(n, "cpu") for n in names}
        self.best = {n: self.ratios(n, "wall", best) for n in names}
        self.memory = {n: self.ratios(n, "rss_kib") for n in names}

    def ratios(self, name, field, of=measure.Series.median):
        if self.baseline not in self.names:
            return {}
        return {p: ratio(s[name], s[self.baseline], field, of) for p, s in self.results.items()}

    def mean(self, table, name):
        return geometric_mean(table[name].values())

    def slow(self, table, name):
        return {p: r for p, r in table[name].items() if r and r > SLOW}


def cell(series, field, factor, ratio_value):
    if series.error or not series.samples:
        return "failed"
    low, high = series.spread(field)
    digits = 3 if field in ("wall", "cpu") else 1
    value, low, high = (f"{x * factor:.{digits}f}" for x in (series.median(field), low, high))
    spread = f" {low}..{high}" if field == "wall" else ""
    return f"{value}{spread}" + (f" {ratio_value:5.2f}" if ratio_value else "")


def table(title, rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [title]
    for n, row in enumerate(rows):
        lines.append("  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])]))
        if n == 0:
            lines.append("  ".join("-" * w for w in widths))
    return "\n".join(lines)


def format_mean(value):
    return f"{value:.3f}" if value else "-"


def metric_table(summary, title, field, factor, ratios):
    rows = [["program", *summary.names]]
    for program, series in summary.results.items():
        rows.append([program] + [cell(series[n], field, factor, ratios[n].get(program)) for n in summary.names])
    rows.append(["geometric mean"] + [format_mean(summary.mean(ratios, n)) for n in summary.names])
    return table(title, rows)


def text(summary):
    baseline = summary.baseline
    parts = [
        metric_table(summary, f"TIME: median wall seconds, min..max, ratio to {baseline}", "wall", 1, summary.time),
        metric_table(summary, f"USER+SYS: median seconds, ratio to {baseline}", "cpu", 1, summary.cpu),
        metric_table(summary, f"MEMORY: median peak RSS in MiB, ratio to {baseline}", "rss_kib", 1 / MIB, summary.memory),
        metric_table(summary, f"PAGE FAULTS: median thousands, ratio to {baseline}", "minflt", 1 / 1000,
                     {n: summary.ratios(n, "minflt") for n in summary.names}),
    ]
    means = [["", *summary.names]]
    for title, ratios in (("time", summary.time), ("time, best run", summary.best),
                          ("user+sys", summary.cpu), ("peak memory", summary.memory)):
        means.append([title] + [format_mean(summary.mean(ratios, n)) for n in summary.names])
    parts.append(table(f"GEOMETRIC MEANS of the ratios to {baseline}", means))
    for name in summary.names:
        for what, ratios in (("time", summary.time), ("memory", summary.memory)):
            slow = summary.slow(ratios, name)
            if slow:
                named = ", ".join(f"{p} {r:.2f}" for p, r in sorted(slow.items(), key=lambda x: -x[1]))
                parts.append(f"{name}, {what} above {SLOW} of {baseline}: {named}")
    return "\n\n".join(parts)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    return {"processor": model, "cpus": os.cpu_count(), "kernel": platform.release(),
            "memory_kib": int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))),
            "load_average": os.getloadavg()[0]}


def as_dict(summary, versions, options, extras):
    programs = {}
    for program, series in summary.results.items():
        programs[program] = {n: {"error": s.error, **{f: s.values(f) for f in ("wall", "user", "sys", "rss_kib", "minflt")}}
                             for n, s in series.items()}
    means = {n: {"time": summary.mean(summary.time, n), "time_best": summary.mean(summary.best, n),
                 "cpu": summary.mean(summary.cpu, n),
                 "memory": summary.mean(summary.memory, n), "slow": summary.slow(summary.time, n)} for n in summary.names}
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "machine": machine(),
            "allocators": versions, "options": options, "baseline": summary.baseline, "geometric_means": means,
            "programs": programs, **extras}


def write_json(path, data):
    with open(path, "w") as out:
        json.dump(data, out, indent=1)
        out.write("\n")

"""The results of bench/pressure as one self-contained SVG: touches per second relative to zram, and the slow touches."""
import math

from harness import chart
from harness import pressure_report as report

COLOURS = {"weir": "#0b6e99", "zram": "#8d99a6", "zram, pool counted": "#5d6873", "weir file": "#4fa3a5",
           "swap file": "#e3a857"}
BASELINE = "zram"
BAR, GROUP_GAP, HEAD = 9, 11, 128
DECADE_NS = (1e2, 1e9)  # the latency axis, 100 ns to 1 s


def colour(name, names):
    unknown = [n for n in names if n not in COLOURS]
    return COLOURS.get(name) or chart.SPARE[unknown.index(name) % len(chart.SPARE)]


def draw_legend(drawing, names):
    x = chart.MARGIN
    for name in names:
        drawing.rect(x, 62, 12, 12, colour(name, names), 2)
        drawing.text(x + 18, 72.5, name, 12, weight=600 if name.startswith("weir") else 400)
        x += 42 + 7.0 * len(name)


def draw_rate_axis(drawing, left, bottom, most):
    drawing.text(left, HEAD - 28, f"Touches per second, {BASELINE} = 1 (longer is better)", 14, weight=600)
    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 25, 50, 100) if most / s <= 6)
    for i in range(int(most / step) + 1):
        x = left + i * step / most * chart.PANEL
        drawing.line(x, HEAD - 6, bottom, chart.INK if i * step == 1 else chart.GRID)
        drawing.text(x, HEAD - 11, f"{i * step:g}", 10, chart.FAINT, "middle")


def place(ns):
    low, high = (math.log10(x) for x in DECADE_NS)
    return (min(max(math.log10(max(ns, 1)), low), high) - low) / (high - low) * chart.PANEL


def draw_latency_axis(drawing, left, bottom):
    drawing.text(left, HEAD - 28, "Touch latency: median, 99% (bar), 99.9% (line)", 14, weight=600)
    for decade in range(int(math.log10(DECADE_NS[0])), int(math.log10(DECADE_NS[1])) + 1):
        x = left + place(10 ** decade)
        drawing.line(x, HEAD - 6, bottom, chart.GRID)
        drawing.text(x, HEAD - 11, report.duration(10 ** decade), 10, chart.FAINT, "middle")


def draw_rate(drawing, left, y, value, most, fill):
    if value is None:
        drawing.text(left + 4, y + BAR - 1, "no result", BAR, chart.SLOW)
        return
    length = value / most * chart.PANEL
    drawing.rect(left, y + 0.5, length, BAR - 1, fill, 1.5)
    drawing.text(left + length + 3, y + BAR - 1.2, f"{value:.2f}", 9, fill, weight=600)


def draw_latency(drawing, left, y, series, fill):
    p50, p99, p999 = (series.median(field) for field in report.LATENCIES)
    if p50 is None:
        return
    drawing.rect(left + place(p99), y + BAR / 2 - 0.75, place(p999) - place(p99), 1.5, fill)
    drawing.rect(left + place(p50), y + 1.5, max(place(p99) - place(p50), 2), BAR - 3, fill, 1.5)
    drawing.rect(left + place(p50) - 1, y + 0.5, 2.5, BAR - 1, chart.INK)


def write(path, results, regimes, subtitle):
    names = [r.name for r in regimes]
    rates = {w: {n: report.ratio(results, w, n, BASELINE) for n in by if by[n].rate} for w, by in results.items()}
    most = max([1.2, *[v for by in rates.values() for v in by.values() if v]]) * 1.08
    drawing = chart.Drawing()
    drawing.text(chart.MARGIN, 38, "Programs under memory pressure", 20, weight=700)
    drawing.text(chart.WIDTH - chart.MARGIN, 38, subtitle, 12, chart.FAINT, "end")
    draw_legend(drawing, names)
    bottom = HEAD + 8 + sum(len(by) * BAR + GROUP_GAP for by in results.values())
    left = chart.MARGIN + chart.LABELS
    right = left + chart.PANEL + chart.GAP
    draw_rate_axis(drawing, left, bottom, most)
    draw_latency_axis(drawing, right, bottom)
    top = HEAD + 8
    for workload, by_regime in results.items():
        drawing.text(left - 12, top + len(by_regime) * BAR / 2 + 4, workload, 12, anchor="end")
        for i, (name, series) in enumerate(by_regime.items()):
            y = top + i * BAR
            draw_rate(drawing, left, y, rates[workload].get(name), most, colour(name, names))
            draw_latency(drawing, right, y, series, colour(name, names))
        top += len(by_regime) * BAR + GROUP_GAP
    with open(path, "w") as out:
        out.write(drawing.svg(top + 24))

"""The results as one self-contained SVG: grouped bars of time and peak memory, relative to the baseline."""
import re
from xml.sax.saxutils import escape

COLOURS = {"weir": "#0b6e99", "jemalloc": "#8d99a6", "mimalloc": "#e3a857", "tcmalloc": "#7fb58c", "glibc": "#c3a6cf"}
SPARE = ["#d3756b", "#5f6caf", "#b5b35c", "#4fa3a5"]  # for --lib
INK, FAINT, GRID, SLOW = "#1d2733", "#66727f", "#e4e8ec", "#b3372f"
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"

WIDTH = 1180
MARGIN = 32
LABELS = 150      # room for program names
GAP = 48          # between the panels
PANEL = (WIDTH - 2 * MARGIN - LABELS - GAP) / 2
LIMIT = 2.0       # bars are cut here, their value is written at the end
BAR = 7
GROUP_GAP = 9
HEAD = 132


def colour(name, names):
    unknown = [n for n in names if n not in COLOURS]
    return COLOURS.get(name) or SPARE[unknown.index(name) % len(SPARE)]


class Drawing:
    def __init__(self):
        self.parts = []

    def text(self, x, y, content, size=12, fill=INK, anchor="start", weight=400):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
                          f'font-weight="{weight}">{escape(content)}</text>')

    def rect(self, x, y, width, height, fill, radius=0.0, opacity=1.0):
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height:.1f}" '
                          f'rx="{radius}" fill="{fill}" opacity="{opacity}"/>')

    def line(self, x, y1, y2, stroke, width=1.0, dash=""):
        self.parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y1:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
                          f'stroke-width="{width}"' + (f' stroke-dasharray="{dash}"' if dash else "") + "/>")

    def svg(self, height):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
                f'height="{height:.0f}" font-family="{escape(FONT)}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
                + "\n".join(self.parts) + "\n</svg>\n")


def draw_bars(drawing, left, top, values, names, bar, strong):
    """One program's bars, one below the other; values by allocator, None leaves a gap."""
    for i, name in enumerate(names):
        y = top + i * bar
        value = values.get(name)
        if value is None:
            drawing.text(left + 4, y + bar - 1, "failed", bar + 1, SLOW)
            continue
        length = min(value, LIMIT) / LIMIT * PANEL
        drawing.rect(left, y + 0.5, length, bar - 1, colour(name, names), 1.5, 1.0 if name == "weir" or strong else 0.85)
        if value > LIMIT:
            drawing.text(left + PANEL + 3, y + bar / 2 + 3.2, f"{value:.1f}", 9.5, INK, weight=600)
        elif strong:
            drawing.text(left + length + 4, y + bar - 3.5, f"{value:.2f}", 10.5, INK, weight=600)
        elif name == "weir":
            drawing.text(left + length + 3, y + bar / 2 + 3.2, f"{value:.2f}", 9, colour(name, names), weight=600)


def draw_axes(drawing, left, top, bottom, title, baseline):
    drawing.text(left, top - 30, title, 14, INK, weight=600)
    for step in range(5):
        ratio = step * LIMIT / 4
        x = left + ratio / LIMIT * PANEL
        drawing.line(x, top - 6, bottom, INK if ratio == 1 else GRID, 1.0 if ratio != 1 else 0.8)
        drawing.text(x, top - 11, f"{ratio:g}" if ratio != 1 else f"1 = {baseline}", 10, FAINT, "middle")


def draw_legend(drawing, names, versions, baseline):
    x = MARGIN
    for name in [*names, baseline]:
        version = re.split("[-+]", versions.get(name, ""))[0]
        label = f"{name} {version}" if version and "/" not in version else name
        if name == baseline:
            label += " = 1"
        drawing.rect(x, 66, 12, 12, colour(name, names), 2) if name != baseline else drawing.line(x + 6, 64, 80, INK, 1.5)
        drawing.text(x + 18, 76.5, label, 12, INK, weight=600 if name == "weir" else 400)
        x += 40 + 7.0 * len(label)


def facts(findings, summary):
    """One line with what was measured besides the programs."""
    parts = []
    pair = findings.get("micro", {}).get("median_ns", {}).get("pair/64", {})
    if pair:
        parts.append("malloc(64)+free: " + ", ".join(f"{n} {v:.1f} ns" for n, v in pair.items()))
    startup = findings.get("startup", {})
    if startup:
        added = (f"{n} +{t - startup['none_ms']:.2f} ms" for n, t in startup["median_ms"].items())
        parts.append("start-up: " + ", ".join(added))
    idle = findings.get("idle", {})
    if idle:
        parts.append("10 s after 270 MiB were freed: " + ", ".join(
            f"{n} {r['1']['rss_kib'][9] / 1024:.0f} MiB" for n, r in idle.items() if "1" in r))
    return parts


def write(path, summary, versions, findings):
    """Everything relative to the baseline, which is the line at 1 and has no bars."""
    names = [n for n in summary.names if n != summary.baseline]
    drawing = Drawing()
    programs = list(summary.results)
    rounds = max((len(s.samples) for by in summary.results.values() for s in by.values()), default=0)
    drawing.text(MARGIN, 38, f"Allocators compared to {summary.baseline}", 20, INK, weight=700)
    drawing.text(WIDTH - MARGIN, 38, f"{len(programs)} programs, median of {rounds} interleaved runs, shorter is better",
                 12, FAINT, "end")
    draw_legend(drawing, names, versions, summary.baseline)
    panels = [(MARGIN + LABELS, "Time", summary.time), (MARGIN + LABELS + PANEL + GAP, "Peak memory", summary.memory)]
    big, group = 15, len(names) * BAR + GROUP_GAP
    bottom = HEAD + 10 + len(names) * big + 18 + len(programs) * group
    drawing.rect(MARGIN - 10, HEAD + 2, WIDTH - 2 * MARGIN + 20, len(names) * big + 16, "#f3f6f8", 6)
    for left, title, _ in panels:
        draw_axes(drawing, left, HEAD, bottom, title, summary.baseline)
    top = HEAD + 10
    drawing.text(MARGIN + LABELS - 12, top + len(names) * big / 2 + 4, "geometric mean", 12.5, INK, "end", 700)
    for left, _, ratios in panels:
        draw_bars(drawing, left, top, {n: summary.mean(ratios, n) for n in names}, names, big, True)
    top += len(names) * big + 18
    for program in programs:
        drawing.text(MARGIN + LABELS - 12, top + len(names) * BAR / 2 + 4, program, 12, INK, "end")
        for left, _, ratios in panels:
            draw_bars(drawing, left, top, {n: ratios[n].get(program) for n in names}, names, BAR, False)
        top += group
    for line in facts(findings, summary):
        drawing.text(MARGIN, top + 22, line, 11.5, FAINT)
        top += 18
    with open(path, "w") as out:
        out.write(drawing.svg(top + 34))

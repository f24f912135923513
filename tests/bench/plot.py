# SPDX-License-Identifier: Apache-2.0
"""The main figures as bars, in an SVG that is readable on a light and on a dark page."""

from html import escape

from scenarios import FIGURES, STREAMS

# (figure, title, subjects in their order)
PROGRAMS = ("openvmnet-exec", "kernel", "pasta", "slirp4netns")
LARGE = ("openvmnet-exec", "openvmnet-exec-65520", "kernel", "pasta-65520", "slirp4netns-65520")
MACHINES = ("qemu-openvmnet", "qemu-tap", "qemu-passt", "qemu-passt-65520", "qemu-user")
PANELS = [
    ("tcp-up", "TCP up, MTU 1500", PROGRAMS),
    ("tcp-down", "TCP down, MTU 1500", PROGRAMS),
    ("tcp-up", "TCP up, peers at MTU 65520", LARGE),
    ("tcp-down", "TCP down, peers at MTU 65520", LARGE),
    (f"tcp-up-{STREAMS}", f"TCP up, {STREAMS} streams, MTU 1500", PROGRAMS),
    (f"tcp-down-{STREAMS}", f"TCP down, {STREAMS} streams, MTU 1500", PROGRAMS),
    ("udp-up", "UDP up, 1400 bytes", PROGRAMS),
    ("udp-down", "UDP down, 1400 bytes", PROGRAMS),
    ("udp-gso-up", "UDP up, 1400 bytes, GSO", PROGRAMS),
    ("udp-gso-down", "UDP down, 1400 bytes, GSO", PROGRAMS),
    ("connect", "Connections a second", PROGRAMS),
    ("rr p50", "Request and response, median", PROGRAMS),
    ("start", "From the command to a network", PROGRAMS),
    ("memory a flow", "Memory of an idle flow", PROGRAMS),
    ("tcp-up", "Virtual machine, TCP up", MACHINES),
    ("tcp-down", "Virtual machine, TCP down", MACHINES),
    ("vm", "From machine to machine", MACHINES),
    ("rr p50", "Virtual machine, request and response", MACHINES),
]

WIDTH, MARGIN, GAP = 980, 24, 32
HEAD, TITLE, BAR, STEP, PANEL_GAP = 104, 26, 16, 22, 22
LABEL, VALUE = 164, 78  # room left and right of the bars
COLUMN = (WIDTH - 2 * MARGIN - GAP) / 2

STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px; fill: #3d444d; }
.page { fill: #ffffff; }
.head { font-size: 20px; font-weight: 600; fill: #1f2328; }
.title { font-size: 13px; font-weight: 600; fill: #1f2328; }
.unit { font-weight: 400; fill: #6e7781; }
.own { font-weight: 600; fill: #1f2328; }
.peer { fill: #b6bec8; }
.limit { fill: #7d8793; }
.ours { fill: #1f6feb; }
.axis { stroke: #d1d9e0; stroke-width: 1; }
.spread { stroke: #1f2328; stroke-width: 1; opacity: 0.55; }
@media (prefers-color-scheme: dark) {
  text { fill: #b7bec8; }
  .page { fill: #0d1117; }
  .head, .title, .own { fill: #f0f6fc; }
  .unit { fill: #9198a1; }
  .peer { fill: #4c5560; }
  .limit { fill: #8b949e; }
  .ours { fill: #4493f8; }
  .axis { stroke: #3d444d; }
  .spread { stroke: #f0f6fc; }
}
"""


def shown(value, figure):
    digits = FIGURES[figure][2]
    if value >= 100:
        digits = 0
    elif value >= 10:
        digits = min(digits, 1)
    return f"{value:,.{digits}f}"


def kind(subject):
    if "openvmnet" in subject:
        return "ours"
    return "limit" if subject.startswith("kernel") or subject == "qemu-tap" else "peer"


def bar(subject, entry, figure, left, top, scale):
    """One subject's: name, bar, the least and the most of the rounds, median."""
    x, middle = left + LABEL, top + BAR / 2
    own = " own" if kind(subject) == "ours" else ""
    parts = [
        f'<text class="name{own}" x="{x - 8:.1f}" y="{middle + 4:.1f}" text-anchor="end">'
        f"{escape(subject)}</text>"
    ]
    width = max(entry["median"] * scale, 1)
    parts.append(
        f'<rect class="{kind(subject)}" x="{x:.1f}" y="{top:.1f}" width="{width:.1f}"'
        f' height="{BAR}" rx="2"/>'
    )
    end = x + width
    if entry["count"] > 1:
        least, most = x + entry["min"] * scale, x + entry["max"] * scale
        parts.append(
            f'<path class="spread" d="M{least:.1f} {middle:.1f}H{most:.1f}'
            f'M{least:.1f} {middle - 3:.1f}v6M{most:.1f} {middle - 3:.1f}v6" fill="none"/>'
        )
        end = max(end, most)
    parts.append(
        f'<text class="{own.strip()}" x="{end + 6:.1f}" y="{middle + 4:.1f}">'
        f"{shown(entry['median'], figure)}</text>"
    )
    return parts


def panel(figure, title, members, entries, left, top):
    unit, more_is_better, _ = FIGURES[figure]
    better = "more is better" if more_is_better else "less is better"
    parts = [
        f'<text class="title" x="{left:.1f}" y="{top + 13:.1f}">{escape(title)}'
        f'<tspan class="unit" dx="8">{escape(unit)}, {better}</tspan></text>'
    ]
    most = max(entry["max"] for entry in entries.values())
    scale = (COLUMN - LABEL - VALUE) / most
    bars_top = top + TITLE
    for number, subject in enumerate(members):
        parts += bar(subject, entries[subject], figure, left, bars_top + number * STEP, scale)
    x, bottom = left + LABEL, bars_top + len(members) * STEP - (STEP - BAR)
    parts.append(f'<path class="axis" d="M{x:.1f} {bars_top - 3:.1f}V{bottom + 3:.1f}"/>')
    return parts


def panels(results):
    """Those of which something was measured: [(figure, title, subjects, entries)]."""
    chosen = []
    for figure, title, subjects in PANELS:
        entries = results["summary"].get(figure, {})
        members = [subject for subject in subjects if subject in entries]
        if len(members) > 1:
            chosen.append((figure, title, members, {name: entries[name] for name in members}))
    return chosen


def legend():
    parts, x = [], MARGIN
    for name, text, width in (
        ("ours", "openvmnet", 96),
        ("limit", "the kernel's own way, as root", 210),
        ("peer", "others, without rights", 150),
    ):
        parts.append(f'<rect class="{name}" x="{x}" y="69" width="11" height="11" rx="2"/>')
        parts.append(f'<text x="{x + 17}" y="79">{text}</text>')
        x += width
    return parts


def plot(results):
    """@results with their "summary". Returns the SVG's text."""
    parts, top = [], HEAD
    chosen = panels(results)
    for pair in (chosen[at : at + 2] for at in range(0, len(chosen), 2)):
        for column, (figure, title, members, entries) in enumerate(pair):
            left = MARGIN + column * (COLUMN + GAP)
            parts += panel(figure, title, members, entries, left, top)
        top += TITLE + max(len(members) for _, _, members, _ in pair) * STEP + PANEL_GAP
    head = results["head"]
    rounds = f"medians of {results['rounds']} rounds; the lines are the least and the most"
    rounds = rounds if results["rounds"] > 1 else "one round"
    machine = f"{head['machine']}, {head['processors']} processors, Linux {head['kernel']}"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top:.0f}"'
        f' viewBox="0 0 {WIDTH} {top:.0f}">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{top:.0f}"/>',
        f'<text class="head" x="{MARGIN}" y="36">openvmnet beside what one would take instead</text>',
        *legend(),
        f'<text class="unit" x="{MARGIN}" y="56">{escape(machine)}, {head["date"]}; {rounds}</text>',
        *parts,
        "</svg>\n",
    ])

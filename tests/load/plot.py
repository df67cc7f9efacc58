"""Draws plots as SVG, with the standard library alone."""

import math
from xml.sax.saxutils import escape

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#999999", "#7f3c8d", "#11a579", "#3969ac")
WIDTH = 760
STYLE = "<style>text{font:13px sans-serif;fill:#222}.title{font-weight:bold}.axis{stroke:#bbb}</style>"


def document(height, parts):
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">\n'
        f'{STYLE}\n<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def text(x, y, content, anchor="start", kind=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(str(content))}</text>'


def write_lines(path, title, columns, series):
    """One line per series, with a value per column. The vertical axis is logarithmic."""
    left, right, top, bottom = 70, 30, 40, 340
    values = [value for line in series.values() for value in line]
    low, high = (round_(math.log10(value)) for round_, value in ((math.floor, min(values)), (math.ceil, max(values))))
    high = max(high, low + 1)

    def x(column):
        return left + column * (WIDTH - left - right) / max(1, len(columns) - 1)

    def y(value):
        return bottom - (math.log10(value) - low) / (high - low) * (bottom - top)

    parts = [text(10, 20, title, kind="title")]
    for power in range(low, high + 1):
        parts.append(f'<line class="axis" x1="{left}" x2="{WIDTH - right}" y1="{y(10**power):.1f}" y2="{y(10**power):.1f}"/>')
        parts.append(text(left - 8, y(10**power) + 4, f"{10**power:g}", "end"))
    for number, column in enumerate(columns):
        parts.append(text(x(number), bottom + 20, column, "middle"))
    for number, (label, line) in enumerate(series.items()):
        color = COLORS[number % len(COLORS)]
        points = " ".join(f"{x(column):.1f},{y(value):.1f}" for column, value in enumerate(line))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<rect x="{left}" y="{bottom + 36 + 20 * number}" width="14" height="14" fill="{color}"/>')
        parts.append(text(left + 22, bottom + 48 + 20 * number, label))
    path.write_text(document(bottom + 50 + 20 * len(series), parts))


def write_bars(path, title, bars):
    """One horizontal bar per label, from zero."""
    left, right, top = 330, 80, 40
    longest = max(bars.values()) or 1
    parts = [text(10, 20, title, kind="title")]
    for number, (label, value) in enumerate(bars.items()):
        y = top + 28 * number
        length = value / longest * (WIDTH - left - right)
        parts.append(text(left - 8, y + 15, label, "end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{max(length, 1):.1f}" height="20" fill="{COLORS[number % len(COLORS)]}"/>')
        parts.append(text(left + length + 6, y + 15, f"{value:,.1f}"))
    path.write_text(document(top + 28 * len(bars) + 10, parts))

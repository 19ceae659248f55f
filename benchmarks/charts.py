"""Bar charts as SVG, to stand within a page: they take its colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.figures import number

WIDTH = 720
LABEL = 220
ROW = 26
COLOURS = {"ours": "#2f7d4f", "bare": "#9aa3a0", "peer": "#5b7fb4"}


@dataclass(frozen=True)
class Bar:
    """One row of a chart."""

    label: str
    value: float
    kind: str
    """ours, bare or peer."""
    beside: float | None = None
    """A second value, shown as a stroke: the 99th percentile beside the median."""


def chart(title: str, unit: str, bars: Sequence[Bar], *, logarithmic: bool = False) -> str:
    """Horizontal bars with their values, the first at the top."""
    top = max(max(bar.value, bar.beside or 0) for bar in bars)
    low = min(bar.value for bar in bars)
    room = WIDTH - LABEL - 110

    def length(value: float) -> float:
        if not logarithmic:
            return room * value / top
        # The shortest bar is a tenth of the longest.
        span = math.log(top / low) or 1
        return room * (0.1 + 0.9 * math.log(value / low) / span)

    height = 34 + ROW * len(bars)
    lines = [
        f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" role="img" aria-label="{escape(title)}"',
        ' xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="13" fill="currentColor">',
        f'<text x="0" y="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="{WIDTH}" y="16" text-anchor="end" opacity="0.7">{escape(unit)}</text>',
    ]
    for index, bar in enumerate(bars):
        y = 28 + ROW * index
        wide = max(1.0, length(bar.value))
        end = max(wide, length(bar.beside) if bar.beside else 0)
        shown = number(bar.value) + (f" / {number(bar.beside)}" if bar.beside is not None else "")
        lines.append(f'<text x="{LABEL - 8}" y="{y + 14}" text-anchor="end">{escape(bar.label)}</text>')
        lines.append(
            f'<rect x="{LABEL}" y="{y}" width="{wide:.1f}" height="{ROW - 7}" rx="2" fill="{COLOURS[bar.kind]}"/>'
        )
        if bar.beside is not None:
            x = LABEL + length(bar.beside)
            lines.append(f'<path d="M{LABEL + wide:.1f} {y + 9.5}H{x:.1f}M{x:.1f} {y + 3}v13" stroke="currentColor"/>')
        lines.append(f'<text x="{LABEL + end + 6:.1f}" y="{y + 14}">{shown}</text>')
    return "\n".join([*lines, "</svg>"])

"""Two kinds of plots as SVG text: horizontal bars with whiskers, and lines over sizes.

    bar_chart("Title", "MiB/s", [BarGroup("put", [Bar("whole", 300, 280, 310)])])
    line_chart("Title", "MiB/s", {"put": [(4096, 20.0), (1 << 20, 300.0)]})

Nothing is read and nothing but the standard library is needed; the text goes into a file as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from results import size_text

Point = tuple[int, float]  # size in bytes, value

WIDTH, MARGIN = 760, 20
TITLE_HEIGHT, AXIS_HEIGHT = 44, 40
ROW_HEIGHT, BAR_HEIGHT, HEADING_HEIGHT = 24, 14, 30
LABELS_WIDTH, VALUES_WIDTH, SERIES_WIDTH = 270, 70, 130
PLOT_HEIGHT = 300
SERIES_APART = 16  # least distance of two names beside their lines
TICKS_MAX = 6
COLORS = ("#2f6fab", "#d1782b", "#3b8f5a", "#8a5aa8", "#b8434e", "#5f6b76")
BAR_COLORS = ("#2f6fab", "#93a1ae", "#3b8f5a")
WHISKER, GRID, TEXT, FAINT = "#1d2a36", "#e3e7eb", "#1d2a36", "#5f6b76"
STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;"
    f"font-size:12px;fill:{TEXT}}}"
    f".title{{font-size:15px;font-weight:600}}.heading{{font-weight:600}}.faint{{fill:{FAINT}}}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """`value` with its whisker."""

    name: str
    value: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class BarGroup:
    """Bars under one heading, in one colour."""

    name: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high`, drawn from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where it is drawn; beyond the end never."""
        share = (min(value, self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def bar_chart(
    title: str, unit: str, groups: Sequence[BarGroup], *, axis_max: float | None = None
) -> str:
    """Up to three groups, one below the other. A bar that is longer than `axis_max` is shown
    broken."""
    longest = max(bar.most for group in groups for bar in group.bars)
    step = _step(min(longest, axis_max or longest))
    high = math.ceil(min(longest, axis_max or longest) / step) * step
    axis = Axis(0, high, MARGIN + LABELS_WIDTH, WIDTH - MARGIN - VALUES_WIDTH)
    rows: list[str] = []
    y = float(TITLE_HEIGHT)
    for group, color in zip(groups, BAR_COLORS, strict=False):
        rows.append(_text(MARGIN, y + 19, group.name, "heading"))
        y += HEADING_HEIGHT
        for bar in group.bars:
            rows += _bar(bar, axis, y, color)
            y += ROW_HEIGHT
    grid = []
    for value in _ticks(high, step):
        grid.append(_line(axis.at(value), TITLE_HEIGHT, axis.at(value), y + 4, GRID))
        grid.append(_text(axis.at(value), y + 19, _number(value), "faint", "middle"))
    grid.append(_text(WIDTH - MARGIN, y + 19, unit, "faint", "end"))
    return _document(title, y + AXIS_HEIGHT, grid + rows)


def line_chart(title: str, unit: str, series: Mapping[str, Sequence[Point]]) -> str:
    """One line for each series, over the sizes (logarithmic), from zero."""
    sizes = sorted({size for points in series.values() for size, _ in points})
    highest = max(value for points in series.values() for _, value in points)
    step = _step(highest)
    low, high = math.log2(sizes[0]), max(math.log2(sizes[-1]), math.log2(sizes[0]) + 1)
    right = WIDTH - MARGIN - SERIES_WIDTH
    x = Axis(low, high, MARGIN + 50, right)
    top = TITLE_HEIGHT + 24
    y = Axis(0, math.ceil(highest / step) * step, top + PLOT_HEIGHT, top)
    parts = [_text(MARGIN, TITLE_HEIGHT + 8, unit, "faint")]
    for value in _ticks(y.high, step):
        parts.append(_line(x.start, y.at(value), right, y.at(value), GRID))
        parts.append(_text(x.start - 8, y.at(value) + 4, _number(value), "faint", "end"))
    for size in sizes:
        at = x.at(math.log2(size))
        parts.append(_line(at, y.start, at, y.start + 5, FAINT))
        parts.append(_text(at, y.start + 20, size_text(size), "faint", "middle"))
    for (_, points), color in zip(series.items(), _colors(len(series)), strict=True):
        places = [(x.at(math.log2(size)), y.at(value)) for size, value in sorted(points)]
        parts += _curve(places, color)
    parts += _series_names(series, y, right)
    return _document(title, y.start + AXIS_HEIGHT, parts)


def _bar(bar: Bar, axis: Axis, y: float, color: str) -> list[str]:
    top, middle = y + (ROW_HEIGHT - BAR_HEIGHT) / 2, y + ROW_HEIGHT / 2
    end = axis.at(bar.value)
    parts = [
        _text(axis.start - 10, middle + 4, bar.name, "", "end"),
        f'<rect x="{axis.start:.1f}" y="{top:.1f}" width="{max(end - axis.start, 1):.1f}" '
        f'height="{BAR_HEIGHT}" rx="2" fill="{color}"/>',
        _text(WIDTH - MARGIN, middle + 4, _number(bar.value), "", "end"),
    ]
    if bar.value > axis.high:
        for left in (end - 24, end - 18):
            parts.append(_line(left, top + BAR_HEIGHT + 2, left + 6, top - 2, "#fff", 2.5))
    elif bar.most > bar.least:
        first, last = axis.at(bar.least), axis.at(bar.most)
        parts.append(_line(first, middle, last, middle, WHISKER, 1.2))
        parts += [_line(at, middle - 4, at, middle + 4, WHISKER, 1.2) for at in (first, last)]
    return parts


def _curve(places: Sequence[tuple[float, float]], color: str) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places]
    line = f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>'
    return [line, *dots]


def _series_names(series: Mapping[str, Sequence[Point]], y: Axis, right: float) -> list[str]:
    """Beside the lines' ends, moved apart where those are close."""
    ends = [
        (y.at(max(points)[1]), name, color)
        for (name, points), color in zip(series.items(), _colors(len(series)), strict=True)
    ]
    parts, below = [], y.start + SERIES_APART
    for at, name, color in sorted(ends, reverse=True):
        below = min(at, below - SERIES_APART)
        parts.append(
            f'<text x="{right + 12:.1f}" y="{below + 4:.1f}" style="fill:{color};font-weight:600">'
            f"{escape(name)}</text>"
        )
    return parts


def _colors(count: int) -> list[str]:
    return [COLORS[number % len(COLORS)] for number in range(count)]


def _step(highest: float) -> float:
    """1, 2 or 5 times a power of ten, so that there are few ticks."""
    power = 10.0 ** math.floor(math.log10(highest / TICKS_MAX)) if highest > 0 else 1.0
    return next(power * f for f in (1, 2, 5, 10) if power * f * TICKS_MAX >= highest)


def _ticks(high: float, step: float) -> list[float]:
    return [number * step for number in range(round(high / step) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{color}" stroke-width="{width}"/>'
    )


def _document(title: str, height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img" aria-label={quoteattr(title)}>'
    )
    start = [
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>',
    ]
    named = _text(MARGIN, 28, title, "title")
    return "\n".join([head, *start, named, *parts, "</svg>"]) + "\n"

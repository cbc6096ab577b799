"""The figures as pictures: plain SVG, dark on white, so that it can be read on pages of any colour. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
TEXT, FAINT, GRID = "#24303c", "#5b6875", "#e2e8f0"
COLOURS = {"ours": "#3b6fb6", "raw": "#5b6875", "FastStream": "#c2853b"}
TIMES = "\u00d7"
_WIDTH = 860


class Bar(NamedTuple):
    """One bar: of which group, of whom, how long."""

    group: str
    who: str
    value: float


class Curve(NamedTuple):
    """One contender's line through a panel."""

    who: str
    points: Sequence[tuple[float, float]]


class Panel(NamedTuple):
    """One small chart: what grows, and the lines."""

    title: str
    curves: Sequence[Curve]


def ratios(bars: Sequence[Bar], title: str) -> str:
    """Bars to the right of the raw loop's line are faster than it, to the left of it slower; each step is a factor."""
    left, right, top = 290, _WIDTH - 60, 96
    values = [bar.value for bar in bars]
    lowest, highest = min([*values, 0.5]) / 1.7, max([*values, 2.0]) * 1.3

    def x(value: float) -> float:
        return left + math.log(value / lowest) / math.log(highest / lowest) * (right - left)

    rows, bottom = _rows(bars, top)
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if lowest <= tick <= highest]
    parts = [_tick(x(tick), top - 8, bottom, f"{tick:g}{TIMES}" if tick != 1 else "raw = 1") for tick in ticks]
    parts += [_line(x(1), top - 8, x(1), bottom, TEXT)]
    parts += [_group(group, left - 14, y) for group, y in _groups(rows)]
    parts += [_diverging(bar, y, x) for bar, y in rows]
    parts += _legend(_contenders(bars), left, 62)
    return _picture(title, "Events a second as a multiple of the raw loop's, on a scale of factors", parts, bottom + 40)


def _diverging(bar: Bar, y: float, x: Callable[[float], float]) -> str:
    begin, end = sorted((x(1), x(bar.value)))
    label = f"{bar.value:.2f}{TIMES}"
    at, anchor = (end + 5, "start") if bar.value >= 1 else (begin - 5, "end")
    return _rect(begin, y, end - begin, bar.who) + _text(at, y + 10, label, size=11, anchor=anchor)


def lengths(bars: Sequence[Bar], title: str, unit: str) -> str:
    """Bars from nothing on; shorter is better."""
    left, right, top = 170, _WIDTH - 130, 84
    most = max(bar.value for bar in bars)
    steps = _steps(most)

    def x(value: float) -> float:
        return left + value / max(most, steps[-1]) * (right - left)

    rows, bottom = _rows(bars, top)
    parts = [_tick(x(step), top - 8, bottom, f"{step:g} {unit}") for step in steps]
    parts += [_group(group, left - 14, y) for group, y in _groups(rows)]
    for bar, y in rows:
        parts.append(_rect(left, y, x(bar.value) - left, bar.who))
        parts.append(_text(x(bar.value) + 5, y + 10, f"{bar.who} {bar.value:.2f}", size=11))
    return _picture(title, "Shorter is better", parts, bottom + 40)


def panels(shown: Sequence[Panel], title: str) -> str:
    """Small charts of events a second, two beside each other; a level line is a cost in proportion."""
    width, height = _WIDTH // 2, 220
    parts = [
        f'<g transform="translate({at % 2 * width} {64 + at // 2 * height})">{_panel(panel, width, height)}</g>'
        for at, panel in enumerate(shown)
    ]
    rows = -(-len(shown) // 2)
    return _picture(
        title, "Thousands of events a second; a level line is a cost in proportion", parts, 76 + rows * height
    )


def _panel(panel: Panel, width: int, height: int) -> str:
    left, right, top, bottom = 48, width - 84, 34, height - 40
    counts = [count for count, _ in panel.curves[0].points]
    steps = _steps(max(rate for curve in panel.curves for _, rate in curve.points) / 1000)
    places = {count: left + 20 + at * (right - left - 40) / max(len(counts) - 1, 1) for at, count in enumerate(counts)}

    def y(rate: float) -> float:
        return bottom - rate / 1000 / steps[-1] * (bottom - top)

    parts = [_text(left, 16, panel.title, weight=600)]
    for step in steps:
        parts.append(_line(left, y(step * 1000), right, y(step * 1000), GRID))
        parts.append(_text(left - 6, y(step * 1000) + 4, f"{step:g}", size=11, anchor="end", colour=FAINT))
    parts += [
        _text(place, bottom + 18, f"{count:,.0f}", size=11, anchor="middle", colour=FAINT)
        for count, place in places.items()
    ]
    ends = _apart([y(curve.points[-1][1]) for curve in panel.curves], 15)
    for curve, end in zip(panel.curves, ends, strict=True):
        points = [(places[count], y(rate)) for count, rate in curve.points]
        parts.append(_curve(points, COLOURS[curve.who]))
        label = f"{curve.who} {curve.points[-1][1] / 1000:.0f}k"
        parts.append(_text(points[-1][0] + 10, end + 4, label, size=12, weight=600, colour=COLOURS[curve.who]))
    return "".join(parts)


def _curve(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """The heights, moved so far apart that labels there do not touch."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for above, below in pairwise(order):
        if (short := least - (moved[below] - moved[above])) > 0:
            moved[above] -= short / 2
            moved[below] += short / 2
    return moved


def _steps(most: float) -> list[float]:
    """Round values from nothing to a little more than the most: four to six of them."""
    size = 10 ** math.floor(math.log10(most / 4)) if most > 0 else 1.0
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if most / (size * factor) <= 5)
    return [round(step * number, 6) for number in range(math.ceil(most / step) + 1)]


def _rows(bars: Sequence[Bar], top: float) -> tuple[list[tuple[Bar, float]], float]:
    """The bars with their heights, those of a group together, and where they end."""
    rows: list[tuple[Bar, float]] = []
    y = top
    for at, bar in enumerate(bars):
        if at and bar.group != bars[at - 1].group:
            y += 10
        rows.append((bar, y))
        y += 15
    return rows, y + 4


def _groups(rows: Iterable[tuple[Bar, float]]) -> Iterable[tuple[str, float]]:
    """Each group's name, and its middle."""
    heights: dict[str, list[float]] = {}
    for bar, y in rows:
        heights.setdefault(bar.group, []).append(y)
    return [(group, sum(ys) / len(ys) + 6) for group, ys in heights.items()]


def _contenders(bars: Iterable[Bar]) -> list[str]:
    return list(dict.fromkeys(bar.who for bar in bars))


def _legend(names: Sequence[str], x: float, y: float) -> list[str]:
    """Who has which colour."""
    places = [(x + at * 110, name) for at, name in enumerate(names)]
    return [_rect(place, y - 10, 12, name) + _text(place + 18, y, name) for place, name in places]


def _group(name: str, x: float, y: float) -> str:
    return _text(x, y + 4, name, anchor="end")


def _tick(x: float, top: float, bottom: float, label: str) -> str:
    return _line(x, top, x, bottom, GRID) + _text(x, bottom + 16, label, size=11, anchor="middle", colour=FAINT)


def _rect(x: float, y: float, width: float, who: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="12" fill="{COLOURS[who]}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(
    x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", weight: int = 400, colour: str = TEXT
) -> str:
    look = f'font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {look}>{escape(text)}</text>'


def _picture(title: str, below: str, parts: Iterable[str], height: float) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" role="img" aria-labelledby="title" font-family="{FONT}">\n'
        f'<title id="title">{escape(title)}</title>\n<rect width="{_WIDTH}" height="{height:.0f}" fill="#ffffff"/>\n'
        f"{_text(20, 26, title, size=16, weight=600)}\n{_text(20, 44, below, size=12, colour=FAINT)}\n{body}\n</svg>\n"
    )

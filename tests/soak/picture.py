"""The samples as a picture: one small chart for each measure, from nothing up to its highest. Plain SVG."""

from __future__ import annotations

from collections.abc import Sequence

from tests.soak.verdict import MIB, Sample, Trend

_WIDTH, _HEIGHT, _COLUMNS = 300, 150, 3
_LEFT, _TOP, _PLOT_WIDTH, _PLOT_HEIGHT = 16, 46, 264, 76
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
_TEXT, _FAINT, _FLAT, _GROWS = "#24303c", "#5b6875", "#3b6fb6", "#c0392b"


def draw(samples: Sequence[Sample], trends: Sequence[Trend]) -> str:
    """The picture of a soak."""
    rows = -(-len(trends) // _COLUMNS)
    width, height = _COLUMNS * _WIDTH + 20, rows * _HEIGHT + 40
    minutes = samples[-1]["at"] / 60
    title = f"A soak of {minutes:.0f} minutes: {samples[-1]['handled']:,.0f} events"
    described = "; ".join(
        f"{trend.measure} {_figure(trend, trend.first)} to {_figure(trend, trend.last)}" for trend in trends
    )
    charts = "\n".join(
        f'<g transform="translate({10 + index % _COLUMNS * _WIDTH} {34 + index // _COLUMNS * _HEIGHT})">'
        f"{_chart(samples, trend)}</g>"
        for index, trend in enumerate(trends)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-labelledby="title description" font-family="{_FONT}" font-size="13" fill="{_TEXT}">\n'
        f'<title id="title">{title}</title>\n<desc id="description">{described}</desc>\n'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="26" y="26" font-size="16" font-weight="600">{title}</text>\n{charts}\n</svg>\n'
    )


def _chart(samples: Sequence[Sample], trend: Trend) -> str:
    highest = max(sample[trend.measure] for sample in samples) or 1
    longest = samples[-1]["at"] or 1
    points = " ".join(
        f"{_LEFT + sample['at'] / longest * _PLOT_WIDTH:.1f},"
        f"{_TOP + _PLOT_HEIGHT - sample[trend.measure] / highest * _PLOT_HEIGHT:.1f}"
        for sample in samples
    )
    colour = _FLAT if trend.is_flat else _GROWS
    bottom = _TOP + _PLOT_HEIGHT
    return (
        f'<text x="{_LEFT}" y="18" font-weight="600">{trend.measure}</text>'
        f'<text x="{_LEFT}" y="36" font-size="12" fill="{_FAINT}">'
        f"{_figure(trend, trend.first)} at first, {_figure(trend, trend.last)} at last</text>"
        f'<line x1="{_LEFT}" y1="{bottom}" x2="{_LEFT + _PLOT_WIDTH}" y2="{bottom}" stroke="{_FAINT}" '
        'stroke-width="0.5"/>'
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
    )


def _figure(trend: Trend, value: float) -> str:
    return f"{value / MIB:.1f} MiB" if trend.measure.startswith("memory") else f"{value:,.0f}"

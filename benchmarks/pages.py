"""Writes docs/performance.md's tables, between two comments, and its pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import plots
from .contenders import NAMES
from .report import SHOWN, report, variants
from .results import Results
from .runner import Case
from .scenarios.growth import AXES

BEGIN = "<!-- The figures: written by python -m benchmarks --docs. -->\n"
END = "<!-- The end of the figures. -->\n"


def write(page: Path, results: Results, machine: str) -> None:
    """Put the tables into the page, and the pictures beside it. Raises `ValueError` where the comments are missing."""
    text = page.read_text(encoding="utf-8")
    page.write_text(filled(text, f"{machine}.\n\n{report(results)}"), encoding="utf-8")
    folder = page.with_suffix("")
    folder.mkdir(exist_ok=True)
    for name, draw in PICTURES.items():
        if (picture := draw(results)) is not None:
            (folder / f"{name}.svg").write_text(picture, encoding="utf-8")


def filled(text: str, figures: str) -> str:
    """The page with these figures between the comments. Raises `ValueError` where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}\n{figures}\n{end}{after}"


def ratios(results: Results) -> str | None:
    """How all that gives events a second compares with the raw loop."""
    bars = [
        plots.Bar(f"{scenario}: {variant}", SHOWN[who], ratio)
        for scenario, variant in variants(results)
        for who in NAMES[1:]
        if (ratio := results.ratio(Case(scenario, variant, who), "rate")) is not None
    ]
    return plots.ratios(bars, "How fast, beside a loop written by hand") if bars else None


def latency(results: Results) -> str | None:
    """From publish to handler."""
    bars = [
        plots.Bar(name, SHOWN[who], spread.median)
        for figure, name in {"p50_ms": "median", "p99_ms": "99 of 100 are faster"}.items()
        for who in NAMES
        if (spread := results.spread(Case("latency", "200 a second", who), figure)) is not None
    ]
    return plots.lengths(bars, "From publish to handler, at 200 events a second", "ms") if bars else None


def growth(results: Results) -> str | None:
    """Four charts, one for each thing that there is more of."""
    shown = [plots.Panel(axis, curves) for axis in AXES if (curves := _curves(results, axis))]
    return plots.panels(shown, "The cost of an event, when there is more of everything") if shown else None


def _curves(results: Results, axis: str) -> list[plots.Curve]:
    curves = []
    for who in ("raw", "ours"):
        spreads = {n: results.spread(Case("growth", f"{n} {axis}", who), "steady_rate") for n in AXES[axis]}
        if points := [(float(n), spread.median) for n, spread in spreads.items() if spread is not None]:
            curves.append(plots.Curve(SHOWN[who], points))
    return curves


PICTURES: dict[str, Callable[[Results], str | None]] = {"ratios": ratios, "latency": latency, "growth": growth}

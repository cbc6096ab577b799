"""The figures as tables in Markdown, which are laid out for terminals too. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from . import scenarios
from .contenders import NAMES
from .results import Results, Spread
from .runner import Case

SHOWN = {"raw": "raw", "ours": "ours", "faststream": "FastStream"}
RATES = ("consume", "publish", "io")
"""The scenarios that give events a second."""
OTHERS = {
    "latency": {"p50_ms": "latency, median, ms", "p99_ms": "latency, 99 of 100, ms"},
    "gaps": {
        "gap_ms": "longest gap of the event loop, {}, ms",
        "own_ms": "of it time of the processor, {}, ms",
        "start_gap_ms": "longest gap before the first event, {}, ms",
    },
    "idle": {
        "commands": "idle, 50 subscriptions: commands of the server, per second and subscription",
        "cpu_ms": "idle, 50 subscriptions: processor, ms/s",
    },
    "imports": {"import_ms": "import, ms", "first_ms": "connecting and first event after it, ms"},
    "memory": {"rss_mib": "memory after a backlog, MiB", "growth_kib": "growth of it, KiB for 10,000 events"},
    "recovery": {
        "seconds": "killed half way: all handled after, s",
        "lost": "killed half way: lost",
        "twice": "killed half way: handled twice",
    },
}
"""Figures of which less is better, by scenario; a variant's name where there are several."""
NOTHING = "-"


def report(results: Results) -> str:
    """All tables for which there are figures."""
    parts = [
        ("Events a second", rates(results)),
        ("Less is better", others(results)),
        ("Growth: events a second once it runs, and ms to the first event", growth(results)),
        ("Events a second with uvloop", with_uvloop(results)),
        ("Problems", problems(results)),
    ]
    return "\n".join(f"**{title}**\n\n{body}" for title, body in parts if body)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns line up; nothing when it has no rows."""
    body = [list(row) for row in rows]
    if not body:
        return ""
    every = [list(header), *body]
    widths = [max(len(row[column]) for row in every) for column in range(len(header))]
    lines = [_line(row, widths) for row in every]
    rule = "|" + "|".join("-" * (width + 2) if not at else "-" * (width + 1) + ":" for at, width in enumerate(widths))
    return "\n".join([lines[0], f"{rule}|", *lines[1:]]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return (
        "| "
        + " | ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])
        + " |"
    )


def rates(results: Results) -> str:
    """Events a second, ratios to raw, and the price of an event."""
    header = ["", *(SHOWN[who] for who in NAMES), "ours : raw", "FastStream : raw", "CPU, µs an event"]
    return table(header, (_rate_row(results, *which) for which in variants(results)))


def _rate_row(results: Results, scenario: str, variant: str) -> list[str]:
    cases = [Case(scenario, variant, who) for who in NAMES]
    row = [f"{scenario}: {variant}", *(spread(results.spread(case, "rate")) for case in cases)]
    row += [_times(results.ratio(case, "rate")) for case in cases[1:]]
    prices = [results.spread(case, "cpu_us") for case in cases]
    return [*row, " / ".join(NOTHING if price is None else number(price.median) for price in prices)]


def with_uvloop(results: Results) -> str:
    """The same with uvloop, and what it makes of each."""
    header = ["", "raw", "ours", "ours : raw", "raw, uvloop : asyncio", "ours, uvloop : asyncio"]
    return table(header, (_uvloop_row(results, *which) for which in variants(results, uvloop=True)))


def _uvloop_row(results: Results, scenario: str, variant: str) -> list[str]:
    cases = [Case(scenario, variant, who) for who in ("raw", "ours")]
    row = [f"{scenario}: {variant}", *(spread(results.spread(case, "rate", uvloop=True)) for case in cases)]
    return [
        *row,
        _times(results.ratio(cases[1], "rate", uvloop=True)),
        *(_times(results.gain(case, "rate")) for case in cases),
    ]


def variants(results: Results, *, uvloop: bool = False) -> list[tuple[str, str]]:
    """The scenarios and variants that give rates and were measured."""
    every = [(name, variant) for name in RATES for variant in scenarios.load(name).VARIANTS]
    return [
        (name, variant)
        for name, variant in every
        if any(results.spread(Case(name, variant, who), "rate", uvloop=uvloop) for who in NAMES)
    ]


def others(results: Results) -> str:
    """What is not a rate."""
    rows = []
    for scenario, figures in OTHERS.items():
        for variant in scenarios.load(scenario).VARIANTS:
            cases = [Case(scenario, variant, who) for who in NAMES]
            for figure, name in figures.items():
                cells = [spread(results.spread(case, figure)) for case in cases]
                if set(cells) != {NOTHING}:
                    rows.append([name.format(variant), *cells])
    return table(["", *(SHOWN[who] for who in NAMES)], rows)


def growth(results: Results) -> str:
    """Rates as there is more of something."""
    rows = []
    for variant, contenders in scenarios.load("growth").VARIANTS.items():
        cases = [Case("growth", variant, who) for who in contenders]
        figures = [results.spread(case, name) for name in ("steady_rate", "start_ms") for case in cases]
        if any(figures):
            count, _, axis = variant.partition(" ")
            rows.append([f"{int(count):,} {axis}", *map(spread, figures)])
    return table(["", "raw", "ours", "raw, start ms", "ours, start ms"], rows)


def problems(results: Results) -> str:
    """What went wrong."""
    rows = ([" ".join(_names(one.case)), one.problem.strip().splitlines()[-1]] for one in results.problems)
    return table(["", "what went wrong"], rows)


def _names(case: Case) -> tuple[str, str, str]:
    return case.scenario, case.variant, case.contender


def spread(figure: Spread | None) -> str:
    """A median with its extremes, where there are several rounds."""
    if figure is None:
        return NOTHING
    if figure.least == figure.most:
        return number(figure.median)
    return f"{number(figure.median)} [{number(figure.least)}-{number(figure.most)}]"


def number(value: float) -> str:
    """Three digits that say something."""
    if value == int(value) and abs(value) < 1000:
        return str(int(value))
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _times(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.2f}"

"""The table of budgets: kept in `budgets.json`, compared with what is measured, and shown in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from .measure import BUILD, PYTHON, ROOT, Figures
from .stages import NAMES

FILE = Path(__file__).with_name("budgets.json")
PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- The instructions of an event: written by python -m tests.budget --renew. -->\n"
END = "<!-- The end of the instructions. -->\n"

HEADROOM = 1.03
OTHER_BUILD = 1.10
"""Machine instructions: compilers and C libraries differ by so much."""
FAR_BELOW = 0.90
SLACK = 2
"""Instructions more or less that say nothing, in stages that have only a few."""
RENEW = "'python -m tests.budget --renew' writes what is measured into the table"
LOOP = {
    "tasks": "tasks started",
    "timers": "timers set",
    "futures": "futures made",
    "callbacks": "callbacks of the event loop",
    "suspensions": "suspensions of a task",
}
LIBRARIES = {
    "Python and C library": "machine instructions in Python",
    "hiredis": "machine instructions in hiredis",
    "msgspec": "machine instructions in msgspec",
}


class Budgets(msgspec.Struct):
    """What an event of each way costs, as it was when the table was renewed last. A budget is a little more."""

    python: str
    """The Python that bytecode instructions are of."""
    build: str
    """The build that machine instructions are of."""
    ways: dict[str, Figures]


def load() -> Budgets:
    """Return the table."""
    return msgspec.json.decode(FILE.read_bytes(), type=Budgets)


def renewed(measured: Mapping[str, Figures], machine: Mapping[str, dict[str, float]]) -> Budgets:
    """The table with these figures."""
    ways = {way: measured.get(way, Figures()) for way in machine}
    for way, figures in ways.items():
        figures.machine = machine[way]
    return Budgets(PYTHON, BUILD, ways)


def write(budgets: Budgets) -> None:
    """Write the table, and the one of docs/performance.md."""
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(budgets), indent=2) + b"\n")
    PAGE.write_text(filled(PAGE.read_text("utf-8"), shown(budgets)), "utf-8")


def too_much(what: str, measured: float, budget: float, headroom: float = HEADROOM) -> Iterator[str]:
    """Tell of a figure that is above its budget."""
    if measured > budget * headroom + SLACK:
        yield f"{what}: {measured:,g} is more than the budget of {budget:,g}, with {headroom - 1:.0%} of headroom"


def too_little(what: str, measured: float, budget: float) -> Iterator[str]:
    """Tell of a figure that is so far below its budget that what was gained could be lost again."""
    if measured < budget * FAR_BELOW - SLACK:
        yield f"{what}: {measured:,g} is far below the budget of {budget:,g}: lower it. {RENEW}"


def problems(measured: Mapping[str, Figures], budgets: Budgets) -> Iterator[str]:
    """Each stage whose bytecode instructions are off its budget."""
    for way, figures in measured.items():
        budget = budgets.ways[way].bytecodes
        for stage in NAMES:
            what, figure = f"{way}, {stage}", figures.bytecodes.get(stage, 0.0)
            yield from too_much(what, figure, budget.get(stage, 0.0))
            yield from too_little(what, figure, budget.get(stage, 0.0))


def problems_of_the_loop(measured: Mapping[str, Figures], budgets: Budgets) -> Iterator[str]:
    """Each way in which an event asks the event loop for more than it did."""
    for way, figures in measured.items():
        for name, shown_as in LOOP.items():
            if figures.loop.get(name, 0.0) > budgets.ways[way].loop.get(name, 0.0) + 0.005:
                yield f"{way}: {figures.loop[name]:g} {shown_as}, budget {budgets.ways[way].loop.get(name, 0.0):g}"


def problems_of_the_machine(measured: Mapping[str, Mapping[str, float]], budgets: Budgets) -> Iterator[str]:
    """Each way whose machine instructions are off their budget."""
    for way, libraries in measured.items():
        figure, budget = sum(libraries.values()), sum(budgets.ways[way].machine.values())
        yield from too_much(way, figure, budget, HEADROOM if budgets.build == BUILD else OTHER_BUILD)
        if budgets.build == BUILD:
            yield from too_little(way, figure, budget)


# -- the page ---------------------------------------------------------------------------------------------------


def filled(page: str, figures: str) -> str:
    """The page with these figures between the comments. Raises `ValueError` where they are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN.strip()} and {END.strip()}")
    return f"{before}{begin}\n{figures}\n{end}{after}"


def shown(budgets: Budgets) -> str:
    """The tables of the page: one for consuming, one for publishing."""
    kinds = dict.fromkeys(way.partition(": ")[0] for way in budgets.ways)
    tables = (_table(kind, budgets) for kind in kinds)
    return f"{budgets.build}.\n\n" + "\n\n".join(tables) + "\n"


def _table(kind: str, budgets: Budgets) -> str:
    """A row for each stage, then the sums, and what is asked of the event loop."""
    ways = {way: each for way, each in budgets.ways.items() if way.startswith(kind)}
    header = [kind, *(way.removeprefix(f"{kind}: ") for way in ways)]
    rule = "|---" + "|---:" * len(ways) + "|"
    rows = [
        *(_row(stage, (each.bytecodes.get(stage) for each in ways.values())) for stage in NAMES),
        _row("**bytecode instructions**", (sum(each.bytecodes.values()) or None for each in ways.values())),
        *(_row(name, (each.machine.get(library) for each in ways.values())) for library, name in LIBRARIES.items()),
        _row("**machine instructions**", (sum(each.machine.values()) for each in ways.values())),
        *(
            _row(name, (each.loop.get(key, 0.0) if each.loop else None for each in ways.values()))
            for key, name in LOOP.items()
        ),
    ]
    kept = [row for row in rows if any(cell not in ("", "-") for cell in row[1:])]
    return "\n".join(["|".join(["", *header, ""]), rule, *("|".join(["", *row, ""]) for row in kept)])


def _asked(figures: Figures, name: str) -> float | None:
    return figures.loop.get(name, 0.0) if figures.loop else None


def _row(name: str, figures: Iterable[float | None]) -> list[str]:
    return [name, *("-" if figure is None else _number(figure) for figure in figures)]


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 10 else f"{figure:.3g}"

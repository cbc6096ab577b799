"""`python -m tests.budget`: what an event costs beside its budget; `--renew` writes the table and the page."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from . import callgrind, table
from .measure import Figures, measure
from .stages import NAMES


def main() -> None:
    """Measure, and print or write. Machine instructions are counted where valgrind is installed."""
    measured = measure()
    machine = callgrind.measure() if callgrind.is_installed() else {}
    if "--renew" in sys.argv:
        if not machine:
            sys.exit("the table has machine instructions: install valgrind to renew it")
        table.write(table.renewed(measured, machine))
    budgets = table.load()
    for way, each in measured.items():
        print("\n".join([way, *_lines(each, budgets.ways[way])]))
    for way, libraries in machine.items():
        budget = sum(budgets.ways[way].machine.values())
        print(f"{way + ', machine instructions':68}{sum(libraries.values()):10,} {budget:10,.0f}")
    if not machine:
        print("no valgrind here: machine instructions were not counted")


def _lines(measured: Figures, budget: Figures) -> Iterator[str]:
    for stage in NAMES:
        if stage in measured.bytecodes or stage in budget.bytecodes:
            yield f"    {stage:64}{measured.bytecodes.get(stage, 0):10,.1f} {budget.bytecodes.get(stage, 0):10,.1f}"
    together = sum(measured.bytecodes.values()), sum(budget.bytecodes.values())
    yield f"    {'bytecode instructions':64}{together[0]:10,.1f} {together[1]:10,.1f}"
    for name, shown in table.LOOP.items():
        if name in measured.loop or name in budget.loop:
            yield f"    {shown:64}{measured.loop.get(name, 0):10.2f} {budget.loop.get(name, 0):10.2f}"


if __name__ == "__main__":
    main()

"""Split a batch into parts for one handler each, where several handlers share a subscription. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...handlers.routes import Route, RouteTable
from ..entry import Entry

Part = tuple[Route | None, Sequence[Entry]]
"""A part of a batch: a handler and its entries."""


def parts(batch: Sequence[Entry], routes: RouteTable) -> list[Part]:
    """Split a batch into parts for one handler each; no entry overtakes an earlier one of its lane."""
    found = [routes.find(entry.fields) for entry in batch]
    if found.count(found[0]) == len(found):
        return [(found[0], batch)]
    made: list[tuple[Route | None, list[Entry]]] = []
    reached: dict[object, int] = {}  # the part of the last entry of each lane: later ones come no earlier
    for entry, route in zip(batch, found, strict=True):
        earliest = 0 if entry.lane is None else reached.get(entry.lane, 0)
        at = next((at for at in range(earliest, len(made)) if made[at][0] is route), len(made))
        if at == len(made):
            made.append((route, []))
        made[at][1].append(entry)
        reached[entry.lane] = at
    return list(made)

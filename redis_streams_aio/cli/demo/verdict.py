"""Compare the result of the demo with the expected result. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ...models import LagReport
from .flights import FlightScheduled, failures_of, is_rejected
from .tally import Logbook, Tally


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the demo."""

    flights: Sequence[FlightScheduled]
    tallies: Mapping[str, Tally]
    logbook: Logbook
    dead_letters: Mapping[str, Sequence[int]]
    """For each group the positions of the flights in its dead-letter stream."""
    abandoned: int
    """The flights that the dead worker held."""
    lag: Sequence[LagReport]


def problems(outcome: Outcome) -> list[str]:
    """Yield every difference from the expected result."""
    rejected = {flight.position for flight in outcome.flights if is_rejected(flight)}
    retries = sum(map(failures_of, outcome.flights))
    found: list[str] = []
    for group, tally in outcome.tallies.items():
        in_tickets = group == "tickets"
        refused = rejected if in_tickets else set()
        found += _handling_problems(tally, {flight.position for flight in outcome.flights} - refused)
        found += _expect(f"{group}: dead letters", sorted(refused), sorted(outcome.dead_letters[group]))
        found += _expect(f"{group}: retries", retries if in_tickets else 0, tally.retried)
        found += _expect(f"{group}: reclaimed", outcome.abandoned if group == "mail" else 0, tally.reclaimed)
    return [*found, *_order_problems(outcome), *_lag_problems(outcome)]


def _handling_problems(tally: Tally, wanted: set[int]) -> Iterator[str]:
    if missing := wanted - tally.handled.keys():
        yield f"{tally.group}: {len(missing)} flights were not handled: {_some(missing)}"
    if unwanted := tally.handled.keys() - wanted:
        yield f"{tally.group}: {len(unwanted)} flights were handled that must not be: {_some(unwanted)}"
    if again := {position for position, times in tally.handled.items() if times > 1}:
        yield f"{tally.group}: {len(again)} flights were handled more than once: {_some(again)}"


def _order_problems(outcome: Outcome) -> Iterator[str]:
    wrong = [aircraft for aircraft, places in outcome.logbook.positions.items() if places != sorted(places)]
    if wrong:
        yield f"aircraft: {len(wrong)} aircraft had their flights out of order: {_some(wrong)}"
    if outcome.logbook.overlapping:
        yield f"aircraft: {outcome.logbook.overlapping} flights began before the one ahead of them had ended"


def _lag_problems(outcome: Outcome) -> Iterator[str]:
    for group in outcome.tallies.keys() - {report.group for report in outcome.lag}:
        yield f"{group}: its lag was not measured"
    for report in outcome.lag:
        if report.lag != 0 or report.pending:
            yield f"{report.group}: at the end its lag is {report.lag}, and {report.pending} are pending"


def _expect(what: str, wanted: object, got: object) -> Iterator[str]:
    if wanted != got:
        yield f"{what}: {got}, where {wanted} was expected"


def _some(items: set[int] | list[str]) -> str:
    shown = sorted(map(str, items))
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")

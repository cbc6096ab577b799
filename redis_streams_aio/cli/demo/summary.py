"""Print the summary at the end of the demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from ..show import number, table
from .handlers import MAIL_LEASE
from .publishing import Publishing
from .tally import Tally
from .verdict import Outcome

COLUMNS = (
    "group",
    "handled#",
    "events\nper s#",
    "p50\nms#",
    "p99\nms#",
    "most\nlag#",
    "lag\nnow#",
    "retried#",
    "dead\nletters#",
    "re-\nclaimed#",
)


def summarise(console: Console, server: str, publishing: Publishing, outcome: Outcome, problems: Sequence[str]) -> None:
    """Print the table, its meaning, and whether everything was as expected."""
    pace = f"{publishing.seconds:.1f} s ({publishing.count / publishing.seconds:,.0f} a second)"
    console.print(f"\n{publishing.count:,} flights published in {pace}, {server}")
    lag = {report.group: report.lag for report in outcome.lag}
    rows = [_row(tally, publishing.began_at, lag.get(tally.group)) for tally in outcome.tallies.values()]
    console.print(table(COLUMNS, rows))
    console.print("ms: from the call of publish to the start of the handler's first attempt, in one process.")
    console.print(
        "lag: entries in the stream that the group has not been given yet; most: of all measurements, four a second."
    )
    if not problems:
        for line in _good_news(outcome):
            console.print(line)
    for problem in problems:
        console.print(f"WRONG: {problem}")


def _good_news(outcome: Outcome) -> Iterator[str]:
    aircraft = len({flight.aircraft for flight in outcome.flights if flight.tail is not None})
    yield (
        f"Order: the flights of each of {aircraft:,} aircraft were handled in the order they were published; "
        f"{outcome.logbook.waited:,} of them came before the one ahead had ended, and waited for it."
    )
    if outcome.abandoned:
        yield (
            f"Crash: a worker of group mail took {outcome.abandoned} flights and was never heard of again; "
            f"when its lease of {MAIL_LEASE:g} s was over, another one took them over."
        )
    yield "Checked: every group handled every flight exactly as expected."


def _row(tally: Tally, began_at: float, lag: int | None) -> tuple[str, ...]:
    seconds = max(tally.last_at - began_at, 1e-6)
    return (
        tally.group,
        number(len(tally.handled)),
        f"{len(tally.handled) / seconds:,.0f}",
        _milliseconds(tally.latencies, 0.5),
        _milliseconds(tally.latencies, 0.99),
        number(tally.highest_lag),
        number(lag),
        number(tally.retried),
        number(tally.dead_lettered),
        number(tally.reclaimed),
    )


def _milliseconds(seconds: Sequence[float], part: float) -> str:
    """Return the quantile: `part` of all values are at most this."""
    if not seconds:
        return "-"
    return f"{sorted(seconds)[min(int(len(seconds) * part), len(seconds) - 1)] * 1000:,.1f}"

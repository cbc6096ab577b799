"""Measure groups again and again: lag, rates, and how the lag went.

One `LagWatcher` measures all groups, so that it knows their rates. When Redis does not answer, `measure` raises, and
the earlier measurements stay: the caller shows both.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from ...connection import Connection, replies
from ...connection.replies import Answer
from ...connection.steps import controls, describing
from ...events import keys
from ...exceptions import RedisStreamsError, StreamNotFoundError, StreamTypeError
from ...models import LagReport
from ...monitoring import LagWatcher
from ...monitoring.rates import time_to_drain
from ..finding import names_of_all, pause_of
from ..session import stream_named
from ..show import NONE, UNKNOWN, age, number, visible

_STEADY = 0.05
FIND_EVERY = 10.0
"""Seconds between two searches for streams, where none are named."""
KEPT = 60
"""Measurements of lag that a line of them can show."""

COLUMNS = ("stream", "group", "in/s#", "out/s#", "lag#", "pending#", "oldest#", "dead#", "drained in#", "lag went")


class LiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group as it was measured, as `--json` prints it."""

    time: datetime
    stream: str
    group: str
    lag: int | None
    pending: int
    oldest_age: float | None
    dead_letters: int | None
    paused: bool
    rate_in: float | None
    rate_out: float | None
    time_to_drain: float | None

    @property
    def behind(self) -> int:
        """Entries that wait."""
        return (self.lag or 0) + self.pending

    def cells(self, line: str = NONE) -> tuple[str, ...]:
        """Return the row of the table, in the order of `COLUMNS`."""
        return (
            visible(self.stream),
            visible(self.group),
            rate(self.rate_in),
            rate(self.rate_out),
            number(self.lag),
            number(self.pending),
            age(self.oldest_age),
            number(self.dead_letters),
            self._drained(),
            line,
        )

    def _drained(self) -> str:
        """Return when nothing will wait."""
        if self.paused:
            return "paused"
        if self.rate_in is None or self.rate_out is None or self.lag is None:
            return UNKNOWN
        return _drained_in(self.behind, self.rate_in, self.rate_out)


def _drained_in(behind: int, rate_in: float, rate_out: float) -> str:
    """Return when nothing will wait: `steady` if as much comes as is settled, to a twentieth."""
    if not behind:
        return NONE
    if rate_in and abs(rate_in - rate_out) <= rate_in * _STEADY:
        return "steady"
    seconds = time_to_drain(behind, rate_in, rate_out)
    return "never" if seconds is None else age(seconds)


def rate(per_second: float | None) -> str:
    """Return a rate such as `0.2`, `17` or `1,204`; `?` if it is unknown."""
    if per_second is None:
        return UNKNOWN
    return f"{per_second:.1f}" if 0 < per_second < 10 else f"{per_second:,.0f}"  # a digit is enough


class Measuring:
    """Measures the groups of some streams, or of all."""

    def __init__(self, connection: Connection, streams: Sequence[str]) -> None:
        self._connection = connection
        self._named = streams
        self._names: list[str] = list(streams)
        self._found_at = float("-inf")
        self._watcher = LagWatcher(connection, ())
        self._lags: dict[tuple[str, str], deque[int | None]] = {}

    def lags(self, row: LiveRow) -> Sequence[int | None]:
        """Return the lags of a group that were measured so far, the oldest first."""
        return self._lags[row.stream, row.group]

    async def measure(self) -> list[LiveRow]:
        """Measure all groups. Raises `StreamNotFoundError`, `StreamTypeError`, `RedisUnavailableError`, ..."""
        now = asyncio.get_running_loop().time()
        if not self._named and now >= self._found_at + FIND_EVERY:
            self._names, self._found_at = await names_of_all(self._connection), now
        pairs = await self._found()
        reports = {(report.stream, report.group): report for report in await self._watcher.measure(pairs)}
        moment = datetime.fromtimestamp(replies.clock(await self._connection.call("TIME")), UTC)
        letters = await self._connection.call_many([("XLEN", keys.dead_letters(*pair)) for pair in pairs])
        told = await self._connection.call_many([controls.reading(*pair) for pair in pairs])
        rows = []
        for pair, count, answer in zip(pairs, letters, told, strict=True):
            if (report := reports.get(pair)) is not None:
                self._lags.setdefault(pair, deque(maxlen=KEPT)).append(report.lag)
                rows.append(_row(report, moment, count, is_paused=pause_of(answer) is not None))
        return rows

    async def _found(self) -> list[tuple[str, str]]:
        """Return all groups, as pairs of stream and group."""
        answers = await self._connection.call_many([("XINFO", "GROUPS", name) for name in self._names])
        pairs: list[tuple[str, str]] = []
        for name, groups in zip(self._names, answers, strict=True):
            if isinstance(groups, RedisStreamsError):
                self._check(name, groups)
            else:
                pairs += [(name, group.name) for group in describing.group_infos(groups)]
        return pairs

    def _check(self, name: str, error: RedisStreamsError) -> None:
        """Raise the error about a stream, unless it was found by a search and is deleted since then."""
        if isinstance(error, StreamNotFoundError | StreamTypeError) and name not in self._named:
            return
        with stream_named(name):
            raise error


def _row(report: LagReport, moment: datetime, letters: Answer, *, is_paused: bool) -> LiveRow:
    return LiveRow(
        time=moment,
        stream=report.stream,
        group=report.group,
        lag=report.lag,
        pending=report.pending,
        oldest_age=None if report.oldest_age is None else round(report.oldest_age, 3),
        dead_letters=None if isinstance(letters, RedisStreamsError) else replies.integer(letters),
        paused=is_paused,
        rate_in=report.rate_in,
        rate_out=report.rate_out,
        time_to_drain=report.time_to_drain,
    )


_BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[int | None], width: int) -> str:
    """Return the last values as bars, relative to the largest of them; `?` for unknown ones."""
    last = list(values)[-width:]
    most = max((value for value in last if value), default=0)
    return "".join(
        "?" if value is None else _BARS[0] if not most else _BARS[value * (len(_BARS) - 1) // most] for value in last
    )

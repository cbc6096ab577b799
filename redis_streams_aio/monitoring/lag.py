"""The lag watcher measures how far each group is behind, and raises and withdraws the backpressure signals.

The `lag` that Redis reports may be unknown (`nil`) or wrong, so `known_lag` decides: 0 if the last entry was delivered;
else Redis's number, at most the stream's length, if it is possible for this stream. Otherwise the watcher counts unread
entries up to a bound. A lag that remains unknown is reported as `None`, never as 0.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import msgspec

from ..checks import functions, names, values
from ..connection import Connection, replies
from ..connection.packing import Command
from ..connection.replies import Answer, Reply
from ..connection.steps import describing
from ..connection.steps.pending import pending
from ..events import entry_ids
from ..exceptions import ConfigError, StreamNotFoundError
from ..models import GroupInfo, LagReport, StreamInfo
from ..telemetry import SILENT, LagHigh, LagLow, LagMeasured, Telemetry
from .rates import Rates

LagCallback = Callable[[LagReport], None]
Group = tuple[str, str]
"""A stream, and a group of it."""
COUNTED_AT_MOST = 1000
"""The most entries that are read to count a lag that Redis does not know; with more, the lag stays unknown."""


def known_lag(stream: StreamInfo, group: GroupInfo) -> int | None:
    """Return the group's lag if Redis's own numbers can be right; `None` if the entries must be counted."""
    if stream.last_id is None or entry_ids.parse(group.last_delivered_id) >= entry_ids.parse(stream.last_id):
        return 0
    if group.lag is None or group.lag > max(stream.entries_added, stream.length):
        return None
    return min(group.lag, stream.length)


class Marks(msgspec.Struct, frozen=True):
    """The marks at which a group counts as behind, and no longer."""

    high: int = 10_000
    low: int = 1_000
    high_age: float | None = None
    """Seconds; `None`: the age does not matter."""


def is_behind(was_behind: bool, report: LagReport, marks: Marks) -> bool:  # noqa: FBT001  # its state
    """Whether a group counts as behind now.

    A group is behind from the moment it is more than `high` entries behind, or its oldest unsettled entry is older than
    `high_age`, until it is at most `low` behind and the oldest is younger than half of that age. An unknown lag does
    not end that state.
    """
    age, high_age = report.oldest_age or 0.0, math.inf if marks.high_age is None else marks.high_age
    if was_behind:
        return report.lag is None or report.behind > marks.low or age > high_age / 2
    return report.behind > marks.high or age > high_age


class LagWatcher:
    """Measures groups, and calls back when one is more than `high` entries behind and when it is at most `low` behind.

    Between the two marks the signal does not change, so that it does not flicker. Entries behind = not yet delivered +
    not yet settled. With `high_age`, a group is also behind when an entry that is not settled is older than `high_age`
    seconds, until all are younger than half of that. `groups` are pairs of stream and group. Raises `ConfigError`.
    """

    def __init__(
        self,
        connection: Connection,
        groups: Iterable[tuple[str, str]],
        *,
        high: int = 10_000,
        low: int = 1_000,
        high_age: float | None = None,
        on_high: LagCallback | None = None,
        on_low: LagCallback | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._connection = values.instance("connection", connection, Connection)
        self._groups = tuple(dict.fromkeys(_pairs(groups)))
        age = None if high_age is None else values.seconds("high_age", high_age)
        self._marks = Marks(values.whole("high", high, 1), values.whole("low", low, 0), age)
        if low >= high:
            raise ConfigError(f"low={low}: expected less than high, which is {high}")
        for what, callback in (("on_high", on_high), ("on_low", on_low)):
            if callback is not None:
                functions.function(what, callback, "report")
        self._on_high = on_high
        self._on_low = on_low
        self._telemetry = values.instance("telemetry", telemetry, Telemetry)
        self._rates = Rates()
        self._behind: set[Group] = set()
        self.reports: dict[Group, LagReport] = {}
        """The latest report of each (stream, group)."""

    def is_behind(self, stream: str, group: str) -> bool:
        """Whether the group is behind: it passed `high`, and has not come down to `low` yet."""
        return (stream, group) in self._behind

    async def run_once(self) -> list[LagReport]:
        """Measure all groups, and raise or withdraw their signals. Streams and groups that do not exist are left out.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        return await self.measure(self._groups)

    async def measure(self, groups: Sequence[Group]) -> list[LagReport]:
        """Measure these groups, as `run_once` does, and forget the signals of all others."""
        self._behind.intersection_update(groups)
        streams = list(dict.fromkeys(stream for stream, _ in groups))
        listed = await self._connection.call_many([("XINFO", "GROUPS", stream) for stream in streams])
        measure = partial(self._measure_stream, groups)
        measured = await asyncio.gather(*map(measure, streams, listed), return_exceptions=True)
        reports = [report for found in measured if isinstance(found, list) for report in found]
        self._signal_all(reports)
        for found in measured:
            if isinstance(found, BaseException):
                raise found  # after all reports: an error for one stream hides no other stream
        return reports

    def _signal_all(self, reports: Iterable[LagReport]) -> None:
        for report in reports:
            self._signal(report)

    async def _measure_stream(self, groups: Sequence[Group], stream: str, listed: Answer) -> list[LagReport]:
        try:
            watched = _watched(groups, stream, listed)
            if any(group.lag != 0 or group.pending > 0 for group in watched):
                return await self._measure_closely(groups, stream)
        except StreamNotFoundError:
            return []
        done = [(LagReport(stream, group.name, 0, 0, None), group.entries_read) for group in watched]
        return [self._rates.rated(report, added) for report, added in done]

    async def _measure_closely(self, groups: Sequence[Group], stream: str) -> list[LagReport]:
        """Measure a stream with open work or unknown lag: read stream, groups and its node's time at one moment."""
        commands: list[Command] = [("XINFO", "STREAM", stream), ("XINFO", "GROUPS", stream), ("TIME",)]
        described, listed, clock = await self._connection.link("control", stream).call_many(commands)
        info, watched = describing.stream_info(stream, _reply(described)), _watched(groups, stream, listed)
        now = replies.clock(_reply(clock))
        return list(await asyncio.gather(*(self._measure_group(info, group, now) for group in watched)))

    async def _measure_group(self, stream: StreamInfo, group: GroupInfo, now: float) -> LagReport:
        lag = known_lag(stream, group)
        if lag is None:
            lag = await self._count_unread(stream.name, group.last_delivered_id)
        oldest = await self._oldest_unsettled(stream.name, group, lag)
        age = None if oldest is None else max(0.0, now - entry_ids.parse(oldest)[0] / 1000)
        report = LagReport(stream.name, group.name, lag, group.pending, age)
        return self._rates.rated(report, stream.entries_added)

    async def _count_unread(self, stream: str, last_delivered: str) -> int | None:
        unread = await self._connection.call("XRANGE", stream, f"({last_delivered}", "+", "COUNT", COUNTED_AT_MOST)
        count = len(replies.rows(unread))
        return None if count == COUNTED_AT_MOST else count

    async def _oldest_unsettled(self, stream: str, group: GroupInfo, lag: int | None) -> str | None:
        if group.pending:
            lowest = await pending(self._connection, stream, group.name, 1)
            if lowest:
                return lowest[0].id
        if lag == 0:
            return None
        unread = replies.entries(
            await self._connection.call("XRANGE", stream, f"({group.last_delivered_id}", "+", "COUNT", 1)
        )
        return replies.text(unread[0].id) if unread else None

    def _signal(self, report: LagReport) -> None:
        group = (report.stream, report.group)
        self.reports[group] = report
        if self._telemetry.wants(LagMeasured):
            self._telemetry.emit(LagMeasured(report=report))
        was_behind = group in self._behind
        now_behind = is_behind(was_behind, report, self._marks)
        if now_behind and not was_behind:
            self._behind.add(group)
            self._telemetry.emit(LagHigh(report=report))
            self._tell(self._on_high, report)
        elif was_behind and not now_behind:
            self._behind.discard(group)
            self._telemetry.emit(LagLow(report=report))
            self._tell(self._on_low, report)

    def _tell(self, callback: LagCallback | None, report: LagReport) -> None:
        if callback is not None:
            self._telemetry.guard(callback, report)


def _watched(groups: Sequence[Group], stream: str, listed: Answer) -> list[GroupInfo]:
    """Return what is known of the groups of a stream that are watched."""
    found = {group.name: group for group in describing.group_infos(_reply(listed))}
    return [found[group] for of_stream, group in groups if of_stream == stream and group in found]


def _pairs(groups: Iterable[tuple[str, str]]) -> Iterator[Group]:
    """Yield pairs of stream and group. Raises `ConfigError`."""
    if isinstance(groups, str | bytes | Mapping) or not isinstance(groups, Iterable):
        raise ConfigError(f"groups={values.shown(groups)}: {_EXPECTED}")
    for pair in groups:
        if not isinstance(pair, tuple | list) or len(pair) != 2:  # a pair
            raise ConfigError(f"groups: {values.shown(pair)}: {_EXPECTED}")
        stream, group = pair
        yield names.checked("groups: stream", stream), names.checked("groups: group", group)


_EXPECTED = 'expected pairs of stream and group, e.g. [("orders", "billing")]'


def _reply(answer: Answer) -> Reply:
    """Return the reply, or raise the error that came instead."""
    if isinstance(answer, Exception):
        raise answer
    return answer

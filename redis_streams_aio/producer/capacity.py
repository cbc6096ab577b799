"""Capacity: publishers wait, or are refused, while a group of their stream is behind.

A group is behind by the marks of the settings (`lag_high`, `lag_high_age`), until it has caught up (`lag_low`), so a
waiting publisher does not flicker between the two. All groups of the stream count, or those that `paced_by` names.

A stream is measured only when somebody asks, at most once in `FRESH` seconds, and all who ask meanwhile share the
answer: publishing costs a comparison of times in between. So publishers may exceed a mark by what they publish in that
time. Waiting holds nothing, neither a lock nor a connection, and can be cancelled at any time; the lock is for the
moment of a measurement.

When things fail: while Redis is away, asking raises `RedisUnavailableError`, as publishing would. A stream or a group
that does not exist is not behind. A lag that nobody knows ends no wait, and begins none.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from ..checks import names, values
from ..config import Settings
from ..connection import Connection
from ..connection.backoff import jittered
from ..connection.steps import describing
from ..events.outgoing import WhenBehind
from ..exceptions import GroupBehindError, InvalidEventError, StreamNotFoundError
from ..models import LagReport
from ..monitoring import LagWatcher

FRESH = 1.0
"""Seconds for which a measurement counts."""


class Capacity:
    """Tells publishers whether the groups of their streams keep up."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gauges: dict[str, _Gauge] = {}
        self.streams: frozenset[str] = frozenset(
            name for name, stream in settings.streams.items() if stream.when_behind != "ignore"
        )
        """Streams whose settings say to wait or to refuse."""

    async def admit(self, stream: str, when_behind: WhenBehind | None) -> None:
        """Return when an event may be published, by the call's wish or the stream's settings.

        Raises `GroupBehindError`, `InvalidEventError`, `RedisUnavailableError`, `ServerError`.
        """
        match self._settings.stream(stream).when_behind if when_behind is None else when_behind:
            case "ignore":
                return
            case "refuse":
                if (report := await self._gauge(stream).behind()) is not None:
                    raise GroupBehindError(f"{_told(report)}: nothing was published")
            case "wait":
                await self.wait(stream)
            case wrong:
                raise InvalidEventError(f'when_behind={values.shown(wrong)}: expected "wait", "refuse" or "ignore"')

    async def wait(self, stream: str, timeout: float | None = None) -> None:  # noqa: ASYNC109  # says who is behind
        """Return when no group of the stream is behind.

        Raises `GroupBehindError` after `timeout` seconds, `ConfigError`, `InvalidEventError`, `RedisUnavailableError`,
        `ServerError`.
        """
        gauge = self._gauge(stream)
        give_up = None if timeout is None else monotonic() + values.seconds("timeout", timeout)
        while (report := await gauge.behind()) is not None:
            left = FRESH if give_up is None else give_up - monotonic()
            if left <= 0:
                raise GroupBehindError(f"{_told(report)}, after a wait of {timeout:g} s")
            await asyncio.sleep(min(left, jittered(2 * FRESH)))

    def _gauge(self, stream: str) -> _Gauge:
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._loop, self._gauges = loop, {}  # their locks belong to the loop that the broker was opened in before
        if (gauge := self._gauges.get(stream)) is None:
            stream = names.checked("stream", stream, InvalidEventError)
            gauge = self._gauges[stream] = _Gauge(self._connection, stream, self._settings)
        return gauge


class _Gauge:
    """Measures the groups of one stream."""

    def __init__(self, connection: Connection, stream: str, settings: Settings) -> None:
        self._connection = connection
        self._stream = stream
        self._only = settings.stream(stream).paced_by
        self._watcher = LagWatcher(
            connection, (), high=settings.lag_high, low=settings.lag_low, high_age=settings.lag_high_age
        )
        self._measuring = asyncio.Lock()
        self._fresh_until = -1.0
        self._behind: LagReport | None = None

    async def behind(self) -> LagReport | None:
        """Return the report of the group that is furthest behind; `None` if none is behind."""
        if monotonic() >= self._fresh_until:
            async with self._measuring:
                if monotonic() >= self._fresh_until:
                    self._behind = await self._measure()
                    self._fresh_until = monotonic() + FRESH
        return self._behind

    async def _measure(self) -> LagReport | None:
        groups = self._only if self._only is not None else await self._groups()
        reports = await self._watcher.measure([(self._stream, group) for group in groups])
        late = [report for report in reports if self._watcher.is_behind(self._stream, report.group)]
        return max(late, key=lambda report: report.behind, default=None)

    async def _groups(self) -> list[str]:
        try:
            return [group.name for group in await describing.describe_groups(self._connection, self._stream)]
        except StreamNotFoundError:
            return []


def _told(report: LagReport) -> str:
    age = "" if report.oldest_age is None else f", the oldest for {report.oldest_age:.0f} s"
    lag = "more than 1,000" if report.lag is None else f"{report.behind:,}"
    return f"group {report.group!r} of stream {report.stream!r} is {lag} entries behind{age}"

"""`StreamSweeper` deletes what streams no longer keep, a little at a time.

A turn takes one atomic step after the other until nothing more is to be deleted (`connection/steps/retention.py`),
with a pause between two, so that other commands get through. Of many processes one sweeps a stream at a time; another
one goes on when it is gone. Each turn emits facts (`telemetry/retention.py`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from ..checks import names, values
from ..config import Retention
from ..connection import Connection
from ..connection.naming import with_stream
from ..connection.steps.retention import Swept, sweep, sweeping
from ..exceptions import ConfigError, PermissionDeniedError, RedisStreamsError
from ..telemetry import SILENT, Telemetry, UnsettledTrimmed
from ..telemetry.logs import log
from ..telemetry.retention import Bound
from .retention import Watch, rules_of

INTERVAL = 5.0
"""Seconds between two turns, if no stream has an age that is shorter than ten of them."""
TURNS = 3
"""The number of intervals after which a process that has not swept has lost its turn."""
PAUSE = 0.002
"""Seconds between two steps, in which Redis does other work."""
Groups = Callable[[], Iterable[tuple[str, str]]]
"""A function that returns pairs of stream and group."""


class StreamSweeper:
    """Deletes entries of streams as their `Retention` says, at each `run_once`.

    A broker does this for the streams of its settings. Without one, call `run_once` every `interval` seconds. `groups`
    returns pairs of stream and group that count like those which `Retention.groups` names. Raises `ConfigError`.
    """

    def __init__(
        self,
        connection: Connection,
        streams: Mapping[str, Retention],
        *,
        groups: Groups = tuple,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._connection = values.instance("connection", connection, Connection)
        if not isinstance(streams, Mapping):
            raise ConfigError(f"streams={values.shown(streams)}: expected a mapping of names to Retention")
        self._streams = {
            names.checked("streams", name): values.instance("streams", each, Retention)
            for name, each in streams.items()
        }
        self._groups = groups
        self._telemetry = values.instance("telemetry", telemetry, Telemetry)
        self._name = names.consumer_name()
        self._refused: set[str] = set()
        self._watches = {stream: Watch(stream, retention) for stream, retention in self._streams.items()}

    @property
    def interval(self) -> float:
        """Seconds between two turns."""
        return min([INTERVAL, *(each.max_age / 10 for each in self._streams.values() if each.max_age is not None)])

    async def run_once(self) -> dict[str, int]:
        """Delete what may go now, and return the number of deleted entries of each stream.

        A stream that cannot be swept does not keep the others from it; its error is raised after all. Raises
        `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        swept, failed = await self._sweep_all()
        for error in failed.values():
            raise error
        return swept

    async def run_where_permitted(self) -> None:
        """Do the same for a broker: leave streams that its Redis user may not trim to other processes, and say so once.

        Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
        """
        _, failed = await self._sweep_all()
        for stream, error in failed.items():
            if not isinstance(error, PermissionDeniedError):
                raise error
            self._refused.add(stream)
            log.warning("stream %r is not swept by this process, which is not permitted to: %s", stream, error)

    async def _sweep_all(self) -> tuple[dict[str, int], dict[str, RedisStreamsError]]:
        """Return the number of deleted entries of each stream, and the errors of those that cannot be swept."""
        swept: dict[str, int] = {}
        failed: dict[str, RedisStreamsError] = {}
        for stream in self._streams.keys() - self._refused:
            try:
                swept[stream] = await self._sweep(stream, self._streams[stream])
            except RedisStreamsError as error:
                failed[stream] = with_stream(error, stream)
        return swept, failed

    async def _sweep(self, stream: str, retention: Retention) -> int:
        rules = rules_of(retention, (group for of_stream, group in self._groups() if of_stream == stream))
        step = sweeping(stream, rules, self._name, TURNS * self.interval)
        deleted, lost = 0, Counter[tuple[str, Bound]]()
        try:
            while (found := await sweep(self._connection, step)) is not None:
                deleted += found.trimmed
                lost.update(_lost(found))
                for fact in self._watches[stream].facts(found):
                    self._telemetry.emit(fact)
                if not found.more:
                    break
                await asyncio.sleep(PAUSE)
        finally:
            for (group, bound), count in lost.items():
                self._telemetry.emit(UnsettledTrimmed(stream=stream, group=group, bound=bound, count=count))
        return deleted


def _lost(found: Swept) -> dict[tuple[str, Bound], int]:
    return {key: count for key, count in _taken(found) if count}


def _taken(found: Swept) -> Iterator[tuple[tuple[str, Bound], int]]:
    for group in found.groups:
        yield (group.name, "max_length"), group.taken_before
        yield (group.name, "max_age"), group.taken_by_age
        yield (group.name, "abandoned_after"), group.taken_abandoned

"""Run the demo from its first to its last step.

There are two brokers, as in real life: one publishes (and owns the embedded server), the other handles. A worker of
group `mail` takes flights and dies. At the end the demo deletes everything that it created in Redis.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import anyio
import msgspec
from rich.console import Console

from ...broker import Broker
from ...codecs import JsonCodec
from ...config import Settings
from ...connection import Connection, replies
from ...consumer import ConsumerGroupManager, StreamConsumer
from ...events import keys
from ...models import LagReport
from ...producer import StreamManager
from ..session import COMMAND_TIMEOUT, CONNECT_TIMEOUT
from . import flights
from .flights import FlightScheduled
from .handlers import GROUPS, MAIL_LEASE, declare
from .progress import Update, progress
from .publishing import Publishing
from .summary import summarise
from .tally import Logbook, Tally, observer
from .verdict import Outcome, problems

ABANDONED = 25
"""The number of flights that the dying worker takes."""
STALLED = 30.0
"""Seconds without any progress after which the demo has failed."""
LOOK = 0.1
"""Seconds between two checks of the progress."""

_PUBLISHER = Settings(connect_timeout=CONNECT_TIMEOUT, command_timeout=COMMAND_TIMEOUT)
_WORKER = msgspec.structs.replace(_PUBLISHER, lag_interval=0.25, reclaim_interval=0.25, grace=5.0)


async def perform(url: str, count: int, console: Console) -> bool:
    """Run the demo with the first `count` flights, and return whether everything was as expected.

    Raises `RedisUnavailableError`, `ConfigError`, `ServerError`.
    """
    stream = f"redis-streams-aio:demo:{secrets.token_hex(4)}"
    performance = _Performance(stream, flights.load(count), console)
    if url == "memory://":
        url += secrets.token_hex(4)  # one without a name is for one broker alone
    async with Broker(url, settings=_PUBLISHER) as publisher:
        try:
            return await performance.run(publisher, await _address(url, publisher.connection))
        finally:
            await _clean_up(publisher.connection, stream)


class _Performance:
    """A run of the demo."""

    def __init__(self, stream: str, events: Sequence[FlightScheduled], console: Console) -> None:
        self._stream = stream
        self._flights = events
        self._console = console
        self._tallies = {group: Tally(group) for group in GROUPS}
        self._logbook = Logbook()
        self._abandoned = 0

    async def run(self, publisher: Broker, address: str) -> bool:
        """Publish and handle the flights, show the result, and return whether it is as expected."""
        self._introduce()
        publishing = Publishing(publisher, self._stream, self._flights)
        worker = Broker(address, settings=_WORKER, observers=[observer(self._tallies)])
        declare(worker, self._stream, self._tallies, self._logbook)
        with progress(self._console, len(self._flights), publishing, self._tallies.values()) as update:
            async with worker:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(publishing.run)
                    tasks.start_soon(self._take_and_die, publisher.connection, publishing)
                    if not await self._all_settled(update):
                        tasks.cancel_scope.cancel()
                lag = await _lag_at_the_end(worker)
        outcome = Outcome(
            flights=self._flights,
            tallies=self._tallies,
            logbook=self._logbook,
            dead_letters={group: await _dead_letters(publisher.connection, self._stream, group) for group in GROUPS},
            abandoned=self._abandoned,
            lag=lag,
        )
        found = problems(outcome)
        summarise(self._console, publisher.connection.server, publishing, outcome, found)
        return not found

    def _introduce(self) -> None:
        self._console.print(f"{len(self._flights):,} flights, each handled by {len(self._tallies)} groups:")
        for group, note in GROUPS.items():
            self._console.print(f"  {group:<9} {note}")

    async def _all_settled(self, update: Update) -> bool:
        """Wait until every group has settled every flight; `False` if there was no progress for too long."""
        total, settled, moved_at = len(self._flights) * len(self._tallies), -1, time.monotonic()
        while True:
            update()
            before, settled = settled, sum(tally.settled for tally in self._tallies.values())
            if settled >= total:
                return True
            if settled != before:
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > STALLED:
                return False
            await anyio.sleep(LOOK)

    async def _take_and_die(self, connection: Connection, publishing: Publishing) -> None:
        """Let a worker of `mail` take flights, when half are published, and then die."""
        await publishing.half_way.wait()
        worker: StreamConsumer[FlightScheduled] = StreamConsumer(
            connection, self._stream, "mail", payload_type=FlightScheduled, lease=MAIL_LEASE, block=LOOK
        )
        await worker.open()
        self._abandoned = await worker.fetch(ABANDONED)


async def _lag_at_the_end(worker: Broker) -> list[LagReport]:
    """Return the lag after the last acknowledgements have arrived, or after some seconds."""
    deadline = time.monotonic() + COMMAND_TIMEOUT
    while True:
        reports = await worker.measure_lag()
        if not any(report.behind for report in reports) or time.monotonic() > deadline:
            return reports
        await anyio.sleep(LOOK)


async def _dead_letters(connection: Connection, stream: str, group: str) -> list[int]:
    """Return the positions of the flights in a group's dead-letter stream."""
    found = replies.entries(await connection.call("XRANGE", keys.dead_letters(stream, group), "-", "+"))
    decode = JsonCodec().decoder(FlightScheduled)
    return [decode(fields).position for _, fields in found if fields is not None]


async def _address(url: str, connection: Connection) -> str:
    """Return the URL of the first broker's server for the second broker: an embedded server has its own socket."""
    if not url.startswith("embedded:"):
        return url
    [_, path] = replies.rows(await connection.call("CONFIG", "GET", "unixsocket"))
    return f"unix://{replies.text(path)}"


async def _clean_up(connection: Connection, stream: str) -> None:
    """Delete all keys of the demo."""
    groups, streams = ConsumerGroupManager(connection), StreamManager(connection)
    for group in GROUPS:
        await groups.delete_group(stream, group)
        await streams.delete_stream(keys.dead_letters(stream, group))
        await connection.call("UNLINK", keys.deleted(stream, group))
    await streams.delete_stream(stream)

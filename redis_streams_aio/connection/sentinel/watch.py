"""`Watch`: hear from one Sentinel when another server becomes the primary.

It subscribes to `+switch-master`, which all Sentinels publish, and to `+promoted-slave`, which the one that carries out
the failover publishes earlier. After subscribing it asks that Sentinel for the primary, so that nothing is missed
between two connections. A Sentinel that is silent gets a `PING` after a second; when that is not answered within
another second, or the connection ends, the next Sentinel in the order is listened to.

When things fail: without any Sentinel the watch goes on trying, with backoff. Connections that are made meanwhile say
in their errors that no Sentinel answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...exceptions import RedisStreamsError
from ..backoff import jittered, longer
from ..dial import dial
from ..errors import LOST_CONNECTION, from_lost
from ..hosts import Host
from ..places import Places
from ..replies import Reply
from ..talk import Talk
from .finding import PATIENCE, Finder, check

CHANNELS = ("+switch-master", "+promoted-slave")
SILENCE = 1.0
"""Seconds without a message before a `PING`, and for its answer."""


class Watch:
    """Tells `moved` where the primary is, after each connection to a Sentinel and at each message about it."""

    def __init__(self, places: Places, finder: Finder, moved: Callable[[Host], None]) -> None:
        assert places.sentinel_to is not None  # noqa: S101  # as their kind is `sentinel`
        self._to = places.sentinel_to
        self._service = places.service
        self._finder = finder
        self._moved = moved
        self._pause = 0.0

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            for sentinel in self._finder.order:
                try:
                    await self._listen(sentinel)
                except RedisStreamsError:
                    continue  # connections that are made now tell why
            self._pause = longer(self._pause)
            await asyncio.sleep(jittered(self._pause))

    async def _listen(self, sentinel: Host) -> None:
        """Listen to one Sentinel until it goes. Raises why."""
        named = self._finder.named(sentinel)
        connection, server = await dial(self._to(sentinel), PATIENCE, named)
        try:
            check(server, named)
            talk = Talk(connection)
            talk.send("SUBSCRIBE", *CHANNELS)
            async with asyncio.timeout(PATIENCE):
                for _ in CHANNELS:
                    await talk.next()
            self._moved(await self._finder.ask(sentinel))
            self._pause = 0.0
            await self._hear(talk)
        except LOST_CONNECTION as error:
            raise from_lost(error, named) from None
        finally:
            await connection.disconnect(nowait=True)

    async def _hear(self, talk: Talk) -> None:
        """Take messages. Raises `TimeoutError` when the Sentinel is silent."""
        is_asked = False
        while True:
            try:
                async with asyncio.timeout(SILENCE):
                    message = await talk.next()
            except TimeoutError:
                if is_asked:
                    raise
                is_asked = True
                talk.send("PING")
            else:
                is_asked = False
                if (host := primary_in(message, self._service)) is not None:
                    self._moved(host)


def primary_in(message: Reply, service: str) -> Host | None:
    """Return the new primary of a service that a message tells; `None`: it tells something else."""
    match message:
        case [b"message", b"+switch-master", bytes(told)]:
            match told.decode().split():
                case [name, _, _, host, port] if name == service:
                    return Host(host, int(port))
        case [b"message", b"+promoted-slave", bytes(told)]:
            match told.decode().split():
                case [_, _, host, port, "@", name, *_] if name == service:
                    return Host(host, int(port))
    return None

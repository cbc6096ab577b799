"""`Finder`: ask the Sentinels which server is the primary.

All of them are asked in order. The one that answers first goes first the next time, and one that named a server that is
not a primary goes last. When a Sentinel does not answer within a quarter of a second, the next one is asked beside it:
a host that went away with the primary on it costs that quarter, and not its whole deadline.

Only the Sentinels in the URL are asked. Sentinels know each other (`SENTINEL SENTINELS`), but by addresses that may
mean nothing here: those inside of containers, or names that no certificate has.

When things fail: no Sentinel answers -> `RedisUnavailableError`, with the reason of each. Some answer, and none knows
the name -> `ConfigError`, with the names that they know. Credentials are refused, or the server is not a Sentinel: that
error is raised.

A finder is used by the event loops of several threads: each question has a connection of its own, and the order is
replaced as a whole.
"""

from __future__ import annotations

import asyncio

from ...exceptions import ConfigError, RedisStreamsError, RedisUnavailableError
from ..dial import dial
from ..errors import LOST_CONNECTION, from_lost
from ..hosts import Host
from ..places import Places
from ..replies import Reply, Server, mapping, text
from ..talk import Talk

HEAD_START = 0.25
"""Seconds that a Sentinel has before the next one is asked too."""
PATIENCE = 5.0
"""Seconds for the answer of one Sentinel, with connecting."""


class UnknownServiceError(ConfigError):
    """The Sentinel does not know the name."""


class Finder:
    """Finds the primary of one service."""

    def __init__(self, places: Places, where: str) -> None:
        assert places.sentinel_to is not None  # noqa: S101  # as their kind is `sentinel`
        self._to = places.sentinel_to
        self._service = places.service
        self._where = where
        self.order: tuple[Host, ...] = places.seeds
        """The Sentinels, the one to be asked first at the beginning."""

    async def find(self) -> Host:
        """Return where the primary is. Raises what the module says."""
        waiting = list(self.order)
        asked: dict[asyncio.Task[Host], Host] = {}
        errors: list[RedisStreamsError] = []
        try:
            while waiting or asked:
                if waiting:
                    sentinel = waiting.pop(0)
                    asked[asyncio.create_task(self.ask(sentinel))] = sentinel
                done, _ = await asyncio.wait(
                    asked, timeout=HEAD_START if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    sentinel = asked.pop(task)
                    if (error := task.exception()) is None:
                        self._put(sentinel, first=True)
                        return task.result()
                    if not isinstance(error, RedisStreamsError):
                        raise error
                    errors.append(error)
        finally:
            await _end([*asked])
        raise self._none(errors)

    async def ask(self, sentinel: Host) -> Host:
        """Ask one Sentinel. Raises `UnknownServiceError`, and the errors of `dial`."""
        connection, server = await dial(self._to(sentinel), PATIENCE, self.named(sentinel))
        try:
            check(server, self.named(sentinel))
            talk = Talk(connection)
            async with asyncio.timeout(PATIENCE):
                found = _host(await talk.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service))
                if found is None:
                    raise self._unknown(await talk.ask("SENTINEL", "MASTERS"))
                return found
        except LOST_CONNECTION as error:
            raise from_lost(error, self.named(sentinel)) from None
        finally:
            await connection.disconnect(nowait=True)

    def was_wrong(self) -> None:
        """Ask the Sentinel that answered last after all others: it named a server that is not a primary."""
        self._put(self.order[0], first=False)

    def _put(self, sentinel: Host, *, first: bool) -> None:
        others = tuple(other for other in self.order if other != sentinel)
        self.order = (sentinel, *others) if first else (*others, sentinel)

    def named(self, sentinel: Host) -> str:
        """Name a Sentinel in an error."""
        return f"Sentinel {sentinel.shown}"

    def _unknown(self, masters: Reply) -> UnknownServiceError:
        known = sorted(text(mapping(each)["name"]) for each in masters) if isinstance(masters, list) else []
        names = ", ".join(known) or "no name at all"
        return UnknownServiceError(
            f"redis_url: {self._where}: the Sentinels know no primary {self._service!r}; they know {names}"
        )

    def _none(self, errors: list[RedisStreamsError]) -> RedisStreamsError:
        """Return the error to raise when no Sentinel named a primary."""
        for error in errors:
            if not isinstance(error, RedisUnavailableError):
                return error
        return RedisUnavailableError(f"{self._where}: no Sentinel answers: {'; '.join(map(str, errors))}")


def check(server: Server, where: str) -> None:
    """Raise `ConfigError` for a server that is not a Sentinel."""
    if server.mode != "sentinel":
        raise ConfigError(
            f"redis_url: {where} is not a Sentinel; redis+sentinel:// takes the addresses of Sentinels, which listen "
            "on port 26379 by default"
        )


def _host(reply: Reply) -> Host | None:
    match reply:
        case [bytes(host), bytes(port)]:
            return Host(host.decode(), int(port))
    return None


async def _end(tasks: list[asyncio.Task[Host]]) -> None:
    """Cancel the questions that nobody waits for."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # nobody needs it

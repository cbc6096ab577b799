"""Ask nodes of a Cluster for something that any of them knows: the next one beside one that is slow to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ...exceptions import ConfigError, RedisStreamsError, RedisUnavailableError
from ..dial import dial
from ..errors import LOST_CONNECTION, from_lost
from ..hosts import Host
from ..node import Dialled
from ..packing import Argument
from ..replies import Reply, Server
from ..talk import Talk
from ..wire.line import Factory

HEAD_START = 0.25
"""Seconds that a node has before the next one is asked too."""
PATIENCE = 2.0
"""Seconds for the answer of one node, with connecting."""

Said = tuple[Dialled, Host, Reply]
"""A node's connection, the node, and its reply."""


async def ask_first(to: Callable[[Host], Factory], hosts: Sequence[Host], where: str, *command: Argument) -> Said:
    """Send a command to nodes in turn, and return what the first one says that answers.

    Raises `RedisUnavailableError` with the reasons of all if none does, `ConfigError` if there is no Cluster.
    """
    waiting = list(hosts)
    asked: set[asyncio.Task[Said]] = set()
    reasons: list[RedisStreamsError] = []
    try:
        while waiting or asked:
            if waiting:
                asked.add(asyncio.create_task(_ask(to, waiting.pop(0), where, command)))
            done, asked = await asyncio.wait(
                asked, timeout=HEAD_START if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is None:
                    return task.result()
                if not isinstance(error, RedisUnavailableError):
                    raise error
                reasons.append(error)
    finally:
        await _end(asked)
    raise RedisUnavailableError(f"{where}: no node answers: {'; '.join(map(str, reasons))}")


async def _ask(to: Callable[[Host], Factory], host: Host, where: str, command: Sequence[Argument]) -> Said:
    named = f"{where}: {host.shown}"
    dialled = await dial(to(host), PATIENCE, named)
    try:
        _check(dialled[1], host)
        async with asyncio.timeout(PATIENCE):
            return dialled, host, await Talk(dialled[0]).ask(*command)
    except BaseException as error:
        await dialled[0].disconnect(nowait=True)
        if isinstance(error, LOST_CONNECTION):
            raise from_lost(error, named) from None
        raise


def _check(server: Server, host: Host) -> None:
    if server.mode != "cluster":
        raise ConfigError(f"redis_url: {host.shown} is not a node of a Cluster: use redis://{host.shown}/0")


async def _end(asked: set[asyncio.Task[Said]]) -> None:
    """Stop asking, and close what came about all the same."""
    for task in asked:
        task.cancel()
    if asked:
        await asyncio.wait(asked)
    for task in asked:
        if not task.cancelled() and task.exception() is None:
            await task.result()[0][0].disconnect(nowait=True)

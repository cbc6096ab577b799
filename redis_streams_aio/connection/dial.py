"""Dial: make one connection to Redis that is authenticated and checked, and wait for Redis at the start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING

from ..exceptions import RedisStreamsError, RedisUnavailableError
from ..telemetry.logs import log
from . import errors, replies
from .backoff import delays
from .credentials import stay_authenticated
from .home import Socket
from .replies import Reply, Server
from .wire.line import Factory, Line

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

LOOK = 0.05
"""Seconds between two looks at whether a server is still the right one, while it is dialled."""


async def dial(make: Factory, patience: float, where: str) -> tuple[Socket, Server]:
    """A new connection that is connected, authenticated and checked for its version, and the server it leads to.

    Raises `AuthenticationFailedError`, `UnsupportedServerError`, `RedisUnavailableError` and other errors of `errors`.
    """
    connection = make()
    try:
        async with asyncio.timeout(patience):
            greeted = await (connection.open() if isinstance(connection, Line) else _open(connection))
            return connection, replies.server(greeted)
    except BaseException as error:
        await connection.disconnect(nowait=True)
        if isinstance(error, RedisStreamsError | asyncio.CancelledError) or not isinstance(error, Exception):
            raise
        raise errors.from_connecting(error, where) from None  # says the same, and redis-py may show credentials


async def dial_while(
    is_right: Callable[[], bool], dialled: Coroutine[object, object, tuple[Socket, Server]]
) -> tuple[Socket, Server] | None:
    """Dial as long as that leads to the right server; `None`: it does so no longer. Raises what dialling raises.

    A server that is frozen takes connections, and would not be given up for `patience` seconds.
    """
    dialling, right = asyncio.create_task(dialled), True
    try:
        while (right := is_right()) and not dialling.done():
            await asyncio.wait((dialling,), timeout=LOOK)
        return dialling.result() if right else None
    finally:
        if not right or not dialling.done():
            await _give_up(dialling)


async def _give_up(dialling: asyncio.Task[tuple[Socket, Server]]) -> None:
    """Stop dialling. Closes the connection if it came about all the same."""
    dialling.cancel()
    await asyncio.wait((dialling,))
    if not dialling.cancelled() and dialling.exception() is None:
        await dialling.result()[0].disconnect(nowait=True)


async def _open(connection: AbstractConnection) -> Reply:
    """Have redis-py open its connection, and return the reply to `HELLO`. Raises the errors of redis-py."""
    await connection.connect()  # type: ignore[no-untyped-call]
    await stay_authenticated(connection)  # it is: this only remembers with which credentials
    await connection.send_command("HELLO", check_health=False)
    return await connection.read_response(disable_decoding=True)  # type: ignore[no-any-return]


async def first_contact(
    dial_once: Callable[[], Awaitable[tuple[Socket, Server]]],
    connect_timeout: float | None,
    where: str,
) -> Server:
    """Dial with backoff until Redis answers, and return which server it is.

    Raises `RedisUnavailableError` after `connect_timeout` seconds, other errors at once.
    """
    waits = delays()
    loop = asyncio.get_running_loop()
    give_up = None if connect_timeout is None else loop.time() + connect_timeout
    while True:
        try:
            connection, server = await dial_once()
        except RedisUnavailableError as error:
            wait = next(waits)
            if give_up is not None and loop.time() + wait > give_up:
                raise RedisUnavailableError(f"gave up after connect_timeout={connect_timeout:g} s: {error}") from error
            log.warning("Redis is not available, trying again in %.1f s: %s", wait, error)
            await asyncio.sleep(wait)
        else:
            await connection.disconnect(nowait=True)
            log.info("connected to %s (%s %s)", where, server.name, server.version)
            return server

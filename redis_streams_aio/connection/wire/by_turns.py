"""Exchanges on connections that no `Wire` fits, by redis-py's own reading and writing, without its response callbacks.

`ByTurns` does there what a `Conversation` does; each exchange has a timer of its own, and a loss shows in the exchange
that is under way, or in the next one. Imported late: it imports redis-py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from redis import exceptions as redis_errors

from ...exceptions import RedisStreamsError
from .. import errors
from ..credentials import stay_authenticated
from ..replies import Answer, Reply
from .answers import Answered

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

T = TypeVar("T")

_REPLIES = (redis_errors.ResponseError, redis_errors.BusyLoadingError)
"""Errors of redis-py for an error reply on a connection that works: LOADING is one too, though its class says that
the connection was lost (read with `disconnect_on_error=False`, or redis-py closes it).
"""
_LOST = (redis_errors.ConnectionError, redis_errors.TimeoutError, redis_errors.InvalidResponse)
"""Errors of redis-py that make the connection unusable; `AuthenticationError` is among them."""


async def has_bytes(connection: AbstractConnection) -> bool:
    """Whether something came that nobody had asked for, such as the end. Raises one of `errors.LOST_CONNECTION`."""
    with _losses():
        return await connection.can_read()


@contextmanager
def _losses() -> Iterator[None]:
    """Raise `LostError` for redis-py's errors that make the connection unusable."""
    try:
        yield
    except _LOST as error:
        raise errors.LostError.told_by(error) from error


async def send(connection: AbstractConnection, packed: bytes | list[bytes]) -> None:
    """Send packed commands, after `AUTH` if the credentials have changed. Raises one of `errors.LOST_CONNECTION`."""
    with _losses():
        await stay_authenticated(connection)
        await connection.send_packed_command(packed, check_health=False)


async def read_answer(connection: AbstractConnection) -> Answer:
    """Return the next reply, raw, or an error reply as our error. Raises one of `errors.LOST_CONNECTION`."""
    try:
        return await connection.read_response(disable_decoding=True, disconnect_on_error=False)  # type: ignore[no-any-return]
    except _REPLIES as error:
        return errors.from_reply(error)
    except _LOST as error:
        raise errors.LostError.told_by(error) from error
    except errors.NO_REPLY as error:
        raise errors.unreadable(error) from error


class ByTurns:
    """Sends commands and tells their answers, one exchange at a time."""

    is_open = True
    """Nobody looks at the socket between exchanges."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def exchange(
        self, packed: bytes, within: float, ahead: int, answered: Answered, read: Callable[[Reply], T]
    ) -> T | RedisStreamsError:
        """Send commands, and return what `read` makes of the reply to the last one, or the error reply.

        The `ahead` first commands are `answered` before. Raises one of `LOST_CONNECTION`, or the error that `read`
        raised; after that, or when it is cancelled, the connection is unusable.
        """
        async with asyncio.timeout(within):
            await send(self._connection, packed)
            if ahead:
                answered([await read_answer(self._connection) for _ in range(ahead)])
            answer = await read_answer(self._connection)
        return answer if isinstance(answer, RedisStreamsError) else read(answer)

    def close(self) -> None:
        """Nothing to end. The owner of the connection closes it."""

"""`ByTurns`: what a `Conversation` does, on a connection that no `Wire` fits, with redis-py's own reading and writing.

Each exchange has a timer of its own. A loss shows in the exchange that is under way, or in the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ...exceptions import RedisStreamsError
from ..credentials import stay_authenticated
from ..replies import Reply
from .answers import Answered, read_answer

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

T = TypeVar("T")


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
            await stay_authenticated(self._connection)
            await self._connection.send_packed_command(packed, check_health=False)
            if ahead:
                answered([await read_answer(self._connection) for _ in range(ahead)])
            answer = await read_answer(self._connection)
        return answer if isinstance(answer, RedisStreamsError) else read(answer)

    def close(self) -> None:
        """Nothing to end. The owner of the connection closes it."""

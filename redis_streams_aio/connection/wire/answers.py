"""Read one answer by redis-py's own reader, without its response callbacks. Used where no `Wire` fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import errors
from ..replies import Answer

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Answered = Callable[[list[Answer]], object]
"""Gets the answers to the commands that were sent before the one whose answer is waited for."""


async def read_answer(connection: AbstractConnection) -> Answer:
    """Return the next reply, raw, or an error reply as our error. Raises one of `errors.LOST_CONNECTION`."""
    try:
        return await connection.read_response(disable_decoding=True, disconnect_on_error=False)  # type: ignore[no-any-return]
    except errors.REPLIES as error:
        return errors.from_reply(error)
    except errors.NO_REPLY as error:
        raise errors.unreadable(error) from error

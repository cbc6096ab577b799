"""Find streams, and pauses of groups, for several commands."""

from __future__ import annotations

from ..connection import Connection
from ..connection.replies import Answer
from ..connection.steps import controls
from ..exceptions import PermissionDeniedError, RedisStreamsError
from ..models import Pause
from ..monitoring.finding import stream_names


async def names_of_all(connection: Connection, pattern: str = "*") -> list[str]:
    """Return the names of all streams; say what to do where the user may not look for them."""
    try:
        return await stream_names(connection, pattern)
    except PermissionDeniedError as error:
        raise PermissionDeniedError(
            f"SCAN: {error}; streams are found by looking through all keys: permit +scan, or name the streams"
        ) from None


def pause_of(answer: Answer) -> Pause | None:
    """Return who has paused a group, and why; `None` also where the user may not ask."""
    return None if isinstance(answer, RedisStreamsError) else controls.controls(answer).paused

"""Ask a server of the tests something over a connection of its own, without an event loop; wait until it is so."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import hiredis

if TYPE_CHECKING:
    from .servers import Server

_ANSWER = 5.0
"""Seconds that a server has for an answer."""
_AGAIN = 0.02
"""Seconds between two looks."""


def ask(server: Server, *command: object, seconds: float = _ANSWER) -> Any:  # noqa: ANN401  # whatever Redis says
    """Send one command, and return its reply, texts decoded.

    Raises `hiredis.ReplyError` for an error reply, and `OSError` when no reply comes within `seconds`.
    """
    reader = hiredis.Reader(encoding="utf-8", errors="replace", notEnoughData=_NOTHING)
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        connection.sendall(hiredis.pack_command(tuple(_plain(part) for part in command)))  # type: ignore[arg-type]  # its stub says a tuple of one element
        while (reply := reader.gets()) is _NOTHING:
            if not (data := connection.recv(65536)):
                raise ConnectionResetError(f"no reply to {command[0]}: the server has closed the connection")
            reader.feed(data)
    if isinstance(reply, hiredis.ReplyError):
        raise reply
    return reply


_NOTHING: Any = object()


def _plain(part: object) -> str | bytes:
    return part if isinstance(part, bytes) else str(part)


def until(fact: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until `fact()` is true; a server that does not answer meanwhile, or is not there, counts as false.

    Raises `TimeoutError`, with the last error, when it is not true within `seconds`.
    """
    deadline = time.monotonic() + seconds
    last: Exception | None = None
    while True:
        try:
            if fact():
                return
        except (OSError, LookupError, hiredis.ReplyError) as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}") from last
        time.sleep(_AGAIN)

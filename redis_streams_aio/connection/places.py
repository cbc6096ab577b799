"""Places: from an address to connections that are made but not yet connected.

Our own ones (line.py) lead to a URL without options. redis-py connects everything else: a URL with options, a user's
own client, an embedded server, fakeredis (endpoints.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from .address import CONNECT_TIMEOUT, Address
from .wire.line import Factory, Line, Place

if TYPE_CHECKING:
    from redis.asyncio import Redis

NAME = "redis-streams-aio"
"""The server's list of clients shows it."""


@asynccontextmanager
async def open_place(address: Address | None, client: Redis | None, version: str) -> AsyncIterator[Factory]:
    """The factory of connections for an address, or for a user's client. Embedded servers live as long as this."""
    make = None if address is None else _lines_to(address, version)
    if make is not None:
        yield make
        return
    from .endpoints import open_endpoint  # noqa: PLC0415  # imports redis-py

    async with open_endpoint(address, client, version) as theirs:
        yield theirs


def _lines_to(address: Address, version: str) -> Factory | None:
    """Return what makes connections to an address; `None`: redis-py makes them."""
    if address.scheme not in ("redis", "rediss", "unix") or "?" in address.url:
        return None
    parts = urlsplit(address.url)
    if address.scheme == "unix":
        place = Place(path=unquote(parts.path), credentials=_credentials(parts), library=(NAME, version))
    else:
        place = Place(
            host=unquote(parts.hostname or "localhost"),
            port=parts.port or 6379,
            is_encrypted=address.scheme == "rediss",
            credentials=_credentials(parts),
            database=_database(parts.path),
            library=(NAME, version),
        )
    return partial(Line, place, CONNECT_TIMEOUT)


def _credentials(parts: SplitResult) -> tuple[str, ...]:
    """User and password, or a password alone."""
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if user:
        return (user, password)
    return (password,) if password else ()


def _database(path: str) -> int:
    """The database that a path names; the first one where it names none."""
    number = unquote(path).replace("/", "")
    return int(number) if number.isdecimal() else 0

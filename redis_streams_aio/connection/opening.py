"""Opening: from an address, or a user's client, to the `Places` that it leads to.

Our own connections (line.py) lead to a URL without options. redis-py connects everything else: a URL with options, an
embedded server, fakeredis (endpoints.py), and the places of a user's client (clients.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from ..exceptions import ConfigError
from .address import CONNECT_TIMEOUT, Address, parse
from .hosts import Host
from .places import Places
from .wire.line import Factory, Line, Place

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

NAME = "redis-streams-aio"
"""The server's list of clients shows it."""


def address_of(url: str | None, client: Redis | RedisCluster | None, version: str) -> Address | None:
    """Where Redis is; `None`: where the client says. Raises `ConfigError` where it is not said, or said twice."""
    if client is not None:
        from .clients import check  # noqa: PLC0415  # imports redis-py, as the owner of a client has done

        check(client)
        if url is not None:
            raise ConfigError("url and client: both say where Redis is; leave one of them out")
        return None
    if url is None:
        raise ConfigError("no redis_url and no client: say where Redis is, e.g. redis://localhost:6379/0")
    address = parse(url)
    if "?" in address.url and (address.hosts or address.scheme == "unix"):
        from .endpoints import check_options  # noqa: PLC0415  # imports redis-py: it knows which options there are

        check_options(address, version)
    return address


@asynccontextmanager
async def open_places(
    address: Address | None, client: Redis | RedisCluster | None, version: str
) -> AsyncIterator[Places]:
    """The places that an address, or a user's client, leads to. Embedded servers live as long as this."""
    if client is not None:
        from .clients import places_of  # noqa: PLC0415  # imports redis-py

        yield places_of(client, version)
        return
    if address is None:
        raise ConfigError("no redis_url and no client: say where Redis is, e.g. redis://localhost:6379/0")
    if address.hosts:
        yield _places(address, version)
        return
    if (make := _lines_to(address, version)) is not None:
        yield Places("one", (), lambda _: make)
        return
    from .endpoints import open_endpoint  # noqa: PLC0415  # imports redis-py

    async with open_endpoint(address, version) as theirs:
        yield Places("one", (), lambda _: theirs)


def _places(address: Address, version: str) -> Places:
    """The places of an address with hosts. Factories are kept, because with TLS each one reads certificates."""

    @cache
    def to(host: Host | None) -> Factory:
        return _factory_of(address if address.kind == "one" else address.at(host or address.hosts[0]), version)

    @cache
    def sentinel_to(host: Host) -> Factory:
        return _factory_of(address.sentinel_at(host), version)

    is_watched = address.kind == "sentinel"
    return Places(address.kind, address.hosts, to, sentinel_to if is_watched else None, address.service)


def _factory_of(address: Address, version: str) -> Factory:
    """Return what makes connections to a plain address."""
    if (make := _lines_to(address, version)) is not None:
        return make
    from .endpoints import factory_of  # noqa: PLC0415  # imports redis-py

    return factory_of(address, version)


def _lines_to(address: Address, version: str) -> Factory | None:
    """Return what makes connections to an address; `None`: redis-py makes them."""
    if address.scheme not in ("redis", "rediss", "unix") or "?" in address.url:
        return None
    parts = urlsplit(address.url)
    if address.scheme == "unix":
        place = Place(path=unquote(parts.path), credentials=_credentials(parts), library=(NAME, version))
    else:
        place = Place(
            host=unquote(address.hosts[0].host),
            port=address.hosts[0].port,
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

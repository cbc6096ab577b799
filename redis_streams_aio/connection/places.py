"""Places: from an address to connections that are made but not yet connected.

`Places` says which kind of Redis there is (`address.Kind`), and makes connections to each of its servers: `to(host)`
to the server there, `sentinel_to(host)` to the Sentinel there. The hosts that an address names are its `seeds`; servers
that are found later are asked for in the same way, and have the same credentials, options and TLS.

Our own connections (line.py) lead to a URL without options. redis-py connects everything else: a URL with options, a
user's own client, an embedded server, fakeredis (endpoints.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from ..exceptions import ConfigError
from .address import CONNECT_TIMEOUT, Address, Kind, parse
from .hosts import Host
from .wire.line import Factory, Line, Place

if TYPE_CHECKING:
    from redis.asyncio import Redis

NAME = "redis-streams-aio"
"""The server's list of clients shows it."""


class Places(NamedTuple):
    """The servers of one Redis, and how connections to them are made."""

    kind: Kind
    seeds: tuple[Host, ...]
    """The hosts to begin with: the server, the Sentinels, or nodes of the Cluster; none where there is no port."""
    to: Callable[[Host | None], Factory]
    """Return what makes connections to the server at a host; `None`: to the one server that there is."""
    sentinel_to: Callable[[Host], Factory] | None = None
    """Return what makes connections to the Sentinel at a host."""
    service: str = ""
    """The name by which the Sentinels know the primary."""


def address_of(url: str | None, client: Redis | None, version: str) -> Address | None:
    """Where Redis is; `None`: where the client says. Raises `ConfigError` where it is not said, or said twice."""
    if client is not None:
        from .endpoints import pool_of  # noqa: PLC0415  # imports redis-py, as the owner of a client has done

        pool_of(client)
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
async def open_places(address: Address | None, client: Redis | None, version: str) -> AsyncIterator[Places]:
    """The places that an address, or a user's client, leads to. Embedded servers live as long as this."""
    if address is not None and address.hosts:
        yield _places(address, version)
        return
    if address is not None and (make := _lines_to(address, version)) is not None:
        yield Places("one", (), lambda _: make)
        return
    from .endpoints import open_endpoint  # noqa: PLC0415  # imports redis-py

    async with open_endpoint(address, client, version) as theirs:
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

"""Endpoints: from an address to redis-py connections that are made but not yet connected.

Three kinds: a server whose URL has options (TCP, TLS, unix socket), an embedded Valkey of our own, and fakeredis;
`connections` makes those for a user's client too (clients.py). Servers whose URL has no options need no redis-py.
Whatever the user's own configuration says, ours are RESP2, raw bytes, without socket timeout and without
redis-py's retries: docs/connections.md says why. Imported late: it imports redis-py.
"""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError

from ..exceptions import ConfigError
from .address import CONNECT_TIMEOUT, Address

if TYPE_CHECKING:
    from fakeredis import FakeServer

Factory = Callable[[], AbstractConnection]


def _our_options(version: str) -> dict[str, object]:
    return {
        "protocol": 2,
        "decode_responses": False,
        "socket_timeout": None,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "retry": None,
        "retry_on_error": [],
        "retry_on_timeout": False,
        "health_check_interval": 0,
        "driver_info": _our_driver(version),
    }


@functools.cache
def _our_driver(version: str) -> DriverInfo:
    """Return what connections tell of us; redis-py reads the metadata of its package for each of these."""
    return DriverInfo().add_upstream_driver("redis-streams-aio", version)


@asynccontextmanager
async def open_endpoint(address: Address, version: str) -> AsyncIterator[Factory]:
    """The factory of connections for an address. Embedded servers live as long as this context."""
    async with AsyncExitStack() as stack:
        if address.scheme == "embedded":
            from .embedded.server import embedded_server  # noqa: PLC0415  # rarely used

            socket_path = await stack.enter_async_context(embedded_server(address.path))
            yield connections(UnixDomainSocketConnection, {"path": str(socket_path)}, version)
        elif address.scheme == "memory":
            connection_class, server = _memory_server(address.path)
            yield connections(connection_class, {"server": server}, version)
        else:
            yield factory_of(address, version)


def factory_of(address: Address, version: str) -> Factory:
    """The factory for a server's URL. Raises `ConfigError` for options in it that make no connection."""
    try:
        options = {name: value for name, value in parse_url(address.url).items() if name not in _OF_A_POOL}
        make = connections(options.pop("connection_class", Connection), options, version)  # type: ignore[arg-type]
        make()  # not connected: only to see that it can be made
    except (AttributeError, RedisError, TypeError, ValueError) as error:
        unknown = _UNKNOWN_OPTION.search(str(error))
        problem = f"has no option {unknown[1]!r}" if unknown else str(error)
        raise ConfigError(f"redis_url: {address.shown}: {problem}") from None
    return make


def check_options(address: Address, version: str) -> None:
    """Raise `ConfigError` for options in a URL that make no connection."""
    if address.kind == "one":
        factory_of(address, version)
        return
    plain = address.at(address.hosts[0])
    try:
        factory_of(plain, version)
    except ConfigError as error:
        raise ConfigError(str(error).replace(plain.shown, address.shown)) from None


_OF_A_POOL = frozenset(("max_connections", "timeout"))
"""Options in a URL that redis-py's pools take, and single connections do not: passed over, as we have no pool."""
_UNKNOWN_OPTION = re.compile(r"unexpected keyword argument '(\w+)'")

_FROM_A_CLIENT = frozenset(
    (
        "maint_notifications_pool_handler",
        "maint_notifications_config",
        "event_dispatcher",
        "lib_name",
        "lib_version",
        "himport_registry",
    )
)
"""Options in a client's pool that belong to that pool's own connections, or that ours replace."""


def connections(connection_class: type[AbstractConnection], options: Mapping[str, object], version: str) -> Factory:
    """Return what makes connections of a class with options, as far as these are not replaced by ours."""
    theirs = {
        name: value for name, value in options.items() if name not in _FROM_A_CLIENT and not name.startswith("orig_")
    }
    return functools.partial(connection_class, **{**theirs, **_our_options(version)})  # type: ignore[arg-type]


_named_memory_servers: WeakValueDictionary[str, FakeServer] = WeakValueDictionary()


def _memory_server(name: str) -> tuple[type[AbstractConnection], FakeServer]:
    """Fakeredis.

    `memory://` is a server for itself, `memory://name` is shared within the process by all that have it open.
    """
    try:
        from fakeredis import FakeServer  # noqa: PLC0415  # extra `memory`
        from fakeredis.aioredis import FakeAsyncRedisConnection  # noqa: PLC0415
    except ImportError:
        raise ConfigError("memory:// needs the extra 'memory': pip install 'redis-streams-aio[memory]'") from None
    server = _named_memory_servers.get(name) if name else None
    if server is None:
        server = FakeServer()
        if name:
            _named_memory_servers[name] = server
    return FakeAsyncRedisConnection, server

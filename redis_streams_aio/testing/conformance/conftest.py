"""The suite's fixtures: the Redis it is run on, streams of a test's own, and what can be done to consumers there."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest
import pytest_asyncio

from redis_streams_aio import Connection, RedisStreamsError
from redis_streams_aio.testing.proxy import Proxy, proxy

from .kit import delete
from .processes import Consumer
from .target import Target

NewStream = Callable[[], str]


def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """Without a URL there is one error, not one for each test."""
    if not config.getoption("redis_url", None) and not config.option.collectonly:
        raise pytest.UsageError("the conformance suite needs --redis-url, e.g. --redis-url redis://localhost:6379/0")


@pytest.fixture(scope="session")
def target(pytestconfig: pytest.Config, record_testsuite_property: Callable[[str, object], None]) -> Iterator[Target]:
    """The Redis that the suite is run on; where there is none, the run ends here."""
    try:
        found = Target(pytestconfig.getoption("redis_url"), pytestconfig.getoption("restart_command"))
        found.open()
    except RedisStreamsError as error:
        pytest.exit(f"the conformance suite cannot run: {error}", returncode=pytest.ExitCode.USAGE_ERROR)
    record_testsuite_property("server", found.shown)
    yield found
    found.close()


@pytest.fixture
def url(target: Target) -> str:
    """The URL that clients open."""
    return target.url


@pytest_asyncio.fixture
async def new_stream(url: str) -> AsyncIterator[NewStream]:
    """Makes names of streams that nobody has; what was written under them is deleted at the end."""
    names: list[str] = []

    def new() -> str:
        names.append(f"conformance:{secrets.token_hex(8)}")
        return names[-1]

    yield new
    async with Connection(url) as connection:
        for name in names:
            await delete(connection, name)


@pytest_asyncio.fixture
async def stream(new_stream: NewStream) -> str:
    """A stream of the test's own."""
    return new_stream()


@pytest_asyncio.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    """An open connection."""
    async with Connection(url) as opened:
        yield opened


@pytest.fixture
def start(target: Target, stream: str) -> Iterator[Callable[..., Awaitable[Consumer]]]:
    """Starts consumers of the test's stream as processes of their own, and waits until they are ready."""
    if reason := target.unavailable("processes"):
        pytest.skip(reason)
    with ExitStack() as running:

        async def started(*options: object) -> Consumer:
            consumer = running.enter_context(Consumer(target.url, stream, *options))
            await consumer.ready()
            return consumer

        yield started


@pytest_asyncio.fixture
async def network(target: Target) -> AsyncIterator[Proxy]:
    """A network before the server that can fail; `network_url` leads through it."""
    if reason := target.unavailable("network"):
        pytest.skip(reason)
    async with proxy(target.port, target.host) as before:
        yield before


@pytest_asyncio.fixture
async def network_url(target: Target, network: Proxy) -> str:
    """The URL that clients open whose network is to fail."""
    return target.url_by_way_of(network.port)


@pytest.fixture
def restart(target: Target) -> Callable[[], Awaitable[None]]:
    """Restarts the server."""
    if reason := target.unavailable("restart"):
        pytest.skip(reason)
    return lambda: asyncio.to_thread(target.restart)

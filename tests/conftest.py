"""Fixtures.

A server for the session, emptied for each test; a server of one's own to kill; a plain client to look with.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from _pytest.unraisableexception import collect_unraisable
from hypothesis import Phase, settings
from redis.asyncio import Redis

from redis_streams_aio import Connection
from redis_streams_aio.testing.servers import Server

settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("search", max_examples=5000, deadline=None)
settings.register_profile(
    "mutants", derandomize=True, deadline=None, max_examples=25, phases=(Phase.explicit, Phase.generate)
)
settings.load_profile(os.environ.get("RSA_HYPOTHESIS", "gate"))
"""The gate tries the same examples each time; `RSA_HYPOTHESIS=search` looks for new ones.

`mutants` has few examples and shrinks none: each of thousands of mutants goes through them.
"""


TIMEOUT = 120
"""Seconds for a test that names no others. Not in pyproject.toml, where the examples' pytest would have to know it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, by their timeouts: so that the workers end at the same time."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT))
    items.sort(key=lambda item: -_timeout(item))


def _timeout(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0


def pytest_collection_finish() -> None:
    """What is there before the first test is no leak of any: not to be looked through again after each of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def _session_server() -> Iterator[Server]:
    server = Server().start()
    yield server
    server.remove()


@pytest.fixture
def server(_session_server: Server) -> Server:
    """The session's server: do not stop it."""
    return _session_server


@pytest.fixture
def new_server() -> Iterator[Callable[..., Server]]:
    """Starts servers of the test's own, to stop, freeze and restart."""
    servers: list[Server] = []

    def start(*options: str, **named: object) -> Server:
        servers.append(Server(*options, **named))  # type: ignore[arg-type]
        return servers[-1].start()

    yield start
    for one in servers:
        one.remove()


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    """A plain redis-py client on an empty server."""
    client = Redis.from_url(server.url, protocol=2, decode_responses=True)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def url(server: Server, redis: Redis) -> str:
    """The URL of an empty server."""
    return server.url


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    """An open connection to an empty server."""
    async with Connection(url) as opened:
        yield opened


LONG_TO_LOOK_THROUGH = 0.01
"""Seconds of the processor."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What a test left unclosed is told of this test, not of a later one; its event loop is closed by now.

    What takes long to look through, and is still there, is what tests have imported or keep for others: the syntax
    trees of the package take 0.1 to 0.2 s. It is not to be looked through again after each of the tests that follow.
    """
    yield
    began = time.process_time()
    gc.collect()
    collect_unraisable(item.config)
    if time.process_time() - began > LONG_TO_LOOK_THROUGH:
        gc.freeze()

"""Fixtures.

A server for the session, emptied for each test; a server of one's own to kill; a plain client to look with.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import pytest
from _pytest.unraisableexception import collect_unraisable
from hypothesis import Phase, settings
from redis.asyncio import Redis

from redis_streams_aio import Connection
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.sentinels import SentinelSet
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


T = TypeVar("T", Cluster, SentinelSet)


class Kept:
    """Clusters and sets of Sentinels, started when a test asks for one, and kept for the tests that follow."""

    def __init__(self) -> None:
        self._kept: dict[tuple[type, str | None], Cluster | SentinelSet] = {}

    def take(self, shape: type[T], kind: str | None) -> T:
        """An empty one that is well and has its first size: the one there is, or a new one in its place."""
        found = self._kept.get((shape, kind))
        if not (isinstance(found, shape) and self._is_whole(found)):
            if found is not None:
                found.remove()
            found = self._kept[shape, kind] = shape(kind)
            found.start()
        found.empty()
        return found

    def _is_whole(self, found: Cluster | SentinelSet) -> bool:
        if isinstance(found, Cluster) and (len(found.nodes) != CLUSTER_NODES or not all(n.runs for n in found.nodes)):
            return False
        try:
            found.until_well(TIME_TO_GET_WELL)
        except TimeoutError:
            return False
        return True

    def remove(self) -> None:
        """Kill all of them."""
        for one in self._kept.values():
            one.remove()


CLUSTER_NODES = 6
TIME_TO_GET_WELL = 4.0
"""Seconds; a new one takes half of it."""


@pytest.fixture(scope="session")
def _kept() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    kept.remove()


@pytest.fixture
def cluster(request: pytest.FixtureRequest, _kept: Kept) -> Cluster:
    """An empty Cluster of three primaries with a replica each, shared by tests, which may break it in any way.

    `@pytest.mark.parametrize("cluster", ["valkey-9.1", "redis-7.0"], indirect=True)` says of which kind.
    """
    return _kept.take(Cluster, getattr(request, "param", None))


@pytest.fixture
def sentinels(request: pytest.FixtureRequest, _kept: Kept) -> SentinelSet:
    """An empty primary, two replicas and three Sentinels, shared by tests as `cluster` is."""
    return _kept.take(SentinelSet, getattr(request, "param", None))


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

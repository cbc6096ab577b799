"""The servers that plays take place at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from redis_streams_aio.testing.servers import Server
from tests.pairs.place import REPLICATING, Place, place
from tests.pairs.table import Cell


@pytest.fixture(scope="session")
def twins() -> Iterator[tuple[Server, Server]]:
    """A primary and its replica; after a failover they have changed places."""
    one, two = Server(*REPLICATING).start(), Server(*REPLICATING).start()
    yield one, two
    one.remove()
    two.remove()


@pytest.fixture
async def stage_at(cell: Cell, server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Where a cell is played."""
    servers = request.getfixturevalue("twins") if cell.needs_twins else (server,)
    async with place(servers, twins=cell.needs_twins) as here:
        yield here

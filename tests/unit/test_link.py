"""The link's life, with connections that are not of this world: what a real server cannot be made to do on time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from redis_streams_aio import RedisStreamsError
from redis_streams_aio.connection.link import Link


class Connection:
    """One that answers nothing."""

    credential_provider = None

    def __init__(self) -> None:
        self.is_open = True

    async def can_read(self) -> bool:
        return False

    async def send_packed_command(self, *_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    async def disconnect(self, *, nowait: bool) -> None:
        self.is_open = False


@pytest.mark.parametrize("steps", range(8))
async def test_p26_a_connection_that_comes_about_while_the_link_is_closed_is_closed(steps: int) -> None:
    """Closed at every moment there is between the beginning of a connection and its first command."""
    made: list[Connection] = []
    may_connect = asyncio.Event()

    async def dial() -> Any:
        await may_connect.wait()
        made.append(Connection())
        return made[0]

    link = Link(dial, timeout=5.0, where="nowhere")
    call = asyncio.create_task(link.call("PING"))
    await asyncio.sleep(0.01)
    may_connect.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    await link.close()
    with pytest.raises(RedisStreamsError):
        await call
    assert not any(connection.is_open for connection in made)
    assert len(asyncio.all_tasks()) == 1

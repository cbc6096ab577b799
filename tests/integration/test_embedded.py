"""`embedded://`.

A real server that starts and stops with the broker, and keeps its data where it is told to (needs the extra).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from redis_streams_aio import Broker, ConfigError, RedisUnavailableError
from redis_streams_aio.testing.waiting import until
from tests.events import Order


async def test_an_embedded_server_lives_as_long_as_the_broker() -> None:
    got: list[int] = []
    broker = Broker("embedded://", group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        got.append(order.number)

    for number in range(2):
        async with broker:
            assert broker.connection.server.startswith("valkey")
            await broker.publish("orders", Order(number))
            await until(lambda n=number: n in got)
    assert got == [0, 1]


async def test_an_embedded_server_with_a_path_keeps_its_data(tmp_path: Path) -> None:
    url = f"embedded://{tmp_path}/data"
    async with Broker(url) as broker:
        entry_id = await broker.publish("orders", Order(1))
    async with Broker(url) as broker:
        assert await broker.connection.call("XLEN", "orders") == 1
        assert entry_id


async def test_two_servers_never_share_a_folder(tmp_path: Path) -> None:
    url = f"embedded://{tmp_path}/data"
    async with Broker(url) as broker:
        with pytest.raises(RedisUnavailableError, match="socket already in use"):
            async with Broker(url):
                pass
        await broker.publish("orders", Order(1))


async def test_a_path_that_is_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="characters, 88 are allowed"):
        async with Broker(f"embedded://{tmp_path}/{'x' * 100}"):
            pass


async def test_an_embedded_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="no folder can be made there: Not a directory"):
        async with Broker(f"embedded://{tmp_path}/file/data"):
            pass

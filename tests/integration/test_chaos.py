"""Chaos, for real and short: every kind of fault once, on a server, processes and wires of its own; and the faults that
the proxy has for it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from redis_streams_aio.testing.proxy import Proxy, proxy
from redis_streams_aio.testing.servers import DEFAULT, Server
from redis_streams_aio.testing.waiting import until
from tests.chaos import __main__ as program
from tests.chaos import history, verdict
from tests.chaos.schedule import KINDS_ON
from tests.chaos.workload import LINES

SEED = 4
MINUTES = 0.4


@pytest.mark.skipif(
    os.environ.get("RSA_TEST_SERVER", DEFAULT) != DEFAULT, reason="it starts Valkey 9.1, and is run with it"
)
@pytest.mark.timeout(240)
def test_p1_p2_p7_p16_p17_promises_hold_through_every_kind_of_fault(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    arguments = ["--seed", str(SEED), "--minutes", str(MINUTES), "--server", DEFAULT, "--out", str(folder)]
    code = program.main(arguments)
    records = history.read(folder)
    found = verdict.judge(records)
    assert code == 0, (folder / "report.txt").read_text()
    assert {record.name for record in records if record.what == "fault"} == set(KINDS_ON["one"])
    assert found.counts["acknowledged"] > 500, "something was going on"
    assert found.counts["given up"] > 0
    assert found.counts["taken away"] > 0
    assert {record.line for record in records if record.what == "handled"} == set(LINES)
    ET.parse(folder / "timeline.svg")


# -- the proxy ------------------------------------------------------------------------------------------------------


async def exchange(network: Proxy, seconds: float = 5.0) -> object:
    async with Redis.from_url(network.url, protocol=2, socket_timeout=seconds) as client:
        return await client.echo("hello" * 20)


@pytest.mark.parametrize("direction", ["requests", "replies"])
async def test_a_partition_holds_data_back_and_lets_them_pass_when_it_heals(server: Server, direction: str) -> None:
    async with proxy(server.port) as network, Redis.from_url(network.url, protocol=2) as client:
        await client.delete("came")
        network.partition(direction)  # type: ignore[arg-type]
        answer = asyncio.ensure_future(client.incr("came"))
        async with Redis.from_url(server.url, protocol=2) as direct:
            if direction == "replies":
                await until(lambda: direct.get("came"), what="the request has passed")
            await until(lambda: network.requests, what="it was sent")
            assert not answer.done()
            assert await direct.get("came") == (b"1" if direction == "replies" else None)
        await network.heal()
        assert await answer == 1


async def test_what_drips_arrives_whole(server: Server) -> None:
    async with proxy(server.port) as network:
        network.drip_slowly(7)
        assert await exchange(network) == b"hello" * 20
        await network.heal()
        assert network.drip == 0


async def test_a_server_that_is_away_is_not_silence(server: Server) -> None:
    async with proxy(1) as network:  # where nobody listens
        with pytest.raises(RedisConnectionError):
            await exchange(network)

"""A broker that an error has ended says so: in code, under `run`, and to the probes of an application that lives on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from redis_streams_aio import Broker, NotOpenError, RedisUnavailableError, Settings
from redis_streams_aio.consumer.settle.acknowledgements import Acknowledgements
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 30
ORDER = {"order_id": "o-1", "customer": "ada", "total": 42.0}


def broken(self: Acknowledgements) -> None:
    raise ZeroDivisionError("a bug")


def consumer(url: str) -> Broker:
    broker = Broker(url, group="g", settings=Settings(block_ms=100))

    @broker.handler("orders")
    async def handle(order: Order) -> None: ...

    return broker


async def enter_in_another_task(broker: Broker) -> None:
    """As frameworks do: nobody is there any more who could be cancelled when it ends."""
    await asyncio.create_task(broker.__aenter__())


async def test_p14_a_broker_that_an_error_ended_says_so_until_it_is_opened_again(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broker = consumer(url)
    assert broker.failed is None
    await enter_in_another_task(broker)
    assert (broker.failed, broker.ready) in [(None, True), (None, False)]
    with monkeypatch.context() as patch:
        patch.setattr(Acknowledgements, "depart", broken)
        await broker.publish("orders", Order(1))
        await until(lambda: broker.failed is not None)
    assert isinstance(broker.failed, ZeroDivisionError)
    assert not broker.ready
    for use in (
        lambda: broker.publish("orders", Order(2)),
        lambda: broker.publish_many("orders", [Order(2)]),
        broker.measure_lag,
    ):
        with pytest.raises(NotOpenError, match=r"ended by an error \(ZeroDivisionError: a bug\).*restart") as raised:
            await use()
        assert raised.value.__cause__ is broker.failed
    [record] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "the broker ended by an error" in record.getMessage()
    assert record.exc_info is not None

    async with broker:
        assert broker.failed is None
        await until(lambda: broker.ready)
        await broker.publish("orders", Order(3))
    assert broker.failed is None, "closed in order"
    with pytest.raises(NotOpenError, match="is not open: use") as closed:
        await broker.publish("orders", Order(4))
    assert closed.value.__cause__ is None


async def test_p14_the_error_is_known_after_the_broker_was_left(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = consumer(url)
    monkeypatch.setattr(Acknowledgements, "depart", broken)
    with pytest.raises(ZeroDivisionError) as raised:
        async with broker:
            await broker.publish("orders", Order(1))
            await asyncio.sleep(DEADLINE)
    assert broker.failed is raised.value
    with pytest.raises(NotOpenError, match="ended by an error"):
        await broker.publish("orders", Order(2))


async def test_p14_run_raises_what_ended_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = consumer(url)
    running = asyncio.create_task(broker.run())
    await until(lambda: broker.ready)
    monkeypatch.setattr(Acknowledgements, "depart", broken)
    await broker.publish("orders", Order(1))
    with pytest.raises(ZeroDivisionError):
        await running


async def test_p14_a_broker_that_user_code_cancels_says_so(url: str) -> None:
    """A handler that cancels all tasks it finds cancels the broker too; whoever runs it is told, and does not hang."""
    broker = Broker(url, group="g")

    @broker.handler("orders")
    async def handle(order: Order) -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "redis_streams_aio broker":
                task.cancel()

    running = asyncio.create_task(broker.run())
    await until(lambda: broker.ready)
    await broker.publish("orders", Order(1))
    with pytest.raises(RuntimeError, match="cancelled from outside"):
        await running
    assert isinstance(broker.failed, RuntimeError)


async def test_an_opening_that_fails_is_no_end(tmp_path: Path) -> None:
    broker = Broker(f"unix://{tmp_path}/none.sock", settings=Settings(connect_timeout=0.01))
    with pytest.raises(RedisUnavailableError):
        async with broker:
            pass
    assert broker.failed is None


# -- processes ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def process(*command: str, cwd: Path = ROOT, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    running = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")]), **environment},
        cwd=cwd,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.kill()
        await running.communicate()
        running._transport.close()  # type: ignore[attr-defined]  # else 3.11 warns when the loop is closed first


async def end_of(running: asyncio.subprocess.Process) -> tuple[int | None, str]:
    """Its exit code, and what it said; it has to end by itself, or by the signal that it was sent."""
    async with asyncio.timeout(DEADLINE):
        _, said = await running.communicate()
    return running.returncode, said.decode()


async def test_p14_the_command_line_ends_with_code_1(url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(f"""
from redis_streams_aio import Broker
from redis_streams_aio.consumer.settle.acknowledgements import Acknowledgements

broker = Broker({url!r}, group="g")

@broker.handler("orders")
async def bill(order: dict) -> None: ...

def broken(self): raise ZeroDivisionError("a bug")
""")
    async with process(sys.executable, "-m", "redis_streams_aio", "run", "shop:broker", cwd=tmp_path) as running:
        async with Broker(url) as broker:
            await broker.publish("orders", {"number": 1}, event_type="Order")
            await until(lambda: _handled(broker), DEADLINE)
        running.send_signal(signal.SIGTERM)
        code, said = await end_of(running)
    assert code == 0, said
    assert "orders/g: bill, one at a time, in order" in said
    assert "drained in " in said.splitlines()[-1]

    shop = (tmp_path / "shop.py").read_text()
    (tmp_path / "shop.py").write_text(f"{shop}\nAcknowledgements.depart = broken\n")
    async with process(sys.executable, "-m", "redis_streams_aio", "run", "shop:broker", cwd=tmp_path) as running:
        async with Broker(url) as broker:
            await broker.publish("orders", {"number": 2}, event_type="Order")
        code, said = await end_of(running)
    assert code == 1, said
    assert "CRITICAL redis_streams_aio: the broker ended by an error" in said
    assert "ZeroDivisionError: a bug" in said


async def _handled(broker: Broker) -> bool:
    groups = await broker.connection.call("XINFO", "GROUPS", "orders")
    assert isinstance(groups, list)
    return any(b"g" in group and group[group.index(b"entries-read") + 1] == 1 for group in groups)


@asynccontextmanager
async def serving(
    app: str, url: str, path: str = "/broker/livez"
) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.subprocess.Process]]:
    port = free_port()
    command = (sys.executable, "-m", "uvicorn", "--port", str(port), app)
    async with (
        process(*command, REDIS_STREAMS_REDIS_URL=url) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client,
    ):
        await until(lambda: _answers(client, path), DEADLINE)
        yield client, running


async def _answers(client: httpx.AsyncClient, path: str, code: int = 200) -> bool:
    try:
        return (await client.get(path)).status_code == code
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_p19_under_uvicorn_the_probes_tell_waiting_from_dead(new_server: Callable[..., Server]) -> None:
    """The FastAPI example, in a process of its own: Redis goes away and comes back; then a bug ends the broker."""
    server = new_server(appendonly=True)
    async with serving("tests.dying_app:app", server.url) as (client, running):
        await until(lambda: _answers(client, "/broker/readyz"), DEADLINE)
        assert (await client.get("/broker/readyz")).json() == {"ok": True, "reasons": [], "notes": []}

        server.stop()
        await until(lambda: _answers(client, "/broker/readyz", 503), DEADLINE)
        assert (await client.get("/broker/livez")).status_code == 200, "it waits for Redis, and comes back by itself"
        server.start()
        await until(lambda: _answers(client, "/broker/readyz"), DEADLINE)

        await client.post("/break")
        await client.post("/orders", json=ORDER)  # published, handled, and never acknowledged
        await until(lambda: _answers(client, "/broker/livez", 503), DEADLINE)
        assert "ZeroDivisionError: a bug" in (await client.get("/broker/livez")).json()["reasons"][0]
        assert (await client.get("/broker/readyz")).status_code == 503
        assert (await client.post("/orders", json=ORDER)).status_code == 500
        running.send_signal(signal.SIGTERM)
        code, said = await end_of(running)
    assert code in (0, -signal.SIGTERM), said
    assert "the broker ended by an error" in said
    assert "NotOpenError: the broker ended by an error (ZeroDivisionError: a bug) and is closed" in said


async def test_p16_under_uvicorn_connect_timeout_ends_a_start_without_redis(tmp_path: Path) -> None:
    """uvicorn looks at no signal while an application starts: only the start's own end ends the process."""
    (tmp_path / "shop.py").write_text("""
import os
from fastapi import FastAPI
from redis_streams_aio import Broker, Settings

broker = Broker(os.environ["REDIS_STREAMS_REDIS_URL"], settings=Settings(connect_timeout=2))
app = FastAPI(lifespan=broker.lifespan)
""")
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    command = (sys.executable, "-m", "uvicorn", "--app-dir", str(tmp_path), "--port", str(free_port()), "shop:app")
    async with process(*command, REDIS_STREAMS_REDIS_URL=nobody) as running:
        assert running.stderr is not None
        async with asyncio.timeout(DEADLINE):
            while b"Redis is not available" not in await running.stderr.readline():
                pass
        running.send_signal(signal.SIGTERM)
        code, said = await end_of(running)
    assert code not in (None, 0, -signal.SIGKILL), said
    assert "gave up after connect_timeout=2 s" in said

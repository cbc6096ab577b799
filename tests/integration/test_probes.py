"""Probes over HTTP: the ASGI application mounted in others, and `run --health-port` (P19, P20)."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.routing import Mount

from redis_streams_aio import Broker, ConfigError, Settings
from redis_streams_aio.integrations.asgi import ASGIApp, probes
from redis_streams_aio.integrations.http_server import parse, serving
from redis_streams_aio.monitoring import lag
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.integration.test_cli import started

FAST = Settings(block_ms=100, command_timeout=2, reclaim_interval=0.2)
DEADLINE = 30


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://probes")  # type: ignore[arg-type]


def consumer(url: str, stream: str = "orders") -> Broker:
    broker = Broker(url, group="g", settings=FAST)

    @broker.handler(stream)
    async def bill(order: Order) -> None: ...

    return broker


# -- the application ----------------------------------------------------------------------------------------------


async def test_p19_probes_tell_the_health_with_reasons_and_503(new_server: Callable[..., Server]) -> None:
    server = new_server()
    broker = consumer(server.url)
    async with client_of(probes(broker)) as client:
        closed = {"ok": False, "reasons": ["the broker is not open"], "notes": []}
        well = {"ok": True, "reasons": [], "notes": []}
        for path, status, body in (("/livez", 200, well), ("/readyz", 503, closed), ("/startedz", 503, closed)):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (status, body)
            assert answer.headers["content-type"] == "application/json"
            assert answer.headers["cache-control"] == "no-store"
        async with broker:
            for path in ("/livez", "/readyz", "/startedz"):
                answer = await client.get(path)
                assert (answer.status_code, answer.json()) == (200, well)
            server.stop()
            await until(lambda: not broker.ready, DEADLINE)
            answer = await client.get("/readyz")
            assert answer.status_code == 503
            assert answer.json()["reasons"][0].startswith("orders/g: its read ")
            assert (await client.get("/livez")).status_code == 200, "a restart does not end an outage"
            server.start()


@pytest.mark.parametrize("framework", ["fastapi", "starlette", "below"])
async def test_the_application_is_mounted_under_any_prefix(url: str, framework: str) -> None:
    broker = consumer(url, "shop/orders")
    app: FastAPI | Starlette
    if framework == "fastapi":
        app = FastAPI()
        app.mount("/broker", probes(broker))
    elif framework == "starlette":
        app = Starlette(routes=[Mount("/broker", app=probes(broker))])
    else:
        app = Starlette(routes=[Mount("/bro", routes=[Mount("/ker", app=probes(broker))])])
    prefix = "/bro/ker" if framework == "below" else "/broker"
    async with client_of(app) as client, broker:  # type: ignore[arg-type]
        assert (await client.get(f"{prefix}/readyz")).json()["ok"] is True
        assert (await client.get(f"{prefix}/scale/shop%2Forders/g")).json() == {"value": 0, "lag": 0, "pending": 0}
        assert (await client.get(f"{prefix}/nothing")).status_code == 404


async def test_only_questions_are_answered(url: str) -> None:
    async with client_of(probes(consumer(url))) as client:
        refused = await client.post("/livez")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
        head = await client.head("/livez")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len((await client.get("/livez")).content)
        for path in ("/", "/livez/more", "/scale", "/scale/orders", "/scale/a/b/c", "/metrics"):
            unknown = await client.get(path)
            assert unknown.status_code == 404
            assert unknown.json()["error"]


async def test_a_server_that_runs_it_alone_can_start_and_stop_it() -> None:
    messages, sent = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}], []

    async def send(message: object) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return messages.pop(0)

    await probes(Broker("memory://"))({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]


def test_probes_of_something_else_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"probes\('app'\): expected a Broker"):
        probes("app")  # type: ignore[arg-type]


# -- scaling ------------------------------------------------------------------------------------------------------


async def test_p20_the_scale_of_a_group_is_its_lag_and_what_is_pending(url: str, redis: Redis) -> None:
    """Also of a group that has no process."""
    broker = Broker(url)
    async with broker, client_of(probes(broker)) as client:
        for number in range(5):
            await broker.publish("orders", Order(number))
        await redis.xgroup_create("orders", "g", "0")
        await redis.xreadgroup("g", "c", {"orders": ">"}, count=2)
        answer = await client.get("/scale/orders/g")
        assert (answer.status_code, answer.json()) == (200, {"value": 5, "lag": 3, "pending": 2})


async def test_p20_a_scale_that_is_not_known_is_never_0(
    new_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = new_server()
    monkeypatch.setattr(lag, "COUNTED_AT_MOST", 3)
    broker = Broker(server.url, settings=FAST)
    async with client_of(probes(broker)) as client:
        closed = await client.get("/scale/orders/g")
        assert (closed.status_code, "not open" in closed.json()["error"]) == (503, True)
        async with broker, Redis.from_url(server.url, protocol=2) as redis:
            missing = await client.get("/scale/orders/g")
            assert (missing.status_code, missing.json()) == (
                404,
                {"error": "there is no group 'g' of a stream 'orders'"},
            )
            ids = [await broker.publish("orders", Order(number)) for number in range(6)]
            await redis.xgroup_create("orders", "g", ids[0])
            await redis.xdel("orders", ids[1])  # Redis does not know the lag any more
            unknown = await client.get("/scale/orders/g")
            assert unknown.status_code == 503
            assert "not known" in unknown.json()["error"]
            await redis.set("clicks", "no stream")
            assert (await client.get("/scale/clicks/g")).status_code == 503
            assert (await client.get("/scale/%00/g")).status_code == 503, "no name of a stream"
            server.stop()
            away = await client.get("/scale/orders/g")
            assert (away.status_code, list(away.json())) == (503, ["error"])
            server.start()


# -- the server of `run` ------------------------------------------------------------------------------------------


async def say(port: int, text: bytes, *, until_closed: bool = True) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        if not until_closed:
            writer.write_eof()
        async with asyncio.timeout(DEADLINE):
            return await reader.read()
    finally:
        writer.close()


async def test_the_server_answers_requests_and_refuses_what_is_none(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: object, receive: object, send: object) -> None:
        raise ZeroDivisionError

    async with serving(probes(Broker("memory://")), "127.0.0.1", 0) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            answers = await asyncio.gather(*(client.get("/livez?from=here") for _ in range(20)))
            assert {answer.status_code for answer in answers} == {200}
            assert (await client.head("/readyz")).status_code == 503
        for nonsense in (
            b"hello\r\n\r\n",
            b"GET livez HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nbroken\r\n\r\n",
            b"\xff" * 40_000,
        ):
            assert (await say(port, nonsense, until_closed=False)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert (await say(port, b"GET /liv", until_closed=False)).startswith(b"HTTP/1.1 400")
    async with serving(broken, "127.0.0.1", 0) as port:
        assert (await say(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert [record.getMessage() for record in caplog.records] == ["the probe / failed"]


async def test_p26_the_server_ends_with_connections_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = asyncio.all_tasks()
    async with serving(probes(Broker("memory://")), "127.0.0.1", 0) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: len(asyncio.all_tasks()) > len(before))
    await until(lambda: asyncio.all_tasks() == before)
    writer.close()
    monkeypatch.setattr("redis_streams_aio.integrations.http_server.PATIENCE", 0.05)
    async with serving(probes(Broker("memory://")), "127.0.0.1", 0) as port:
        assert await say(port, b"GET /") == b"", "it is not waited for"


def test_a_request_is_read() -> None:
    request = parse(b"GET /scale/a%2Fb/g?x=1 HTTP/1.1\r\nHost: here\r\nAccept:  text/plain \r\n\r\n")
    assert request.scope()["path"] == "/scale/a/b/g"
    assert request.scope()["raw_path"] == b"/scale/a%2Fb/g"
    assert request.headers == [(b"host", b"here"), (b"accept", b"text/plain")]


SHOP = """import os
import redis.asyncio
from redis_streams_aio import Broker, Settings

broker = Broker(os.environ["SHOP_URL"], group="billing", settings=Settings(block_ms=100))

@broker.handler("orders")
async def bill(order: dict) -> None:
    async with redis.asyncio.Redis.from_url(os.environ["SHOP_URL"]) as client:
        await client.set("started", "1")
        await client.blpop("go_on")
"""


async def test_p19_p27_run_serves_probes_until_it_has_drained(url: str, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    await redis.xadd("orders", {"event_type": "Order", "payload": "{}"})
    async with started("run", "shop:broker", "--health-port", "0", cwd=tmp_path, SHOP_URL=url) as running:
        await until(lambda: any("probes at" in line for line in running.err), DEADLINE)
        [base] = re.findall(r"probes at (http://127.0.0.1:\d+)", "\n".join(running.err))
        async with httpx.AsyncClient(base_url=base) as client:

            async def answers(path: str, status: int) -> bool:
                return (await client.get(path)).status_code == status

            await until(lambda: redis.get("started"), DEADLINE)
            await until(lambda: answers("/readyz", 200), DEADLINE)
            running.process.send_signal(signal.SIGTERM)
            await until(lambda: answers("/readyz", 503), DEADLINE)
            assert (await client.get("/readyz")).json()["reasons"] == ["draining"]
            assert await answers("/livez", 200)
            assert await answers("/startedz", 200)
            await redis.rpush("go_on", "1")
            assert await running.ended() == 0
        assert not any("Traceback" in line for line in running.err)


async def test_a_port_that_is_taken_is_one_line_and_1(url: str, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with started("run", "shop:broker", "--health-port", str(port), cwd=tmp_path, SHOP_URL=url) as running:
            assert await running.ended() == 1
    [line] = running.err
    assert line.startswith(f"Error: cannot serve probes on 127.0.0.1, port {port}: ")
    assert "in use" in line

"""What docs/kubernetes.md relies on, with real uvicorn processes: a pod that stops while events flow loses none."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import httpx
import yaml
from redis.asyncio import Redis

from redis_streams_aio import Broker, Settings
from redis_streams_aio.cli.commands.run import command as run_command
from redis_streams_aio.testing.waiting import until
from tests.integration.test_dead_broker import end_of, free_port, process

DOCS = Path(__file__).parent.parent.parent / "docs"
DEADLINE = 60
HELD = -1
"""The number of the event whose handler waits until the test lets it go."""

APP = """
import asyncio, os
from contextlib import asynccontextmanager
from fastapi import FastAPI
from redis.asyncio import Redis
from redis_streams_aio import Broker
from redis_streams_aio.integrations.asgi import probes
from redis_streams_aio.integrations.http_server import serving

broker = Broker(os.environ["REDIS_STREAMS_REDIS_URL"], group="billing")
me = os.environ["POD"]

@broker.handler("orders", concurrency=4, order="none")
async def bill(order: dict) -> None:
    async with Redis.from_url(os.environ["REDIS_STREAMS_REDIS_URL"]) as redis:
        if order["number"] == -1:
            await redis.set("held_by", me)
            while not await redis.get("go_on"):
                await asyncio.sleep(0.02)
        await redis.hincrby(f"handled:{order['number']}", me, 1)
        await redis.incr(f"count:{me}")

@asynccontextmanager
async def lifespan(app):
    async with serving(probes(broker), "127.0.0.1", int(os.environ["PROBES"])), broker.lifespan(app):
        yield

app = FastAPI(lifespan=lifespan)
app.mount("/broker", probes(broker))
"""


class Pod:
    """A uvicorn process, its web port and its port for probes."""

    def __init__(self, running: asyncio.subprocess.Process, name: str, port: int, probes: int) -> None:
        self.running = running
        self.name = name
        self._web = f"http://127.0.0.1:{port}/broker"
        self._probes = f"http://127.0.0.1:{probes}"

    async def probe(self, path: str) -> tuple[int, list[str]]:
        return await _asked(f"{self._probes}{path}")

    async def web(self, path: str) -> tuple[int, list[str]]:
        return await _asked(f"{self._web}{path}")

    async def is_ready(self) -> bool:
        return (await self.probe("/readyz"))[0] == 200


async def _asked(url: str) -> tuple[int, list[str]]:
    """The status and the reasons; 0 where nobody answers."""
    async with httpx.AsyncClient(timeout=DEADLINE) as client:
        try:
            answer = await client.get(url)
        except httpx.TransportError:
            return 0, []
    return answer.status_code, answer.json()["reasons"]


@asynccontextmanager
async def pod(folder: Path, url: str, name: str) -> AsyncIterator[Pod]:
    port, probes = free_port(), free_port()
    command = (sys.executable, "-m", "uvicorn", "--port", str(port), "--app-dir", str(folder), "pod:app")
    async with process(*command, REDIS_STREAMS_REDIS_URL=url, POD=name, PROBES=str(probes)) as running:
        one = Pod(running, name, port, probes)
        await until(one.is_ready, DEADLINE)
        yield one


async def test_p27_p19_a_pod_that_stops_while_events_flow_says_so_and_loses_none(
    url: str, redis: Redis, tmp_path: Path
) -> None:
    (tmp_path / "pod.py").write_text(APP)
    flows, published = True, 0
    async with pod(tmp_path, url, "one") as one, pod(tmp_path, url, "two") as two, Broker(url) as broker:

        async def publish() -> None:
            nonlocal published
            while flows:
                await broker.publish("orders", {"number": published}, event_type="Order")
                published += 1
                await asyncio.sleep(0.003)

        publishing = asyncio.create_task(publish())
        await until(lambda: redis.get("count:one"), DEADLINE)
        await until(lambda: redis.get("count:two"), DEADLINE)
        await broker.publish("orders", {"number": HELD}, event_type="Order")
        await until(lambda: redis.get("held_by"), DEADLINE)
        stopping, other = (one, two) if await redis.get("held_by") == "one" else (two, one)

        stopping.running.send_signal(signal.SIGTERM)
        await until(lambda: _draining(stopping), DEADLINE)
        assert await stopping.probe("/livez") == (200, [])
        assert await stopping.web("/readyz") == (0, []), "uvicorn has closed the port of the application"
        assert await other.is_ready()
        before = int(await redis.get(f"count:{other.name}") or 0)
        await until(lambda: _count_above(redis, other.name, before + 50), DEADLINE)
        await redis.set("go_on", "1")
        code, said = await end_of(stopping.running)
        assert code in (0, -signal.SIGTERM), said
        assert "drained in" in said or "Traceback" not in said

        flows = False
        await publishing
        await until(lambda: _all_handled(redis, published), DEADLINE)
        assert await other.is_ready()
    handled = {number: await redis.hgetall(f"handled:{number}") for number in range(HELD, published)}
    assert {number: sum(map(int, by.values())) for number, by in handled.items()} == dict.fromkeys(handled, 1), (
        "an orderly stop: each event once"
    )
    assert handled[HELD] == {stopping.name: "1"}
    assert (await redis.xpending("orders", "billing"))["pending"] == 0


async def _draining(stopping: Pod) -> bool:
    return await stopping.probe("/readyz") == (503, ["draining"])


async def _count_above(redis: Redis, name: str, count: int) -> bool:
    return int(await redis.get(f"count:{name}") or 0) > count


async def _all_handled(redis: Redis, published: int) -> bool:
    found = [await redis.get(f"count:{name}") for name in ("one", "two")]
    return sum(int(each or 0) for each in found) >= published + 1


# -- the files ----------------------------------------------------------------------------------------------------


def deployment() -> dict[str, object]:
    whole = yaml.safe_load((DOCS / "operations" / "deployment.yaml").read_text("utf-8"))
    return whole["spec"]["template"]["spec"]  # type: ignore[no-any-return]


def test_p27_the_deployment_gives_time_to_drain() -> None:
    period = deployment()["terminationGracePeriodSeconds"]
    assert isinstance(period, int)
    assert period >= Settings().grace + 5


def test_the_deployment_runs_a_command_that_there_is_and_asks_paths_that_there_are() -> None:
    [container] = deployment()["containers"]  # type: ignore[misc]
    program, name, place, *options = container["command"]
    assert (program, name, place) == ("redis-streams-aio", "run", "shop.events:broker")
    context = click.Context(run_command)
    run_command.parse_args(context, [place, *options])
    assert (context.params["health_port"], context.params["health_host"]) == (8080, "0.0.0.0")
    [port] = container["ports"]
    assert port["containerPort"] == 8080
    paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"/startedz", "/livez", "/readyz"}


def test_the_page_and_the_deployment_say_the_same() -> None:
    page = (DOCS / "kubernetes.md").read_text("utf-8")
    [shown] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    told, there = yaml.safe_load(shown), deployment()
    assert told["terminationGracePeriodSeconds"] == there["terminationGracePeriodSeconds"]
    [short], [whole] = told["containers"], there["containers"]  # type: ignore[misc]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        expected = {**whole[probe], "httpGet": {**whole[probe]["httpGet"], "port": 8080}}
        assert short[probe] == expected
    assert " ".join(short["command"]).replace("-port ", "-port=").replace("-host ", "-host=").replace(
        "-format ", "-format="
    ) == " ".join(whole["command"])

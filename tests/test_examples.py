"""The examples run as written: each as a process of its own against a real server, the web ones over real HTTP.

So does the README's thirty-second example; the Python blocks of the docs at least compile.
"""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, Delivery, RetryPolicy, Settings
from redis_streams_aio.testing.waiting import until

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DEADLINE = 60
ORDER = {"order_id": "o-1", "customer": "ada", "total": 42.0}


# -- scripts --------------------------------------------------------------------------------------------------


async def test_script(url: str, redis: Redis) -> None:
    said = await run(EXAMPLES / "script.py", url=url)
    billed = [line for line in said if line.startswith("billing: ") and "owes" in line]
    assert billed == [
        "billing: ada owes 42.00 for o-1",
        "billing: grace owes 7.50 for o-2",
        "billing: grace owes 12.25 for o-4",
    ]
    assert "billing: dead-lettered (rejected): nothing to bill" in said
    mailed = [line for line in said if line.startswith("mail: wrote")]
    for customer, orders in (("ada", ["o-1", "o-3"]), ("grace", ["o-2", "o-4"])):
        assert [line.rpartition(" ")[2] for line in mailed if f" {customer} " in line] == orders, "order per customer"
    assert sum("failed 1 times" in line for line in said) == 2
    assert said[-1] == "all settled"
    assert await redis.xlen("{orders}:billing:dead") == 1


async def test_plain_parts(url: str, redis: Redis) -> None:
    said = await run(EXAMPLES / "plain_parts.py", url=url)
    shown = [line for line in said if line.startswith("display: ")]
    celsius = [float(line.split()[2]) for line in shown]
    assert celsius == [21.5, 9.1, 9.2, 9.3, 9.4, 9.5, 9.6, 9.7, 9.8, 9.9, 10.0, 10.1], "all, once each, in order"
    assert "example:readings is long: 12 entries" in said
    assert "example:readings/display has fallen behind: 12 entries" in said
    assert "example:readings/display has caught up: 0 entries" in said
    assert any(line.startswith("group display: 0 pending") for line in said)
    assert said[-1] == "archive begins at its checkpoint: cellar 9.5 °C"
    left = [key for key in await redis.keys("*example*") if await redis.ttl(key) < 0]
    assert left == [], "it cleans up; that its groups were deleted is known for a while"


async def test_correlation(url: str, redis: Redis) -> None:
    said = await run(EXAMPLES / "correlation.py", url=url)
    assert said == [
        "[req-7f3] request: o-1 placed",
        "[req-7f3] bill 1: the tax office is not there",
        "[req-7f3] bill 2: o-1 billed",
        "[req-7f3] send 1: invoice for o-1 sent",
    ]
    for stream in ("orders", "{orders}:invoices"):
        [(_, entry)] = await redis.xrange(stream)
        assert entry["h:correlation_id"] == "req-7f3"


async def test_follow_ups(url: str, redis: Redis) -> None:
    said = await run(EXAMPLES / "follow_ups.py", url=url)
    assert [line for line in said if line.startswith("billing: ")] == [
        "billing: o-1 billed",
        "billing: o-2 failed",
        "billing: o-2 billed",
        "billing: dropped a duplicate",
    ]
    assert [line for line in said if line.startswith("post: ")] == [
        "post: ada owes 42.00 for o-1",
        "post: grace owes 7.50 for o-2",
    ]
    assert len(said) == 6
    assert await redis.xlen("{orders}:invoices") == 2
    assert await redis.xlen("orders") == 3


async def test_batches(url: str, redis: Redis) -> None:
    said = await run(EXAMPLES / "batches.py", url=url)
    assert said[-2:] == ["10 dead letters: no page", "990 clicks on 7 pages"]
    batches = [line.split() for line in said if line.startswith("a batch of ")]
    assert sum(int(words[4]) for words in batches) == 990
    assert 1 < max(int(words[3].rstrip(":")) for words in batches) <= 500
    assert await redis.xlen("{clicks}:warehouse:dead") == 10


async def test_batch_import(url: str, redis: Redis) -> None:
    said = await run(EXAMPLES / "batch_import.py", url=url)
    assert said[0].startswith("published 6099 flights in ")
    assert any(line.startswith("handled 6099 flights in ") for line in said)
    assert "B6: 1107 flights, 23% more than 15 minutes late" in said
    assert await redis.xlen("flights") == 6099


async def test_batch_import_names_the_line_that_is_wrong(url: str, tmp_path: Path) -> None:
    good = '{"scheduled":"2013-01-01T05:15:00-05:00","carrier":"UA","flight":1,"tail":null,"departure_delay":2}'
    file = tmp_path / "flights.jsonl"
    file.write_text(f"{good}\n{good.replace('1,', chr(34) + 'one' + chr(34) + ',', 1)}\n")
    process = await start(sys.executable, str(EXAMPLES / "batch_import.py"), str(file), url=url)
    _, errors = await ended(process)
    assert process.returncode == 1
    assert f"{file}:2: Expected `int`, got `str` - at `$.flight`" in errors.decode()


async def test_tests_of_handlers(url: str) -> None:
    """In the checkout by the command of its docstring, with no more plugins than the extra `testing` brings."""
    page = (EXAMPLES / "test_orders.py").read_text(encoding="utf-8")
    [command] = re.findall(r"^pytest (.*)$", page, re.MULTILINE)
    others = ["-p", "no:timeout", "-p", "no:xdist", "-p", "no:hypothesispytest", "-p", "no:anyio"]
    process = await start(sys.executable, "-m", "pytest", *others, *shlex.split(command), url=url)
    said, errors = await ended(process)
    assert process.returncode == 0, (said + errors).decode()
    assert re.search(rb"^=+ 5 passed in ", said, re.MULTILINE)


# -- web applications -----------------------------------------------------------------------------------------


async def test_fastapi_app(url: str, redis: Redis) -> None:
    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "--port", str(port), "fastapi_app:app"]

    async with serving(command, "/billed", url=url) as client:
        await check_orders(client, redis)
        wrong = await client.post("/orders", json={**ORDER, "total": "much"})
        assert wrong.status_code == 422
        assert (await client.get("/lag")).json() == {"orders/billing": 0}


async def test_aiohttp_app(url: str, redis: Redis) -> None:
    def command(port: int) -> list[str]:
        return [sys.executable, str(EXAMPLES / "aiohttp_app.py"), str(port)]

    async with serving(command, "/billed", url=url) as client:
        await check_orders(client, redis)
        wrong = await client.post("/orders", json={**ORDER, "total": "much"})
        assert wrong.status_code == 400
        assert wrong.text == "Expected `float`, got `str` - at `$.total`"


async def check_orders(client: httpx.AsyncClient, redis: Redis) -> None:
    """Orders that are posted are published, handled, and shown."""
    assert (await client.get("/billed")).json() == {}
    answers = [await client.post("/orders", json={**ORDER, "order_id": f"o-{number}"}) for number in (1, 2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["entry_id"] for answer in answers] == [
        entry_id for entry_id, _ in await redis.xrange("orders")
    ]

    async def billed() -> bool:
        return (await client.get("/billed")).json() == {"ada": 84.0}

    await until(billed, DEADLINE)
    await until(lambda: nothing_is_pending(redis), DEADLINE)


async def nothing_is_pending(redis: Redis) -> bool:
    return (await redis.xpending("orders", "billing"))["pending"] == 0


# -- README and docs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["a server", "as written"])
async def test_the_thirty_second_example_of_the_readme(url: str, tmp_path: Path, where: str) -> None:
    [example] = [block for block in blocks(ROOT / "README.md") if "async with broker" in block]
    assert '"embedded://"' in example
    script = tmp_path / "thirty_seconds.py"
    script.write_text(example if where == "as written" else example.replace("embedded://", url))
    assert await run(script, url=url) == ["ada owes 42.0 for o-1"]


async def test_the_readmes_test_passes_with_the_readmes_handlers(url: str, tmp_path: Path) -> None:
    """A stub among them said no for ever, and the test told that nothing was settled."""
    pages = blocks(ROOT / "README.md")
    [handlers] = [block for block in pages if "async def mail_server_is_up" in block]
    [tests] = [block for block in pages if "from shop import" in block]
    (tmp_path / "shop.py").write_text(handlers)
    (tmp_path / "test_shop.py").write_text(tests)
    quiet = ["-o", "asyncio_default_fixture_loop_scope=function"]  # pytest-asyncio warns, and warnings are errors here
    process = await start(sys.executable, "-m", "pytest", "-q", *quiet, "test_shop.py", url=url, cwd=tmp_path)
    said, errors = await ended(process)
    assert process.returncode == 0, (said + errors).decode()
    assert b"1 passed" in said


async def test_the_quick_start(url: str, redis: Redis, tmp_path: Path) -> None:
    """Its last handler, run and published to with the commands that it shows."""
    page = ROOT / "docs" / "quickstart.md"
    shop = [block for block in blocks(page) if "@broker.handler" in block][-1]
    (tmp_path / "shop.py").write_text(shop.replace("redis://localhost:6379/0", url).replace("base=4", "base=0.05"))
    publishing = re.findall(r"^\.venv/bin/redis-streams-aio publish (.*)$", page.read_text(), re.MULTILINE)
    command = [sys.executable, "-m", "redis_streams_aio"]
    service = await start(*command, "run", "shop:broker", url=url, cwd=tmp_path)
    try:
        for options in publishing:
            process = await start(*command, "publish", *shlex.split(options), url=url)
            said, errors = await ended(process)
            assert process.returncode == 0, errors.decode()
            assert re.fullmatch(rb"\d+-\d+\n", said)
        await until(lambda: nothing_is_left(redis, len(publishing)), DEADLINE)
        service.send_signal(signal.SIGINT)
    finally:
        said, log = await ended(service)
    assert service.returncode == 0, log.decode()
    assert said.decode().splitlines() == ["billing: ada owes 42.0", "billing: eve owes 3.0"]
    assert log.decode().count("retry in ") == 2
    dead = [letter for _, letter in await redis.xrange("{orders}:billing:dead")]
    assert [(letter["dead:reason"], letter["dead:failures"]) for letter in dead] == [
        ("failures", "3"),
        ("undecodable", "0"),
    ]


async def nothing_is_left(redis: Redis, count: int) -> bool:
    groups = await redis.xinfo_groups("orders") if await redis.exists("orders") else []
    return [(group["entries-read"], group["pending"]) for group in groups] == [(count, 0)]


async def test_the_permissions_that_the_docs_name_are_enough(url: str, redis: Redis) -> None:
    [rules] = re.findall(r"^ACL SETUSER app (.*)$", (ROOT / "docs" / "connections.md").read_text(), re.MULTILINE)
    await redis.execute_command("ACL", "SETUSER", "app", "reset", *rules.split())
    await redis.execute_command("ACL", "LOG", "RESET")
    settings = Settings(dead_letter_maxlen=10, dead_letter_retention=3600, consumer_expiry=0.1)
    broker = Broker(url.replace("redis://", "redis://app:secret@"), group="billing", settings=settings)
    handled: list[int] = []

    @broker.handler("orders", start="$", retry=RetryPolicy(max_failures=2, base=0.01), deduplicate=60)
    async def handle(order: dict[str, int], delivery: Delivery) -> None:
        handled.append(order["number"])
        delivery.publish("{orders}:invoices", order, event_type="Invoice")
        if order["number"] == 2:
            raise ValueError("no")

    try:
        async with broker:
            for number in (1, 2, 3, 3):
                await broker.publish("orders", {"number": number}, event_type="Order", key="k", event_id=f"e{number}")
            await until(lambda: handled == [1, 2, 2, 3])
            await until(lambda: nothing_is_pending(redis))
            await until(lambda: redis.exists("{orders}:billing:checkpoint"))
            assert [report.behind for report in await broker.measure_lag()] == [0]
            await redis.xgroup_createconsumer("orders", "billing", "gone")
            await until(lambda: consumers_but_released(redis, 1))
        assert await redis.xlen("{orders}:billing:dead") == 1
        assert await redis.xlen("{orders}:invoices") == 2
        assert await consumers_but_released(redis, 0), "it took its own name out"
        refused = {(line["object"], line["context"]) for line in await redis.acl_log()}
        not_needed = {("client|setinfo", "toplevel"), ("info", "toplevel")}
        assert refused <= not_needed, "the library asks to be named, and what a crash would lose, and goes on without"
    finally:
        await redis.execute_command("ACL", "DELUSER", "app")


async def consumers_but_released(redis: Redis, count: int) -> bool:
    names = {consumer["name"] for consumer in await redis.xinfo_consumers("orders", "billing")}
    return len(names - {"redis_streams_aio:released"}) == count


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_python_in_the_docs_compiles(page: Path) -> None:
    for block in blocks(page):
        compile(block, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def blocks(page: Path) -> list[str]:
    """The Python code blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_there_are_pages_with_python() -> None:
    assert len([page for page in DOCS if blocks(page)]) >= 4


# -- processes ------------------------------------------------------------------------------------------------


def tells(log: list[str], number: int) -> bool:
    """Whether a traceback belongs to the line of a handler's first failure, or to one that caused that error."""
    before = log[number - 1] if number else ""
    return "retry in " in before or "dead letter" in before or "exception" in log[number - 2]


async def run(script: Path, *arguments: str, url: str) -> list[str]:
    """Run a script to its end; the lines that it printed. It must end well, and warn of nothing."""
    process = await start(sys.executable, str(script), *arguments, url=url)
    said, errors = await ended(process)
    assert process.returncode == 0, errors.decode()
    log = errors.decode().splitlines()
    unexpected = [number for number, line in enumerate(log) if line.startswith("Traceback") and not tells(log, number)]
    assert unexpected == [], errors.decode()
    return said.decode().splitlines()


async def start(*command: str, url: str, cwd: Path = ROOT) -> asyncio.subprocess.Process:
    environment = {**os.environ, "REDIS_STREAMS_REDIS_URL": url, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    return await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """Wait for the end of a process; what it wrote. Kills it when it does not end."""
    try:
        async with asyncio.timeout(DEADLINE):
            return await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process._transport.close()  # else 3.11 warns when the loop is closed first


@asynccontextmanager
async def serving(command: Callable[[int], list[str]], path: str, *, url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A web application on a free loopback port, and a client of it; at the end it must obey SIGTERM."""
    port = free_port()
    process = await start(*command(port), url=url)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE) as client:
            await until(lambda: answers(client, path, process), DEADLINE)
            yield client
        process.send_signal(signal.SIGTERM)
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        _, errors = await ended(process)
        error.add_note(errors.decode())
        raise
    _, errors = await ended(process)
    assert process.returncode in (0, -signal.SIGTERM), errors.decode()
    assert "Traceback" not in errors.decode()


async def answers(client: httpx.AsyncClient, path: str, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, "the application ended"
    try:
        return (await client.get(path)).status_code == 200
    except httpx.TransportError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""The command line: each command as a process of its own, and its finer points within this one."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click.testing
import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, RetryPolicy, __version__
from redis_streams_aio.testing.waiting import until
from tests.events import Order

ROOT = Path(__file__).parent.parent.parent


class Process:
    """A running command line, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._reading = asyncio.gather(self._read(process.stdout, self.out), self._read(process.stderr, self.err))

    async def _read(self, source: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert source is not None
        async for line in source:
            lines.append(line.decode().rstrip("\n"))  # noqa: PERF401  # to be seen as they come

    async def ended(self, seconds: float = 20) -> int:
        async with asyncio.timeout(seconds):
            await self._reading
            return await self.process.wait()

    def write(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())


@asynccontextmanager
async def started(
    *arguments: str, cwd: Path = ROOT, stdin: int = asyncio.subprocess.PIPE, **environment: str
) -> AsyncIterator[Process]:
    """A command line that runs; killed at the end if it still does."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-W", "error", "-m", "redis_streams_aio", *arguments),
        stdin=stdin,
        stdout=pipe,
        stderr=pipe,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    running = Process(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ended()
        process._transport.close()  # type: ignore[attr-defined]  # else 3.11 warns when the loop is closed first


async def process(*arguments: str, stdin: str = "", cwd: Path = ROOT, **environment: str) -> Process:
    """A command line that has come to its end."""
    async with started(*arguments, cwd=cwd, **environment) as running:
        assert running.process.stdin is not None
        running.write(stdin)
        running.process.stdin.close()
        await running.ended()
    return running


async def invoke(*arguments: str, stdin: str | bytes = "", **environment: str) -> click.testing.Result:
    """A command line within this process, in a thread: this event loop goes on."""
    from redis_streams_aio.cli.app import app

    return await asyncio.to_thread(click.testing.CliRunner(env=environment).invoke, app, arguments, input=stdin)


def is_one_error_line(text: str) -> bool:
    return text.startswith("Error: ") and text.endswith("\n") and text.count("\n") == 1


# -- publish ----------------------------------------------------------------------------------------------------


async def test_publish_writes_one_event_and_prints_its_id(url: str, redis: Redis) -> None:
    done = await process(
        *("publish", "orders", '{"number": 1, "total": 1.10}', "--type", "Order", "--key", "ada", "--event-id", "e-1"),
        *("--header", "trace=a=b", "--header", "x=", "--url", url),
    )
    assert (await done.ended(), done.err) == (0, [])
    [(entry_id, fields)] = await redis.xrange("orders")
    assert done.out == [entry_id]
    assert list(fields.items()) == [
        ("event_type", "Order"),
        ("payload", '{"number":1,"total":1.10}'),
        ("key", "ada"),
        ("event_id", "e-1"),
        ("h:trace", "a=b"),
        ("h:x", ""),
    ]


async def test_what_was_published_is_what_a_handler_gets(url: str) -> None:
    broker = Broker(url, group="billing")
    got: list[Order] = []

    @broker.handler("orders")
    async def bill(order: Order) -> None:
        got.append(order)

    async with broker:
        await invoke("publish", "orders", "-", "--type", "Order", "--url", url, stdin='{"number": 7}\n')
        await until(lambda: got == [Order(7)])


async def test_publish_keeps_numbers_as_they_were_written(url: str, redis: Redis) -> None:
    number = "123456789012345678901234567890.10"
    await invoke("publish", "orders", number, "--type", "Sum", "--url", url)
    [(_, fields)] = await redis.xrange("orders")
    assert fields["payload"] == number


async def test_lines_are_published_as_they_come(url: str, redis: Redis) -> None:
    async with started("publish", "orders", "--lines", "--type", "Order", "--header", "a=b", "--url", url) as running:
        running.write('{"number": 1}\n{"number": 2}\n{"num')
        await until(lambda: len(running.out) == 2)
        running.write('ber": 3}\n\n{"number": 4}')
        await until(lambda: len(running.out) == 3)
        assert running.process.stdin is not None
        running.process.stdin.close()
        assert (await running.ended(), running.err) == (0, [])
    entries = await redis.xrange("orders")
    assert running.out == [entry_id for entry_id, _ in entries]
    assert [json.loads(fields["payload"])["number"] for _, fields in entries] == [1, 2, 3, 4]
    assert {fields["h:a"] for _, fields in entries} == {"b"}


async def test_many_lines_of_a_file_are_published_in_their_order(url: str, redis: Redis, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f'{{"number": {number}}}\n' for number in range(20_000)))
    with file.open() as source:
        async with started(
            "publish", "orders", "--lines", "--type", "T", "--url", url, stdin=source.fileno()
        ) as running:
            assert (await running.ended(), running.err) == (0, [])
    entries = await redis.xrange("orders")
    assert running.out == [entry_id for entry_id, _ in entries]
    assert [json.loads(fields["payload"])["number"] for _, fields in entries] == list(range(20_000))


async def test_a_line_that_is_no_json_ends_it_after_those_before(url: str, redis: Redis) -> None:
    result = await invoke("publish", "orders", "--lines", "--type", "Order", "--url", url, stdin="1\n\n2\nnope\n3\n")
    assert result.exit_code == 1
    assert is_one_error_line(result.stderr)
    assert "line 4 is not valid JSON" in result.stderr
    entries = await redis.xrange("orders")
    assert [fields["payload"] for _, fields in entries] == ["1", "2"]
    assert result.stdout.split() == [entry_id for entry_id, _ in entries]


async def test_a_signal_ends_the_wait_for_lines(url: str) -> None:
    async with started("publish", "orders", "--lines", "--type", "Order", "--url", url) as running:
        running.write("1\n")
        await until(lambda: running.out)
        running.process.send_signal(signal.SIGINT)
        assert (await running.ended(), running.err) == (130, [])


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["orders", "{}"], "--type"),
        (["orders", "--type", "Order"], "either JSON"),
        (["orders", "{}", "--lines", "--type", "Order"], "either JSON"),
        (["orders", "--lines", "--type", "Order", "--key", "k"], "--key"),
        (["orders", "--lines", "--type", "Order", "--event-id", "e"], "--event-id"),
        (["orders", "{}", "--type", "Order", "--header", "nope"], "NAME=VALUE"),
        (["or ders", "{}", "--type", "Order"], "white space"),
    ],
)
async def test_publish_used_wrongly_ends_with_2(arguments: list[str], problem: str) -> None:
    result = await invoke("publish", *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr


@pytest.mark.parametrize("text", ["{", "nope", b"\xff", "", '{"a": 1} 2', "[" * 5_000])
async def test_what_is_no_json_is_refused(url: str, redis: Redis, text: str | bytes) -> None:
    result = await invoke("publish", "orders", "-", "--type", "Order", "--url", url, stdin=text)
    assert result.exit_code == 1
    assert is_one_error_line(result.stderr)
    assert await redis.exists("orders") == 0


# -- tail -------------------------------------------------------------------------------------------------------


async def test_tail_shows_the_last_events_and_then_those_that_come(url: str, redis: Redis) -> None:
    for number in (1, 2, 3):
        await redis.xadd("orders", {"event_type": "Order", "payload": f'{{"number": {number}}}', "key": "ada"})
    async with started("tail", "orders", "--last", "2", "--url", url) as running:
        await until(lambda: len(running.out) == 2)
        new = await redis.xadd("orders", {"event_type": "Order", "payload": "4"})
        await until(lambda: len(running.out) == 3)
        running.process.send_signal(signal.SIGINT)
        assert (await running.ended(), running.err) == (130, [])
    assert [line.split("  ")[2:] for line in running.out] == [
        ["Order", "ada", '{"number": 2}'],
        ["Order", "ada", '{"number": 3}'],
        ["Order", "-", "4"],
    ]
    assert running.out[2].split("  ")[1] == new
    assert await redis.xinfo_groups("orders") == []


async def test_tail_of_none_waits_for_what_comes(url: str, redis: Redis) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": "1"})
    async with started("tail", "orders", "--last", "0", "--url", url) as running:

        async def shown_once_more_is_published() -> bool:
            await redis.xadd("orders", {"event_type": "Order", "payload": "2"})
            return bool(running.out)

        await until(shown_once_more_is_published)
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 130
    assert {line.split("  ")[4] for line in running.out} == {"2"}


async def test_tail_waits_for_a_stream_that_is_not_there_yet(url: str, redis: Redis) -> None:
    async with started("tail", "orders", "--json", "--url", url) as running:
        await until(lambda: running.err)
        entry_id = await redis.xadd("orders", {"event_type": "Order", "payload": "1"})
        await until(lambda: running.out)
    assert running.err == ["stream 'orders' is empty or does not exist yet"]
    assert json.loads(running.out[0])["id"] == entry_id


ENTRIES: dict[str, tuple[dict[bytes, bytes], str, dict[str, object]]] = {
    "json": (
        {b"event_type": b"Order", b"payload": b'{"a":\n 1.10}', b"key": b"k", b"event_id": b"e", b"h:x": b"y"},
        'Order  k  {"a":  1.10}',
        {"event_type": "Order", "key": "k", "event_id": "e", "headers": {"x": "y"}, "payload": {"a": 1.1}},
    ),
    "MessagePack": (
        {b"event_type": b"Order", b"payload": b"\x81\xa1a\x01", b"content_type": b"application/msgpack"},
        'Order  -  {"a":1}',
        {"event_type": "Order", "content_type": "application/msgpack", "payload": {"a": 1}},
    ),
    "bytes": (
        {b"event_type": b"Order", b"payload": b"\xff\x00", b"content_type": b"application/octet-stream"},
        r"Order  -  b'\xff\x00'",
        {"event_type": "Order", "content_type": "application/octet-stream", "payload_base64": "/wA="},
    ),
    "no JSON": (
        {b"event_type": b"Order", b"payload": b"plain"},
        "Order  -  b'plain'",
        {"event_type": "Order", "payload_base64": "cGxhaW4="},
    ),
    "foreign": (
        {b"order_id": b"1", b"key": b"its own", b"\xff": b"x" * 300},
        "-  -  order_id=1  key=its own  \N{REPLACEMENT CHARACTER}=" + "x" * 200 + "...",
        {"fields": {"order_id": "1", "key": "its own", "\N{REPLACEMENT CHARACTER}": "x" * 300}},
    ),
    "dead letter": (
        {b"event_type": b"Order", b"payload": b"1", b"dead:reason": b"rejected"},
        "Order  -  1  dead:reason=rejected",
        {"event_type": "Order", "payload": 1, "fields": {"dead:reason": "rejected"}},
    ),
    "terminal codes": (
        {b"event_type": b"\x1b[31mOrder", b"payload": b'"\xc2\x9b"'},
        r"""\x1b[31mOrder  -  "\x9b" """.strip(),
        {"event_type": "\x1b[31mOrder", "payload": "\x9b"},
    ),
}


@pytest.mark.parametrize("kind", ENTRIES)
async def test_tail_shows_any_entry(url: str, redis: Redis, kind: str) -> None:
    fields, for_people, for_machines = ENTRIES[kind]
    await redis.xadd("orders", fields, id="1700000000123-0")
    shown = await invoke("tail", "orders", "--no-follow", "--url", url)
    assert shown.stdout.split("  ", 1)[1] == f"1700000000123-0  {for_people}\n"
    shown = await invoke("tail", "orders", "--no-follow", "--json", "--url", url)
    assert json.loads(shown.stdout) == {
        "id": "1700000000123-0",
        "time": "2023-11-14T22:13:20.123000Z",
        **for_machines,
    }


async def test_tail_shows_entries_whose_ids_are_no_times(url: str, redis: Redis) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": "1"}, id="99999999999999999-1")
    shown = await invoke("tail", "orders", "--no-follow", "--url", url)
    assert shown.stdout == "-  99999999999999999-1  Order  -  1\n"


async def test_tail_of_a_key_that_is_no_stream_says_so(url: str, redis: Redis) -> None:
    await redis.set("orders", "text")
    result = await invoke("tail", "orders", "--url", url)
    assert (result.exit_code, result.stderr) == (1, "Error: 'orders' is not a stream: the key holds something else\n")


# -- groups -----------------------------------------------------------------------------------------------------


async def test_groups_shows_a_table(url: str, redis: Redis) -> None:
    await redis.xadd("orders", {"event_type": "Order", "payload": "1"}, id="1-1")
    await redis.xadd("orders", {"event_type": "Order", "payload": "2"}, id="2-1")
    await redis.xgroup_create("orders", "billing", "0")
    await redis.xreadgroup("billing", "host-1", {"orders": ">"}, count=1)
    await redis.xgroup_create("clicks", "load", "0", mkstream=True)
    done = await process("groups", "orders", "clicks", "--url", url)
    assert (await done.ended(), done.err) == (0, [])
    heads, _, *rows = done.out
    assert heads.split("  ")[0] == "stream"
    cells = [row.split() for row in rows]
    assert [row[:5] for row in cells] == [["orders", "billing", "1", "1", "1"], ["clicks", "load", "0", "0", "0"]]
    assert [row[-1] for row in cells] == ["1-1", "0-0"]
    assert cells[1][5] == "-"


async def test_a_lag_that_nobody_knows_is_shown_as_unknown(url: str, redis: Redis) -> None:
    async with redis.pipeline() as pipeline:
        for number in range(1, 1_202):
            pipeline.xadd("orders", {"event_type": "Order", "payload": "1"}, id=f"{number}-1")
        await pipeline.execute()
    await redis.xdel("orders", "600-1")
    await redis.xgroup_create("orders", "billing", "100-1")
    shown = await invoke("groups", "orders", "--url", url)
    assert shown.stdout.splitlines()[-1].split()[:5] == ["orders", "billing", "0", "0", "?"]
    shown = await invoke("groups", "orders", "--json", "--url", url)
    row = json.loads(shown.stdout)
    assert row.pop("oldest_age") > 0
    assert row == {
        "stream": "orders",
        "group": "billing",
        "consumers": 0,
        "pending": 0,
        "lag": None,
        "dead_letters": 0,
        "paused": None,
        "last_delivered_id": "100-1",
    }


async def test_streams_without_groups_are_named(url: str, redis: Redis) -> None:
    await redis.xadd("orders", {"a": "1"})
    result = await invoke("groups", "orders", "--url", url)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "stream 'orders' has no groups\n")


@pytest.mark.parametrize("command", [["groups", "orders"], ["pending", "orders", "billing"]])
async def test_a_stream_that_is_not_there_is_an_error(url: str, command: list[str]) -> None:
    result = await invoke(*command, "--url", url)
    assert (result.exit_code, result.stderr) == (1, "Error: there is no stream 'orders'\n")


# -- pending ----------------------------------------------------------------------------------------------------


async def test_pending_shows_what_failed_and_when_it_is_tried_again(url: str, redis: Redis) -> None:
    broker = Broker(url, group="billing")

    @broker.handler("orders", concurrency=2, retry=RetryPolicy(base=3600, cap=3600, jitter=False))
    async def bill(order: Order) -> None:
        if order.number == 2:
            raise ValueError("no such\ncustomer")
        await asyncio.Event().wait()

    async with broker:
        ids = await broker.publish_many("orders", [Order(1), Order(2)])
        await until(lambda: redis.exists("{orders}:billing:failures"))
        done = await process("pending", "orders", "billing", "--url", url)
        shown = await invoke("pending", "orders", "billing", "--json", "--url", url)
        await broker.connection.call("XACK", "orders", "billing", ids[0])
    assert (await done.ended(), done.err) == (0, [])
    assert done.out[0].strip() == "orders / billing: 2 shown of 2 pending"
    assert done.out[3].split()[0] == ids[0]
    assert done.out[4].split()[0] == ids[1]
    assert done.out[4].rstrip().endswith("ValueError: no such customer")
    first, second = map(json.loads, shown.stdout.splitlines())
    assert (first["failures"], first["due"], first["error"]) == (0, None, None)
    assert (second["id"], second["failures"], second["deliveries"]) == (ids[1], 1, 1)
    assert second["error"] == "ValueError: no such customer"
    assert second["due"] > second["first_failure"]
    assert second["consumer"] == first["consumer"]


async def test_pending_can_be_limited(url: str, redis: Redis) -> None:
    ids = [await redis.xadd("orders", {"a": "1"}) for _ in range(5)]
    await redis.xgroup_create("orders", "billing", "0")
    await redis.xreadgroup("billing", "host-1", {"orders": ">"}, count=3)
    await redis.xreadgroup("billing", "host-2", {"orders": ">"})
    limited = await invoke("pending", "orders", "billing", "--count", "2", "--url", url)
    assert "2 shown of 5 pending" in limited.stdout
    assert [line.split()[0] for line in limited.stdout.splitlines()[3:]] == ids[:2]
    of_one = await invoke("pending", "orders", "billing", "--consumer", "host-2", "--json", "--url", url)
    assert [json.loads(line)["id"] for line in of_one.stdout.splitlines()] == ids[3:]
    of_none = await invoke("pending", "orders", "billing", "--consumer", "host-3", "--json", "--url", url)
    assert (of_none.exit_code, of_none.stdout) == (0, "")


async def test_a_group_that_is_not_there_is_an_error(url: str, redis: Redis) -> None:
    await redis.xadd("orders", {"a": "1"})
    result = await invoke("pending", "orders", "billing", "--url", url)
    assert (result.exit_code, result.stderr) == (1, "Error: stream 'orders' has no group 'billing'\n")


# -- run --------------------------------------------------------------------------------------------------------

SHOP = """
import asyncio, os
from redis.asyncio import Redis
from redis_streams_aio import Broker

url = os.environ["SHOP_URL"]

class Shop:
    broker = Broker(url, group="billing")

@Shop.broker.handler("orders")
async def bill(order: dict) -> None:
    async with Redis.from_url(url) as redis:
        await redis.set("started", "1")
        await redis.blpop("go_on", timeout=20)
        await redis.set("finished", "1")
"""


async def test_run_drains_the_broker_at_sigterm(url: str, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    await redis.xadd("orders", {"event_type": "Order", "payload": "{}"})
    async with started("run", "shop:Shop.broker", cwd=tmp_path, SHOP_URL=url) as running:
        await until(lambda: redis.get("started"), 20)
        running.process.send_signal(signal.SIGTERM)
        await until(lambda: any("SIGTERM: stopping" in line for line in running.err))
        await redis.rpush("go_on", "1")
        assert await running.ended() == 0
    assert await redis.get("finished") == "1"
    assert (await redis.xpending("orders", "billing"))["pending"] == 0
    assert not any("Traceback" in line for line in running.err)


async def test_run_logs_at_the_level_asked_for(url: str, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    await redis.xadd("orders", {"event_type": "Order", "payload": "{}"})
    await redis.rpush("go_on", "1")
    async with started("run", "shop:Shop.broker", "--log-level", "error", cwd=tmp_path, SHOP_URL=url) as running:
        await until(lambda: redis.get("finished"), 20)
        running.process.send_signal(signal.SIGINT)
        assert (await running.ended(), running.err) == (0, [])


async def test_run_logs_json_for_machines(url: str, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    await redis.xadd("orders", {"event_type": "Order", "payload": "{}"})
    await redis.rpush("go_on", "1")
    async with started("run", "shop:Shop.broker", "--log-format", "json", cwd=tmp_path, SHOP_URL=url) as running:
        await until(lambda: redis.get("finished"), 20)
        running.process.send_signal(signal.SIGINT)
        assert await running.ended() == 0
    lines = [json.loads(line) for line in running.err]
    [subscribed] = [line for line in lines if line.get("fact") == "Subscribed"]
    assert (subscribed["stream"], subscribed["group"], subscribed["handlers"]) == ("orders", "billing", ["bill"])
    assert (lines[-1]["fact"], lines[-1]["level"]) == ("Drained", "INFO")


NO_ASYNC = """from redis_streams_aio import Broker
broker = Broker("redis://localhost", group="billing")

@broker.handler("orders")
def bill(order: dict) -> None: ...
"""
WRONG_MODULES = {
    "has no async.py": (NO_ASYNC, "line 4: handler bill: is a function without 'async'"),
    "imports nothing.py": ("import not_installed\n", "ModuleNotFoundError: No module named 'not_installed'"),
    "raises.py": ("try:\n    {}['key']\nexcept KeyError as error:\n    raise RuntimeError('told to') from error\n",
                  "RuntimeError: told to"),
    "is no python.py": ("def f(:", "SyntaxError"),
    "lacks it.py": ("", "has no 'broker'"),
    "has another.py": ("from redis_streams_aio import Broker\nshop = Broker('redis://h')", "did you mean module:shop?"),
    "is none.py": ("broker = dict()", "is a dict, not a Broker"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG_MODULES)
async def test_run_tells_what_is_wrong_with_a_module(tmp_path: Path, kind: str) -> None:
    source, problem = WRONG_MODULES[kind]
    (tmp_path / "module.py").write_text(source)
    done = await process("run", "module:broker", cwd=tmp_path)
    assert await done.ended() == 1
    assert done.err[0].startswith("Error: module")
    assert problem in done.err[0]
    assert not any("importlib" in line or "redis_streams_aio/cli" in line for line in done.err)


async def test_run_shows_the_cause_of_an_import_error(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(WRONG_MODULES["raises.py"][0])
    done = await process("run", "module:broker", cwd=tmp_path)
    assert "KeyError: 'key'" in done.err
    assert any("module.py" in line and "line 4" in line for line in done.err)


async def test_run_of_a_module_that_is_not_there_says_where_it_was_looked_for(tmp_path: Path) -> None:
    done = await process("run", "shop.events:broker", cwd=tmp_path)
    assert (await done.ended(), done.err) == (
        1,
        [f"Error: there is no module 'shop', neither in {tmp_path} nor installed"],
    )


@pytest.mark.parametrize("place", ["shop", "shop:", ":broker"])
async def test_run_used_wrongly_ends_with_2(place: str) -> None:
    result = await invoke("run", place)
    assert result.exit_code == 2
    assert "module:broker" in result.stderr


# -- where Redis is, and errors ---------------------------------------------------------------------------------

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.mark.parametrize(
    "command",
    [["tail", "orders"], ["groups", "orders"], ["pending", "orders", "g"], ["publish", "orders", "1", "--type", "T"]],
)
async def test_redis_that_is_down_is_one_line_and_1(tmp_path: Path, command: list[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("redis_streams:\n  connect_timeout: 0.2\n")
    done = await process(*command, "--config", str(config), "--url", NOWHERE)
    assert await done.ended() == 1
    assert is_one_error_line("\n".join(done.err) + "\n")
    assert "127.0.0.1:1" in done.err[0]
    assert done.out == []


async def test_without_a_config_it_gives_up_after_some_seconds() -> None:
    done = await process("groups", "orders", "--url", NOWHERE)
    assert await done.ended() == 1
    assert is_one_error_line("\n".join(done.err) + "\n")


async def test_the_url_comes_from_the_option_the_environment_or_the_file(
    url: str, redis: Redis, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    await redis.xadd("orders", {"a": "1"})
    config.write_text(f"redis_streams:\n  redis_url: {url}\n")
    in_file = await invoke("groups", "orders", "--config", str(config))
    config.write_text(f"redis_streams:\n  redis_url: {NOWHERE}\n  connect_timeout: 0.2\n")
    in_environment = await invoke("groups", "orders", "--config", str(config), REDIS_STREAMS_REDIS_URL=url)
    option = await invoke("groups", "orders", "--config", str(config), "--url", url, REDIS_STREAMS_REDIS_URL=NOWHERE)
    assert [in_file.exit_code, in_environment.exit_code, option.exit_code] == [0, 0, 0]
    assert (await invoke("groups", "orders", "--config", str(config))).exit_code == 1


async def test_the_settings_of_the_file_hold(url: str, redis: Redis, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("redis_streams:\n  max_payload_bytes: 10\n")
    result = await invoke(
        "publish", "orders", '"too long by far"', "--type", "T", "--config", str(config), "--url", url
    )
    assert result.exit_code == 1
    assert "max_payload_bytes" in result.stderr
    assert is_one_error_line(result.stderr)
    assert await redis.exists("orders") == 0


@pytest.mark.parametrize("text", ["redis_streams:\n  cuont: 1\n", "nope", "redis_streams: ["])
async def test_a_wrong_file_is_one_line_and_1(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    result = await invoke("groups", "orders", "--config", str(config))
    assert result.exit_code == 1
    assert is_one_error_line(result.stderr)


@pytest.mark.parametrize("missing", ["click", "rich"])
async def test_without_the_extra_it_says_what_to_install(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = ['groups', 'orders']; "
    program += "from redis_streams_aio.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), stderr=asyncio.subprocess.PIPE, cwd=ROOT
    )
    _, err = await process.communicate()
    process._transport.close()  # type: ignore[attr-defined]  # else 3.11 warns when the loop is closed first
    assert process.returncode == 1
    assert err.decode() == ("Error: the command line needs the extra 'cli': pip install 'redis-streams-aio[cli]'\n")


async def test_it_has_a_version_and_help() -> None:
    assert (await process("--version")).out == [f"redis-streams-aio, version {__version__}"]
    shown = await invoke("--help")
    assert all(name in shown.stdout for name in ("demo", "run", "publish", "tail", "groups", "pending"))
    assert (await invoke("nope")).exit_code == 2


def test_the_entry_point_is_there_where_the_package_is_installed() -> None:
    declared = (ROOT / "pyproject.toml").read_text()
    assert 'redis-streams-aio = "redis_streams_aio.cli:main"' in declared
    for point in importlib.metadata.entry_points(group="console_scripts", name="redis-streams-aio"):
        assert point.value == "redis_streams_aio.cli:main"

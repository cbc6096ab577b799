"""The command line's `dead-letters`: list, show, replay and purge, and what it says when it cannot (P12)."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import re
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from redis.asyncio import Redis
from rich.console import Console

from redis_streams_aio import Broker, DeadLetters, RetryPolicy, Settings
from redis_streams_aio.cli.dead_letters.access import Place
from redis_streams_aio.cli.dead_letters.rows import LetterRow, letter_table
from redis_streams_aio.cli.show import console
from redis_streams_aio.connection.steps.replaying import REPLAY
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.integration.test_cli import ROOT, Process, invoke, is_one_error_line, process

DEAD = "{orders}:billing:dead"
OF = ("orders", "billing")
COMMANDS = [["ls", *OF], ["show", *OF, "1-1"], ["replay", *OF, "--all", "--yes"], ["purge", *OF, "--all", "--yes"]]


async def dead_letters(*arguments: str, url: str, **environment: str) -> list[str]:
    """What a command says that ends well; of an act, its first line (a dry run has commands after it)."""
    acts = arguments[0] in ("replay", "purge")
    result = await invoke("dead-letters", *arguments, "--url", url, **environment)
    assert (result.exit_code, result.stderr if not acts else "") == (0, "")
    said = [line.rstrip() for line in result.stdout.splitlines()]
    return said[:1] if acts else said


async def written(redis: Redis, entry_id: str = "*", *, key: str = DEAD, **became: object) -> str:
    """A dead letter, written by hand."""
    whole = {"reason": "failures", "error": "ValueError: no", "traceback": "Traceback\n  File", "failures": 2}
    whole |= {"deliveries": 1, "first_failure": "1700000000.500", "replays": 0, "stream": "orders"}
    whole |= {"group": "billing", "consumer": "host-1", "id": "1699999999999-0"} | became
    event = {"event_type": "Order", "payload": '{"number":1}'}
    return str(await redis.xadd(key, event | {f"dead:{name}": str(value) for name, value in whole.items()}, entry_id))


@pytest.fixture
async def group(redis: Redis) -> None:
    """The group that the letters are of."""
    await redis.xgroup_create("orders", "billing", "0", mkstream=True)


async def ids(redis: Redis, key: str = DEAD) -> list[str]:
    return [entry_id for entry_id, _ in await redis.xrange(key)]


# -- ls ---------------------------------------------------------------------------------------------------------


async def test_ls_shows_a_table_the_oldest_first(url: str, redis: Redis) -> None:
    first = await written(redis, "1700000000123-0")
    second = await written(redis, reason="rejected", error="nothing to bill", failures=0, id="1699999999999-7")
    title, heads, _, *rows = (await process("dead-letters", "ls", *OF, "--url", url)).out
    assert title.strip() == "orders / billing: 2 shown of 2 dead letters"
    assert heads.split("  ")[0] == "id"
    assert heads.split() == ["id", "when", "event", "type", "reason", "failures", "error", "original", "id"]
    when = datetime.fromtimestamp(1700000000, UTC).astimezone().isoformat(" ")[:19]
    assert re.split(" {2,}", rows[0]) == [first, when, "Order", "failures", "2", "ValueError: no", "1699999999999-0"]
    cells = re.split(" {2,}", rows[1])
    assert (cells[0], cells[2:]) == (second, ["Order", "rejected", "0", "nothing to bill", "1699999999999-7"])


async def test_ls_can_be_limited_and_says_how_many_there_are(url: str, redis: Redis) -> None:
    made = [await written(redis) for _ in range(5)]
    title, _, _, *rows = await dead_letters("ls", *OF, "--count", "2", url=url)
    assert title == "orders / billing: 2 shown of 5 dead letters"
    assert [row.split()[0] for row in rows] == made[:2]


async def listed(*arguments: str, url: str, **environment: str) -> list[str]:
    """The ids of the letters that `ls` shows."""
    lines = await dead_letters("ls", *OF, "--json", *arguments, url=url, **environment)
    return [json.loads(line)["id"] for line in lines]


async def test_ls_by_reason(url: str, redis: Redis) -> None:
    made = [await written(redis, reason=reason) for reason in ("failures", "rejected", "failures")]
    assert await listed("--reason", "failures", url=url) == [made[0], made[2]]
    assert await listed("--reason", "unhandled", url=url) == []
    title, *_ = await dead_letters("ls", *OF, "--reason", "rejected", url=url)
    assert title == "orders / billing: 1 shown of 3 dead letters"


async def test_ls_by_time(url: str, redis: Redis) -> None:
    """1700000000 is 2023-11-14T22:13:20 UTC."""
    early, late = await written(redis, "1700000000000-0"), await written(redis, "1700000001000-0")
    assert await listed("--since", "2023-11-14T22:13:21Z", url=url) == [late]
    assert await listed("--until", "2023-11-14T22:13:20Z", url=url) == [early]
    assert await listed("--until", "2023-11-14T22:13:20+00:00", "--since", "2023-11-14", url=url) == [early]
    assert await listed("--since", "2023-11-15T03:43:21+05:30", url=url) == [late]
    assert await listed("--since", "2023-11-14T22:13:22Z", url=url) == []


async def test_times_without_a_zone_are_local(url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = await written(redis, "1700000000000-0"), await written(redis, "1700000001000-0")
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert await listed("--since", "2023-11-15T03:43:21", url=url) == [late]
        assert await listed("--until", "2023-11-15 03:43:20", url=url) == [early]
        _, _, _, row, _ = await dead_letters("ls", *OF, url=url)
        assert row.split()[1:3] == ["2023-11-15", "03:43:20"]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("age", "found"), [("90min", 1), ("1.5h", 1), ("5400 s", 1), ("3h", 2), ("1d", 2), ("1w", 3), ("7d", 3)]
)
async def test_times_may_be_ages(url: str, redis: Redis, age: str, found: int) -> None:
    now = int(time.time())
    made = [await written(redis, f"{now - hours * 3600}000-0") for hours in (48, 2, 1)]
    assert await listed("--since", age, url=url) == made[-found:]
    assert await listed("--until", age, url=url) == made[:-found]


@pytest.mark.parametrize("wrong", ["soon", "2", "5 m", "-2h", "2h ago", "2026-13-01", "12:00", "", "9" * 400 + "d"])
@pytest.mark.parametrize("option", ["--since", "--until"])
async def test_other_times_are_wrong_usage(option: str, wrong: str) -> None:
    result = await invoke("dead-letters", "ls", *OF, option, wrong)
    assert result.exit_code == 2
    assert "neither a time such as" in result.stderr


@pytest.mark.parametrize("command", [["ls", *OF], ["replay", *OF], ["purge", *OF, "--yes"]])
async def test_an_end_before_the_beginning_is_wrong_usage(command: list[str]) -> None:
    result = await invoke("dead-letters", *command, "--since", "1h", "--until", "2h")
    assert result.exit_code == 2
    assert "--since is later than --until" in result.stderr


async def test_ls_as_json_has_all_but_payload_and_traceback(url: str, redis: Redis) -> None:
    letter_id = await written(redis, "1700000000123-0", replays=3)
    [line] = await dead_letters("ls", *OF, "--json", url=url)
    assert json.loads(line) == {
        "id": letter_id,
        "time": "2023-11-14T22:13:20.123000Z",
        "event_type": "Order",
        "reason": "failures",
        "failures": 2,
        "error": "ValueError: no",
        "entry_id": "1699999999999-0",
        "deliveries": 1,
        "first_failure": "2023-11-14T22:13:20.500000Z",
        "replays": 3,
        "stream": "orders",
        "group": "billing",
        "consumer": "host-1",
        "key": None,
        "event_id": None,
        "fingerprint": "75170e54",
    }


async def test_ls_of_none(url: str, group: None) -> None:
    title, *_ = await dead_letters("ls", *OF, url=url)
    assert title == "orders / billing: 0 shown of 0 dead letters"
    assert await dead_letters("ls", *OF, "--json", url=url) == []


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_the_table_fits_the_terminal_and_never_cuts_an_id(width: int) -> None:
    row = LetterRow(
        id="1700000000123-0",
        time=datetime(2026, 1, 31, tzinfo=UTC),
        event_type="OrderPlaced",
        reason="undecodable",
        failures=12,
        error="ValueError: " + "too long " * 30,
        entry_id="1699999999999-0",
        deliveries=1,
        first_failure=None,
        replays=0,
        stream="orders",
        group="billing",
        consumer="host-1",
        key=None,
        event_id=None,
        fingerprint="75170e54",
    )
    screen = Console(width=width, force_terminal=True, color_system=None, file=io.StringIO())
    place = Place("orders", "billing", None)
    screen.print(letter_table([row], 1, place, screen))
    lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 4, "one line for each letter"
    assert max(map(len, lines)) <= width
    assert row.id in lines[-1]
    assert "Value" in lines[-1]
    assert "\N{HORIZONTAL ELLIPSIS}" in lines[-1], "cut"
    assert (row.entry_id in lines[-1]) == (width >= 120)


async def test_in_a_pipe_nothing_is_cut(url: str, redis: Redis) -> None:
    assert not console().is_terminal
    await written(redis, error="ValueError: " + "long " * 150 + "end")
    lines = await dead_letters("ls", *OF, url=url, COLUMNS="60")
    assert lines[-1].endswith("end  1699999999999-0")


# -- show -------------------------------------------------------------------------------------------------------


async def test_show_tells_everything_the_traceback_last(url: str, redis: Redis) -> None:
    broker = Broker(url, group="billing")

    @broker.handler("orders", retry=RetryPolicy(max_failures=2, base=0.001))
    async def bill(order: Order) -> None:
        raise ValueError("no such customer")

    async with broker:
        entry_id = await broker.publish("orders", Order(1), key="ada", event_id="e-1", headers={"trace": "t"})
        await until(lambda: redis.exists(DEAD))
    [letter_id] = await ids(redis)
    done = await process("dead-letters", "show", *OF, letter_id, "--url", url)
    assert (await done.ended(), done.err) == (0, [])
    facts = dict(line.split("  ", 1) for line in done.out[: done.out.index("")])
    facts = {name: value.strip() for name, value in facts.items()}
    assert facts.pop("when") > "20"
    assert facts.pop("first failure") > "20"
    assert facts.pop("consumer")
    assert len(facts.pop("fingerprint")) == 8
    assert facts == {
        "id": letter_id,
        "reason": "failures",
        "error": "ValueError: no such customer",
        "failures": "2",
        "deliveries": "1",
        "replays": "0",
        "stream": "orders",
        "group": "billing",
        "original id": entry_id,
        "event type": "Order",
        "key": "ada",
        "event id": "e-1",
        "header trace": "t",
    }
    rest = done.out[done.out.index("") :]
    assert rest[:8] == [
        "",
        "payload:",
        "  {",
        '    "number": 1,',
        '    "customer": "ada",',
        '    "total": 1.0',
        "  }",
        "",
    ]
    assert rest[8:10] == ["traceback:", "  Traceback (most recent call last):"]
    assert rest[-1] == "  ValueError: no such customer"


PAYLOADS: dict[str, tuple[dict[str | bytes, str | bytes], list[str], dict[str, object]]] = {
    "JSON as it was written": (
        {"event_type": "E", "payload": '{"a":[1.10,{}]}'},
        ["{", '  "a": [', "    1.10,", "    {}", "  ]", "}"],
        {"payload": {"a": [1.1, {}]}},
    ),
    "MessagePack": (
        {"event_type": "E", "payload": b"\x81\xa1a\x01", "content_type": "application/msgpack"},
        ["{", '  "a": 1', "}"],
        {"payload": {"a": 1}, "content_type": "application/msgpack"},
    ),
    "bytes": (
        {"event_type": "E", "payload": b"\xff\x00\n", "content_type": "application/octet-stream"},
        [r"b'\xff\x00\n'"],
        {"payload_base64": "/wAK", "content_type": "application/octet-stream"},
    ),
    "no JSON": ({"event_type": "E", "payload": "{"}, ["b'{'"], {"payload_base64": "ew=="}),
    "deep": (
        {"event_type": "E", "payload": "[" * 3_000},
        ["b'" + "[" * 3_000 + "'"],
        {"payload_base64": "W1tb" * 1_000},
    ),
    "fields of another writer": ({"weight": "2.5", b"\xff": "x"}, [], {"fields": {"weight": "2.5", "\ufffd": "x"}}),
}


@pytest.mark.parametrize("kind", PAYLOADS)
async def test_show_has_any_payload(url: str, redis: Redis, kind: str) -> None:
    fields, lines, parts = PAYLOADS[kind]
    became = {"dead:reason": "undecodable", "dead:stream": "orders", "dead:group": "billing", "dead:id": "5-1"}
    letter_id = await redis.xadd(DEAD, {**fields, **became}, "1700000000123-0")
    shown = await dead_letters("show", *OF, letter_id, url=url)
    assert "traceback:" not in shown, "there is none"
    at = shown.index("payload:") + 1 if lines else len(shown)
    assert shown[at:] == [f"  {line}" for line in lines]
    if "fields" in parts:
        assert "field weight   2.5" in shown
    [line] = await dead_letters("show", *OF, letter_id, "--json", url=url)
    record = json.loads(line)
    assert {name: record.get(name) for name in parts} == parts
    assert (record["id"], record["entry_id"], record["reason"]) == (letter_id, "5-1", "undecodable")


async def test_show_as_json_is_what_ls_has_and_the_event_and_the_traceback(url: str, redis: Redis) -> None:
    letter_id = await written(redis)
    await redis.xadd(DEAD, {"other": "1"})
    of_ls = json.loads((await dead_letters("ls", *OF, "--json", url=url))[0])
    [line] = await dead_letters("show", *OF, letter_id, "--json", url=url)
    assert json.loads(line) == {**of_ls, "payload": {"number": 1}, "traceback": "Traceback\n  File"}


async def test_show_of_one_that_is_not_there(url: str, redis: Redis) -> None:
    await written(redis)
    result = await invoke("dead-letters", "show", *OF, "5-1", "--url", url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: '{DEAD}' has no dead letter '5-1' of 'billing'\n"


# -- replay -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def three_given_up(url: str) -> AsyncIterator[tuple[list[str], list[int]]]:
    """A broker that gave three events up, and now handles them: ids of the dead letters, and what it handles."""
    broker = Broker(url, group="billing", settings=Settings(reclaim_interval=0.03))
    handled: list[int] = []
    mended = False

    @broker.handler("orders", retry=RetryPolicy(max_failures=1))
    async def bill(order: Order) -> None:
        if not mended:
            raise ValueError("no")
        handled.append(order.number)

    async with broker:
        found = DeadLetters(broker.connection, *OF)
        await broker.publish_many("orders", [Order(number) for number in range(3)])
        await until(lambda: broker.status[0].settled == 3)
        mended = True
        yield [letter.id for letter in await found.list()], handled


async def test_replay_says_what_it_did(url: str, redis: Redis) -> None:
    async with three_given_up(url) as (_, handled):
        [(entry_id, _), *_] = await redis.xrange("orders")
        await redis.xdel("orders", entry_id)
        done = await process("dead-letters", "replay", *OF, "--all", "--yes", "--by", "ada", "--url", url)
        assert await done.ended() == 0
        assert done.err == [f"ada: dead-letters replay orders/billing: {done.out[0]}"]
        assert done.out == ["3 replayed (2 in place, 1 as a copy)"]
        await until(lambda: sorted(handled) == [0, 1, 2])
    assert await ids(redis) == []


async def test_replay_of_some(url: str, redis: Redis) -> None:
    async with three_given_up(url) as ((first, second, third), handled):
        assert await dead_letters("replay", *OF, second, "--yes", url=url) == ["1 replayed (1 in place)"]
        await until(lambda: handled == [1])
        assert await dead_letters("replay", *OF, "--reason", "rejected", "--yes", url=url) == ["0 replayed"]
        assert await dead_letters("replay", *OF, "--until", "1h", "--yes", url=url) == ["0 replayed"]
        assert await ids(redis) == [first, third]
        await redis.delete("orders")
        await redis.xgroup_create("orders", "billing", "0", mkstream=True)
        assert await dead_letters("replay", *OF, first, third, "--yes", url=url) == ["2 replayed (2 as copies)"]
        await until(lambda: handled == [1, 0, 2])


async def test_replay_by_filter(url: str, redis: Redis) -> None:
    async with three_given_up(url) as (_, handled):
        said = await dead_letters("replay", *OF, "--since", "1h", "--reason", "failures", "--yes", url=url)
        assert said == ["3 replayed (3 in place)"]
        await until(lambda: handled == [0, 1, 2])


async def test_replay_dry_run_does_nothing(url: str, redis: Redis) -> None:
    async with three_given_up(url) as (made, handled):
        said = await dead_letters("replay", *OF, "--all", "--dry-run", url=url)
        assert said == ["3 would be replayed (3 in place)"]
        assert await ids(redis) == made
    assert handled == []


async def test_p34_a_dry_run_prints_the_commands_that_would_replay(url: str, redis: Redis) -> None:
    """Whoever sends them, has replayed."""
    async with three_given_up(url) as (_, handled):
        result = await invoke("dead-letters", "replay", *OF, "--all", "--dry-run", "--json", "--url", url)
        record = json.loads(result.stdout)
        assert (record["count"], record["dry_run"]) == (3, True)
        await redis.script_load(REPLAY.source)
        for line in record["commands"]:
            assert await redis.execute_command(*shlex.split(line)) == "in place"
        await until(lambda: sorted(handled) == [0, 1, 2])
    assert await ids(redis) == []


async def test_p34_replay_asks_and_leaves_later_ones(url: str, redis: Redis, group: None) -> None:
    made = [await written(redis) for _ in range(2)]
    result = await invoke("dead-letters", "replay", *OF, "--all", "--url", url)
    assert result.exit_code == 2
    await redis.config_resetstat()
    async with at_a_terminal("replay", *OF, "--all", "--url", url) as (running, write):
        await until(lambda: asked(redis, 1))
        late = await written(redis)
        write("y\n")
        assert await running.ended() == 0
    assert running.out == ["2 replayed (2 as copies)"]
    assert "Replay 2 dead letters of orders / billing? [y/N]:" in " ".join(running.err)
    assert await ids(redis) == [late]
    assert late not in made


async def test_replay_at_a_rate(url: str, redis: Redis) -> None:
    async with three_given_up(url) as (_, handled):
        began = time.monotonic()
        assert await dead_letters("replay", *OF, "--all", "--rate", "20", "--yes", url=url) == [
            "3 replayed (3 in place)"
        ]
        assert time.monotonic() - began >= 2 / 20
        await until(lambda: handled == [0, 1, 2])


async def test_replay_tells_of_those_that_others_took(url: str, redis: Redis) -> None:
    async with three_given_up(url) as (made, handled):
        replaying = asyncio.create_task(dead_letters("replay", *OF, "--all", "--rate", "3", "--yes", url=url))
        await until(lambda: handled == [0])
        await redis.xdel(DEAD, made[2])
        [said] = await replaying
        assert said == "2 replayed (2 in place); 1 gone before: replayed or purged by somebody else"


async def test_replay_for_a_group_that_is_gone_leaves_the_letters(url: str, redis: Redis, group: None) -> None:
    letter_id = await written(redis)
    await redis.xgroup_destroy(*OF)
    result = await invoke("dead-letters", "replay", *OF, "--all", "--yes", "--url", url)
    assert (result.exit_code, result.stderr) == (1, "Error: stream 'orders' has no group 'billing'\n")
    await redis.delete("orders")
    result = await invoke("dead-letters", "replay", *OF, letter_id, "--yes", "--url", url)
    assert (result.exit_code, result.stderr) == (1, "Error: there is no stream 'orders'\n")
    assert await ids(redis) == [letter_id]


@pytest.mark.parametrize("rate", ["0", "-1", "fast"])
async def test_a_rate_that_cannot_be_is_wrong_usage(rate: str) -> None:
    result = await invoke("dead-letters", "replay", *OF, "--all", "--rate", rate)
    assert result.exit_code == 2
    assert "--rate" in result.stderr


# -- purge ------------------------------------------------------------------------------------------------------


async def test_purge_of_some_and_of_all(url: str, redis: Redis, group: None) -> None:
    reasons = ("failures", "rejected", "failures", "failures", "failures")
    made = [await written(redis, reason=reason) for reason in reasons]
    assert await dead_letters("purge", *OF, made[0], made[4], "--dry-run", url=url) == ["2 would be purged"]
    assert await dead_letters("purge", *OF, "--all", "--dry-run", url=url) == ["5 would be purged"]
    whole = await invoke("dead-letters", "purge", *OF, made[0], made[4], "--dry-run", "--url", url)
    assert whole.stdout.splitlines()[-1] == f"  XDEL {DEAD} {made[0]} {made[4]}"
    assert await dead_letters("purge", *OF, made[0], made[4], "--yes", url=url) == ["2 purged"]
    assert await dead_letters("purge", *OF, "--reason", "rejected", "--yes", url=url) == ["1 purged"]
    assert await dead_letters("purge", *OF, "--until", "1h", "--yes", url=url) == ["0 purged"]
    assert await ids(redis) == made[2:4]
    assert await dead_letters("purge", *OF, "--all", "--yes", url=url) == ["2 purged"]
    assert await ids(redis) == []
    assert await dead_letters("purge", *OF, "--all", "--yes", url=url) == ["0 purged"]


async def test_purge_without_a_terminal_wants_a_yes(url: str, redis: Redis) -> None:
    made = [await written(redis)]
    result = await invoke("dead-letters", "purge", *OF, "--all", "--url", url, stdin="y\n")
    assert result.exit_code == 2
    assert "add --yes" in result.stderr
    assert await ids(redis) == made


@asynccontextmanager
async def at_a_terminal(*arguments: str) -> AsyncIterator[tuple[Process, Callable[[str], object]]]:
    """A command whose input is a terminal, and what types on it. Its output is not."""
    terminal, its_end = pty.openpty()
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-W", "error", "-m", "redis_streams_aio", "dead-letters", *arguments)
    started = await asyncio.create_subprocess_exec(*command, stdin=its_end, stdout=pipe, stderr=pipe, cwd=ROOT)
    os.close(its_end)
    running = Process(started)
    try:
        yield running, lambda text: os.write(terminal, text.encode())
    finally:
        if started.returncode is None:
            started.kill()
        await running.ended()
        started._transport.close()  # type: ignore[attr-defined]  # else 3.11 warns when the loop is closed first
        os.close(terminal)


@pytest.mark.parametrize("answer", ["y", "n", ""])
async def test_purge_asks_on_a_terminal(url: str, redis: Redis, answer: str) -> None:
    made = [await written(redis) for _ in range(3)]
    async with at_a_terminal("purge", *OF, "--all", "--url", url) as (running, write):
        write(f"{answer}\n")
        code = await running.ended()
    assert "Permanently delete 3 dead letters of orders / billing? [y/N]:" in " ".join(running.err)
    if answer == "y":
        assert (code, running.out) == (0, ["3 purged"])
        assert await ids(redis) == []
    else:
        assert (code, running.out) == (1, [])
        assert running.err[-1].endswith("nothing was changed")
        assert await ids(redis) == made


async def test_purge_asks_for_one_by_its_id(url: str, redis: Redis) -> None:
    made = [await written(redis) for _ in range(2)]
    async with at_a_terminal("purge", *OF, made[1], "--url", url) as (running, write):
        write("y\n")
        assert await running.ended() == 0
    assert "Permanently delete 1 dead letter of orders / billing" in " ".join(running.err)
    assert await ids(redis) == made[:1]


async def test_purge_deletes_no_more_than_it_asked_about(url: str, redis: Redis) -> None:
    await redis.config_resetstat()
    for index in range(230):
        await written(redis, reason="rejected" if index % 2 else "failures")
    async with at_a_terminal("purge", *OF, "--reason", "rejected", "--url", url) as (running, write):
        await until(lambda: asked(redis))
        late = await written(redis, reason="rejected")
        write("y\n")
        assert (await running.ended(), running.out) == (0, ["115 purged"])
    assert late in await ids(redis)
    assert await redis.xlen(DEAD) == 116


async def asked(redis: Redis, pages: int = 3) -> bool:
    """Whether the command has counted what there is, and closed its connections: it waits for the answer."""
    calls = (await redis.info("commandstats")).get("cmdstat_xrange", {"calls": 0})["calls"]
    return int(calls) >= pages and len(await redis.client_list()) == 1


async def test_purge_asks_nothing_where_there_is_nothing(url: str, group: None) -> None:
    async with at_a_terminal("purge", *OF, "--all", "--url", url) as (running, _):
        assert (await running.ended(), running.out, running.err) == (0, ["0 purged"], [])


async def test_ctrl_c_at_the_question_deletes_nothing(url: str, redis: Redis) -> None:
    made = [await written(redis)]
    async with at_a_terminal("purge", *OF, "--all", "--url", url) as (running, write):
        write("\x04")  # end of input; a Ctrl-C needs a terminal of one's own
        assert (await running.ended(), running.out) == (130, [])
    assert await ids(redis) == made


# -- what all of them share -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["replay", "purge"])
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "say which dead letters: IDs, --all, or a filter"),
        (["5-1", "--all"], "IDs and --all cannot be combined"),
        (["5-1", "--reason", "failures"], "IDs and a filter cannot be combined"),
        (["--all", "--since", "1h"], "--all and a filter cannot be combined"),
        (["5-1", "--all", "--until", "1h"], "IDs and --all and a filter cannot be combined"),
        (["--reason", "failure"], "'failure' is not one of 'failures', 'gave_up'"),
    ],
)
async def test_which_ones_must_be_said_in_one_way(command: str, arguments: list[str], problem: str) -> None:
    result = await invoke("dead-letters", command, *OF, *arguments)
    assert result.exit_code == 2
    assert problem in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nope"],
        ["ls", "orders"],
        ["ls", "or ders", "billing"],
        ["ls", *OF, "--count", "0"],
        ["ls", *OF, "--reason", "none"],
        ["ls", *OF, "--dead-letter", "a b"],
        ["show", *OF],
        ["show", *OF, "5-1", "5-2"],
    ],
)
async def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    result = await invoke("dead-letters", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")


@pytest.mark.parametrize("command", [["show", *OF], ["replay", *OF, "--yes"], ["purge", *OF, "--yes"]])
async def test_what_is_no_id_is_one_line_and_1(url: str, redis: Redis, command: list[str]) -> None:
    made = [await written(redis)]
    result = await invoke("dead-letters", *command, "nope", "--url", url)
    assert result.exit_code == 1
    assert result.stderr == "Error: ids: 'nope' is not the id of a dead letter, e.g. 1700000000000-0\n"
    assert await ids(redis) == made


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_group_that_is_not_there_and_has_no_letters_is_an_error(
    url: str, redis: Redis, command: list[str]
) -> None:
    result = await invoke("dead-letters", *command, "--url", url)
    assert (result.exit_code, result.stderr) == (1, "Error: there is no stream 'orders'\n")
    await redis.xadd("orders", {"a": "1"})
    result = await invoke("dead-letters", *command, "--url", url)
    assert (result.exit_code, result.stderr) == (1, "Error: stream 'orders' has no group 'billing'\n")


async def test_letters_of_a_group_that_is_gone_can_be_seen_and_purged(url: str, redis: Redis) -> None:
    made = [await written(redis) for _ in range(2)]
    assert await listed(url=url) == made
    assert (await dead_letters("show", *OF, made[0], url=url))[0].split() == ["id", made[0]]
    assert await dead_letters("purge", *OF, "--all", "--yes", url=url) == ["2 purged"]


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_key_that_is_no_stream_is_one_line_and_1(url: str, redis: Redis, command: list[str]) -> None:
    await redis.set(DEAD, "text")
    result = await invoke("dead-letters", *command, "--url", url)
    assert result.exit_code == 1
    assert is_one_error_line(result.stderr)
    assert DEAD in result.stderr


@pytest.mark.parametrize("command", COMMANDS)
async def test_redis_that_is_down_is_one_line_and_1(tmp_path: Path, command: list[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("redis_streams:\n  connect_timeout: 0.1\n")
    nowhere = "redis://127.0.0.1:1/0"
    result = await invoke("dead-letters", *command, "--config", str(config), "--url", nowhere)
    assert (result.exit_code, result.stdout) == (1, "")
    assert is_one_error_line(result.stderr)
    assert "127.0.0.1:1" in result.stderr


async def test_redis_that_is_full_is_one_line_and_1(new_server: Callable[..., Server]) -> None:
    server = new_server()
    redis = Redis.from_url(server.url, protocol=2, decode_responses=True)
    await redis.xgroup_create("orders", "billing", "0", mkstream=True)
    made = [await written(redis)]
    await redis.config_set("maxmemory", "1")
    result = await invoke("dead-letters", "replay", *OF, "--all", "--yes", "--url", server.url)
    assert result.exit_code == 1
    assert is_one_error_line(result.stderr)
    assert "OOM" in result.stderr
    assert await ids(redis) == made
    await redis.aclose()


async def test_the_stream_that_the_handler_named(url: str, redis: Redis, group: None) -> None:
    of = ("--dead-letter", "graveyard")
    made = [await written(redis, key="graveyard") for _ in range(3)]
    await written(redis, key="graveyard", group="mail")
    title, *_ = await dead_letters("ls", *OF, *of, url=url)
    assert title == "orders / billing: 3 shown of 4 dead letters in graveyard"
    assert await listed(*of, url=url) == made
    assert (await dead_letters("show", *OF, made[0], *of, url=url))[0].split() == ["id", made[0]]
    assert await dead_letters("replay", *OF, made[0], *of, "--yes", url=url) == ["1 replayed (1 as a copy)"]
    assert await dead_letters("purge", *OF, "--all", "--yes", *of, url=url) == ["2 purged"]
    assert await redis.xlen("graveyard") == 1


async def test_the_url_comes_from_the_environment_or_the_file(url: str, redis: Redis, tmp_path: Path) -> None:
    made = [await written(redis)]
    config = tmp_path / "config.yaml"
    config.write_text(f"redis_streams:\n  redis_url: {url}\n")
    in_file = await invoke("dead-letters", "ls", *OF, "--json", "--config", str(config))
    in_environment = await invoke("dead-letters", "ls", *OF, "--json", REDIS_STREAMS_REDIS_URL=url)
    for result in (in_file, in_environment):
        assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == made


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e\x00"


async def test_nothing_that_is_shown_can_command_a_terminal(url: str, redis: Redis) -> None:
    became = dict.fromkeys(("error", "consumer", "traceback", "stream", "id", "reason"), HOSTILE)
    event = {"event_type": HOSTILE, "key": HOSTILE, "event_id": HOSTILE, f"h:{HOSTILE}": HOSTILE, HOSTILE: HOSTILE}
    event |= {"payload": f'{{"\x9b": "\u202e{chr(0x85)}"}}'}
    marked = {f"dead:{name}": value for name, value in ({"reason": HOSTILE} | became | {"stream": "orders"}).items()}
    letter_id = await redis.xadd(DEAD, event | marked | {"dead:group": "billing"})
    for command in (["ls", *OF], ["show", *OF, letter_id]):
        shown = await dead_letters(*command, url=url)
        assert all(line.isprintable() for line in shown)
        assert any(r"\x1b]0;owned\x07" in line for line in shown)
    assert r'    "\x9b": "\u202e\x85"' in shown
    await redis.xadd(DEAD, {"payload": HOSTILE, "event_type": "E"} | marked | {"dead:group": "billing"}, "*")
    shown = await dead_letters("show", *OF, (await ids(redis))[1], url=url)
    assert all(line.isprintable() for line in shown)
    result = await invoke("dead-letters", "show", *OF, HOSTILE, "--url", url)
    assert is_one_error_line(result.stderr)
    assert result.stderr.rstrip("\n").isprintable()


@pytest.mark.parametrize("fields", [{"a": "b"}, {"dead:reason": "r"}, {"dead:reason": "r", "dead:failures": "inf"}])
async def test_entries_of_others_can_be_listed_and_shown(url: str, redis: Redis, fields: dict[str, str]) -> None:
    letter_id = await redis.xadd(DEAD, fields, "99999999999999999-1")
    assert await listed(url=url) == [letter_id]
    _, _, _, row = await dead_letters("ls", *OF, url=url)
    assert row.split()[:2] == [letter_id, "-"]
    assert (await dead_letters("show", *OF, letter_id, url=url))[1].split() == ["when", "-"]
    [line] = await dead_letters("show", *OF, letter_id, "--json", url=url)
    assert json.loads(line)["time"] is None


async def test_they_are_in_the_help() -> None:
    assert "dead-letters" in (await invoke("--help")).stdout
    shown = await invoke("dead-letters", "--help")
    assert all(name in shown.stdout for name in ("ls", "show", "replay", "purge"))
    for command in ("ls", "show", "replay", "purge"):
        assert "--dead-letter" in (await invoke("dead-letters", command, "--help")).stdout

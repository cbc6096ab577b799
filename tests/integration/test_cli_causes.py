"""Dead letters by cause: grouped, selected by fingerprint, and captured as a test that fails as the event did."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, DeadLetters, RetryPolicy
from redis_streams_aio.testing.waiting import until
from tests.integration.test_cli import ROOT, invoke, is_one_error_line, process
from tests.integration.test_cli_dead_letters import DEAD, OF, written

SHOP = """
import msgspec
from redis_streams_aio import Broker, RetryPolicy

class Order(msgspec.Struct):
    number: int

broker = Broker("redis://127.0.0.1:1/0", group="billing")

@broker.handler("orders", retry=RetryPolicy(max_failures=2))
async def bill(order: Order) -> None:
    if order.number < 0:
        raise ValueError(f"order {order.number} is negative")
"""
MENDED = SHOP.replace("order.number < 0", "order.number < -100")


async def three_causes(url: str, redis: Redis) -> list[str]:
    """Dead letters of three causes: two of one kind, four of another, one undecodable."""
    broker = Broker(url, group="billing")

    @broker.handler("orders", retry=RetryPolicy(max_failures=1))
    async def bill(order: dict[str, int]) -> None:
        if order["number"] % 2:
            raise ValueError(f"order {order['number']} is odd")
        if order["number"] > 4:
            refuse(order["number"])

    def refuse(number: int) -> None:
        raise KeyError(number)

    async with broker:
        for number in (1, 3, 5, 7, 6, 8):
            await broker.publish("orders", {"number": number}, event_type="Order")
        await redis.xadd("orders", {"event_type": "Order", "payload": "{"})
        await until(lambda: broker.status[0].settled == 7)
        return [letter.id for letter in await DeadLetters(broker.connection, *OF).list()]


async def test_groups_are_by_cause_the_most_numerous_first(url: str, redis: Redis) -> None:
    ids = await three_causes(url, redis)
    done = await process("dead-letters", "groups", *OF, "--url", url)
    assert (await done.ended(), done.err) == (0, [])
    title, heads, _, *rows = done.out
    assert title.strip() == "orders / billing: 7 dead letters, of 3 causes"
    assert heads.split() == ["fingerprint", "count", "last", "cause", "newest", "id"]
    assert [row.split()[1] for row in rows] == ["4", "2", "1"]
    assert "ValueError at integration/test_cli_causes.py in bill" in rows[0]
    assert "KeyError at integration/test_cli_causes.py in refuse" in rows[1]
    assert "undecodable: payload is not" in rows[2]
    assert rows[0].split()[-1] == ids[3]
    lines = (await invoke("dead-letters", "groups", *OF, "--json", "--url", url)).stdout.splitlines()
    assert [json.loads(line)["count"] for line in lines] == [4, 2, 1]
    assert json.loads(lines[0])["event_types"] == ["Order"]


async def test_a_fingerprint_selects_in_ls_replay_and_purge(url: str, redis: Redis) -> None:
    ids = await three_causes(url, redis)
    lines = (await invoke("dead-letters", "groups", *OF, "--json", "--url", url)).stdout.splitlines()
    odd, refused, broken = (json.loads(line)["fingerprint"] for line in lines)
    listed = await invoke("dead-letters", "ls", *OF, "--fingerprint", odd.upper(), "--json", "--url", url)
    rows = list(map(json.loads, listed.stdout.splitlines()))
    assert ([row["id"] for row in rows], {row["fingerprint"] for row in rows}) == (ids[:4], {odd})
    dry = await invoke("dead-letters", "purge", *OF, "--fingerprint", refused, "--dry-run", "--url", url)
    assert dry.stdout.splitlines()[0] == "2 would be purged"
    purged = await invoke("dead-letters", "purge", *OF, "--fingerprint", refused, "--yes", "--url", url)
    assert purged.stdout == "2 purged\n"
    replayed = await invoke("dead-letters", "replay", *OF, "--fingerprint", broken, "--yes", "--url", url)
    assert replayed.stdout == "1 replayed (1 in place)\n"
    assert [entry_id for entry_id, _ in await redis.xrange(DEAD)] == ids[:4]
    shown = await invoke("dead-letters", "show", *OF, ids[0], "--url", url)
    assert f"fingerprint    {odd}" in shown.stdout


@pytest.mark.parametrize("wrong", ["", "123", "not a hex", "g1234567", "123456789"])
async def test_other_fingerprints_are_wrong_usage(wrong: str) -> None:
    result = await invoke("dead-letters", "ls", *OF, "--fingerprint", wrong)
    assert result.exit_code == 2
    assert "expected eight hexadecimal digits" in result.stderr


# -- capture ----------------------------------------------------------------------------------------------------


async def pytest_run(folder: Path, file: str) -> tuple[int, str]:
    """What pytest says of a file in a folder of its own."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", file),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await running.communicate()
    assert running.returncode is not None
    return running.returncode, said.decode()


async def test_p12_a_captured_dead_letter_fails_as_the_event_did_and_passes_when_the_handler_is_mended(
    url: str, redis: Redis, tmp_path: Path
) -> None:
    event = {"event_type": "Order", "payload": '{"number":-5}', "key": "ada", "h:trace": "t"}
    became = {"reason": "failures", "error": "ValueError: order -5 is negative", "stream": "orders", "group": "billing"}
    became |= {
        "id": "1699999999999-0",
        "traceback": 'Traceback\n  File "/app/shop.py", line 12, in bill\nValueError: no',
    }
    letter_id = await redis.xadd(DEAD, event | {f"dead:{name}": value for name, value in became.items()})
    (tmp_path / "shop.py").write_text(SHOP)
    captured = ("dead-letters", "capture", *OF, str(letter_id), "--app", "shop:broker", "--url", url)
    done = await process(*captured, cwd=tmp_path)
    file = f"test_dead_letter_{str(letter_id).replace('-', '_')}.py"
    assert (await done.ended(), done.out, done.err) == (0, [file], [])
    assert "ValueError at app/shop.py in bill" in (tmp_path / file).read_text()
    code, said = await pytest_run(tmp_path, file)
    assert code == 1, said
    assert "failures: ValueError: order -5 is negative" in said
    (tmp_path / "shop.py").write_text(MENDED)
    code, said = await pytest_run(tmp_path, file)
    assert code == 0, said
    (tmp_path / "shop.py").write_text(SHOP.replace('group="billing"', 'group="mail"'))
    code, said = await pytest_run(tmp_path, file)
    assert code == 1, said
    assert "the broker does not handle it" in said


async def test_capture_does_not_replace_a_file_unless_told(url: str, redis: Redis, tmp_path: Path) -> None:
    letter_id = await written(redis)
    file = tmp_path / "test_it.py"
    file.write_text("mine")
    command = ("dead-letters", "capture", *OF, letter_id, "--app", "shop:app.broker", "--url", url)
    result = await invoke(*command, "--output", str(file))
    assert (result.exit_code, is_one_error_line(result.stderr)) == (1, True)
    assert file.read_text() == "mine"
    assert (await invoke(*command, "--output", str(file), "--force")).exit_code == 0
    assert "from shop import app\n" in file.read_text()
    shown = await invoke(*command, "--output", "-")
    assert shown.stdout == file.read_text()
    result = await invoke(*command, "--output", str(tmp_path / "nowhere" / "test_it.py"))
    assert (result.exit_code, is_one_error_line(result.stderr)) == (1, True)


@pytest.mark.parametrize("wrong", ["shop", "shop:", ":broker", "shop/events.py:broker", "a b:c", "shop:broker()"])
async def test_capture_of_no_broker_is_wrong_usage(wrong: str) -> None:
    result = await invoke("dead-letters", "capture", *OF, "5-1", "--app", wrong)
    assert result.exit_code == 2
    assert "expected module:broker" in result.stderr

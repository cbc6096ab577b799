"""A broker among garbage on a real server (P12, P13): entries that nobody would write, and nonsense in every key that
the library reads. All that was there is settled or a dead letter in the end, and what comes after it is handled.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from click.testing import CliRunner
from redis.asyncio import Redis

from redis_streams_aio import Broker, Connection, DeadLetters, FieldsCodec, RetryPolicy, Settings
from redis_streams_aio.cli.app import app
from redis_streams_aio.events import keys
from redis_streams_aio.testing.waiting import until
from tests.fuzz import inputs
from tests.fuzz.reading_entries import Every, Order

STREAM, GROUP = "orders", "billing"
ENTRIES = 600
PENDING = 100
SETTINGS = Settings(block_ms=50, reclaim_interval=0.05, checkpoint_interval=0.05, lag_interval=0.1)
POLICY = RetryPolicy(max_failures=2, base=0.01, cap=0.02)


def some_fields(rng: Random) -> dict[bytes, bytes]:
    fields = inputs.fields(rng)
    return dict(zip(fields[::2], fields[1::2], strict=False)) or {b"a": b"b"}


def flat_fields(rng: Random) -> list[bytes]:
    """With names that come twice."""
    fields = inputs.fields(rng)
    return fields[: len(fields) // 2 * 2] or [b"", b""]


async def write_garbage(plain: Redis, rng: Random) -> None:
    """Entries, some of which a consumer that is gone has had; and nonsense wherever the library looks."""
    for start in range(0, ENTRIES, 200):
        async with plain.pipeline(transaction=False) as pipeline:
            for _ in range(start, min(start + 200, ENTRIES)):
                pipeline.execute_command("XADD", STREAM, "*", *flat_fields(rng))
            await pipeline.execute()
    await plain.set(keys.checkpoint(STREAM, GROUP), rng.choice((b"\xff", b"99999999999999999999", b"\xd9\xa3", b"")))
    await plain.xgroup_create(STREAM, GROUP, "0")
    [[_, entries]] = await plain.xreadgroup(GROUP, "gone", {STREAM: ">"}, count=PENDING)
    ids = [entry_id for entry_id, _ in entries]
    records = [rng.choice((b"-5 0 0 x", b"1 1 %d far" % 10**17, b"x", b"", b"1 2 3 \xff", b"9" * 99)) for _ in ids]
    await plain.hset(keys.failures(STREAM, GROUP), mapping=dict(zip(ids, records, strict=True)))
    histories = {entry_id + b":history": inputs.history(rng) for entry_id in ids}
    await plain.hset(keys.failures(STREAM, GROUP), mapping=histories)
    await plain.execute_command("XCLAIM", STREAM, GROUP, "gone", 0, *ids, "IDLE", 3_600_000, "RETRYCOUNT", 1)
    for event_id in (b"", b"5", b"null", b"0", b"1"):
        key = keys.done(STREAM, GROUP, event_id)
        await (plain.set(key, inputs.blob(rng)) if rng.random() < 0.5 else plain.rpush(key, b"x"))
    for _ in range(50):
        await plain.execute_command("XADD", keys.dead_letters(STREAM, GROUP), "*", *flat_fields(rng))


def handlers(broker: Broker, how: str, seen: list[int]) -> None:
    options = {"concurrency": 1 if how == "stream" else 8, "lease": 2, "retry": POLICY, "deduplicate": 60.0}
    if how == "batch":

        @broker.handler(STREAM, batch=20, within=0.01, **options)
        async def load(orders: list[Order]) -> None:
            seen.extend(order.number for order in orders)

        return

    @broker.handler(STREAM, order=how, **options)
    async def bill(order: Order) -> None:
        seen.append(order.number)
        if order.number < 0:
            raise ValueError("no such order")

    @broker.handler(STREAM, event_type="Point", order=how, codec=FieldsCodec(), **options)
    async def point(every: Every) -> None:
        assert every.name.startswith("a")


async def settled(plain: Redis) -> bool:
    [group] = await plain.xinfo_groups(STREAM)
    return (
        group["pending"] == 0 and group["last-delivered-id"] == (await plain.xinfo_stream(STREAM))["last-generated-id"]
    )


@pytest.mark.parametrize("how", ["stream", "key", "none", "batch"])
async def test_p13_among_garbage_everything_is_settled_and_the_broker_goes_on(url: str, how: str) -> None:
    plain = Redis.from_url(url, protocol=2)
    await write_garbage(plain, Random(how))
    broker, seen = Broker(url, group=GROUP, settings=SETTINGS), []
    handlers(broker, how, seen)
    async with broker:
        await until(lambda: settled(plain), 30)
        await broker.publish(STREAM, Order(4711), event_id="the last")
        await until(lambda: 4711 in seen, 5)
        await until(lambda: settled(plain), 5)
    assert await plain.xlen(keys.dead_letters(STREAM, GROUP)) > 100
    assert await plain.hlen(keys.failures(STREAM, GROUP)) <= 2 * PENDING
    await plain.aclose()


async def test_p12_garbage_among_dead_letters_is_listed_shown_replayed_and_purged(url: str) -> None:
    plain, rng = Redis.from_url(url, protocol=2), Random(5)
    await plain.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    key = keys.dead_letters(STREAM, GROUP)
    for _ in range(300):
        await plain.execute_command("XADD", key, "*", *flat_fields(rng))
    async with Connection(url) as connection:
        letters = DeadLetters(connection, STREAM, GROUP)
        found = await letters.list(count=1000)
        assert len(found) > 200  # a few say that they are of another group
        assert [(await letters.show(letter.id)).id for letter in found[:20]] == [letter.id for letter in found[:20]]
        report = await letters.replay()
        assert report.replayed == len(found)
        assert await letters.count() == 300 - len(found)
        for _ in range(50):
            await plain.execute_command("XADD", key, "*", *flat_fields(rng))
        assert await letters.purge() > 0
    await plain.aclose()


COMMANDS = (
    *(
        "groups orders",
        "pending orders billing",
        "pending orders billing --json",
        "tail orders --no-follow --last 1000",
    ),
    *("tail orders --no-follow --json --last 1000", "dead-letters ls orders billing --count 1000"),
    *("dead-letters ls orders billing --json", "dead-letters replay orders billing --all --dry-run"),
    *("dead-letters replay orders billing --reason failures --yes", "dead-letters purge orders billing --all --yes"),
)


async def test_the_commands_show_garbage_without_a_traceback(url: str) -> None:
    plain = Redis.from_url(url, protocol=2)
    await write_garbage(plain, Random(3))
    shown = [
        f"dead-letters show orders billing {entry_id.decode()}"
        for entry_id, _ in await plain.xrange(keys.dead_letters(STREAM, GROUP))
    ]
    for line in (*shown, *COMMANDS):
        done = await asyncio.to_thread(CliRunner().invoke, app, [*line.split(), "--url", url])
        assert done.exception is None or isinstance(done.exception, SystemExit), line
        assert done.exit_code == 0 or (line in shown and "has no dead letter" in done.output), done.output
    await plain.aclose()

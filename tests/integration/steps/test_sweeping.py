"""Sweeping: records of settled entries are dropped, and no others."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, GroupNotFoundError, ServerError, StreamNotFoundError
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.connection.steps.leases import renewal
from redis_streams_aio.connection.steps.retrying import Failed, failures
from redis_streams_aio.connection.steps.sending import send, send_one
from redis_streams_aio.connection.steps.sweeping import FIRST_PAGE, Swept, sweep, swept
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.intake.cleaner import Cleaner
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT
from tests.integration.steps.conftest import WHO, Deliver, pending

FAILURES, LEASES = "{orders}:billing:failures", "{orders}:billing:leases"
RECORD = "1 1700000000000 1700000001000 1000 ValueError: no"


async def swept_all(connection: Connection) -> int:
    """Sweep all pages; return how many records were dropped."""
    page, dropped = FIRST_PAGE, 0
    while True:
        found = await sweep(connection, WHO, page)
        page, dropped = found.next_page, dropped + found.dropped
        if page == FIRST_PAGE:
            return dropped


def cleaner(connection: Connection) -> Cleaner:
    return Cleaner(
        Holdings(Shared(connection, SILENT), SubscriptionOptions(stream="orders", group="billing"), WHO.name)
    )


async def records(redis: Redis) -> set[str]:
    return set(await redis.hkeys(FAILURES))


async def test_p11_records_of_settled_entries_are_dropped(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    """A process was frozen, another one failed on its entry, and the first one acknowledged it afterwards."""
    settled, waits, deleted = await deliver(3)
    bob = WHO._replace(name="bob")
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [settled])
    link = connection.link("settle")
    await send(link, [failures(bob, [Failed(settled, 9, 1, 0, "x")]), failures(WHO, [Failed(waits, 9, 1, 0, "x")])])
    await redis.hset(FAILURES, mapping={f"{settled.decode()}:history": "{}", f"{waits.decode()}:history": "{}"})
    await redis.hset(FAILURES, mapping={f"{deleted.decode()}:finished": "1", deleted.decode(): RECORD})
    await redis.xack(WHO.stream, WHO.group, settled)
    assert await swept_all(connection) == 2
    assert await records(redis) == {
        *(waits.decode(), f"{waits.decode()}:history"),
        *(deleted.decode(), f"{deleted.decode()}:finished"),
    }
    await redis.xdel(WHO.stream, deleted)
    assert await swept_all(connection) == 0, "deleted, but pending still"
    await send_one(link, renewal(WHO, 30_000, [deleted]))
    assert await swept_all(connection) == 2
    assert await records(redis) == {waits.decode(), f"{waits.decode()}:history"}


async def test_p11_records_of_entries_that_come_again_stay(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    """The group was lost and is recreated at its checkpoint: the same ids are delivered once more."""
    first, second = await deliver(2)
    await redis.xack(WHO.stream, WHO.group, first)
    known = {first.decode(): RECORD, second.decode(): RECORD, f"{second.decode()}:history": "{}"}
    await redis.hset(FAILURES, mapping=known)
    await redis.xgroup_destroy(WHO.stream, WHO.group)
    with pytest.raises(GroupNotFoundError):
        await sweep(connection, WHO, FIRST_PAGE)
    await cleaner(connection).run_once(0.0)
    assert await records(redis) == set(known)
    await redis.xgroup_create(WHO.stream, WHO.group, first)
    assert await swept_all(connection) == 1
    assert await records(redis) == {second.decode(), f"{second.decode()}:history"}
    await redis.xreadgroup(WHO.group, WHO.name, {WHO.stream: ">"})
    assert await swept_all(connection) == 0
    await redis.xack(WHO.stream, WHO.group, second)
    assert await swept_all(connection) == 2


async def test_many_records_are_swept_page_by_page(connection: Connection, redis: Redis) -> None:
    await redis.xgroup_create(WHO.stream, WHO.group, "1000-0", mkstream=True)
    long = RECORD + "x" * 1000  # so that the hash is not read whole
    await redis.hset(FAILURES, mapping={f"{number}-1": long for number in range(1, 2001)})
    found = await sweep(connection, WHO, FIRST_PAGE)
    assert found.next_page != FIRST_PAGE
    assert 0 < found.dropped < 300
    once = cleaner(connection)
    await once.run_once(0.0)
    assert 400 < await redis.hlen(FAILURES) < 2000, "a run looks at some of them"
    for _ in range(3):
        await once.run_once(0.0)
    assert {int(field.partition("-")[0]) for field in await records(redis)} == set(range(1000, 2001))


async def test_fields_that_are_not_ours_stay(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [settled] = await deliver(1)
    await redis.xack(WHO.stream, WHO.group, settled)
    odd = ["mine", "1", "1-", "99999999999999999999999-1", "1-99999999999999999999999", "1-1:", "1-1:Mine", "x1-1"]
    await redis.hset(FAILURES, mapping=dict.fromkeys([*odd, "1-1", "1-18446744073709551615:history"], "x"))
    assert await swept_all(connection) == 2
    assert await records(redis) == set(odd)
    await redis.delete(FAILURES)
    await redis.set(FAILURES, "no hash")
    assert await swept_all(connection) == 0


async def test_p11_no_record_is_lost_beside_running_retries(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    held = await deliver(200)
    link, kept = connection.link("settle"), held[::2]

    async def fail_and_settle(entry_id: bytes) -> None:
        for times in range(1, 4):
            await send_one(link, failures(WHO, [Failed(entry_id, 9, times, 0, "x" * 100)]))
        if entry_id not in kept:
            await redis.xack(WHO.stream, WHO.group, entry_id)

    async def sweep_on() -> None:
        while True:
            await swept_all(connection)

    sweeping = asyncio.create_task(sweep_on())
    await asyncio.gather(*map(fail_and_settle, held))
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    await swept_all(connection)
    assert await records(redis) == {entry_id.decode() for entry_id in kept}
    assert set(await pending(redis)) == set(kept)


async def test_p22_leases_of_unknown_consumers_are_dropped_at_the_second_look(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    """The group was lost with its names, and only some of its consumers came back."""
    await deliver(1)
    await deliver(1, "bob")
    await redis.hset(LEASES, mapping=dict.fromkeys(["ann", "bob", "dead", "joins", "late"], "30000"))
    once = cleaner(connection)
    await redis.hdel(LEASES, "late")
    await once.run_once(3600.0)
    assert await redis.hlen(LEASES) == 4, "one of them may be joining"
    await redis.xgroup_createconsumer(WHO.stream, WHO.group, "joins")
    await redis.hset(LEASES, "late", "30000")
    await once.run_once(3600.0)
    assert set(await redis.hkeys(LEASES)) == {"ann", "bob", "joins", "late"}
    await once.run_once(3600.0)
    assert set(await redis.hkeys(LEASES)) == {"ann", "bob", "joins"}


@pytest.mark.parametrize("who", [WHO._replace(group="gone"), WHO._replace(stream="nowhere")])
async def test_a_sweep_where_nothing_is(connection: Connection, redis: Redis, deliver: Deliver, who: Consumer) -> None:
    await deliver(1)
    with pytest.raises(StreamNotFoundError):
        await sweep(connection, who, FIRST_PAGE)


@pytest.mark.parametrize("reply", [None, b"OK", 1, [], [1], [-1, 0], [0, -1], [b"x", 0], [0, [b"no id"]], [1, 1, 1]])
def test_another_form_of_reply_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        swept(reply)


def test_the_reply_of_a_sweep() -> None:
    assert swept([b"18446744073709551615", 3]) == Swept(2**64 - 1, 3)

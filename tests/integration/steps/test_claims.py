"""Claiming what others have let go, and what is known of it."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, GroupNotFoundError, ServerError, StreamTypeError
from redis_streams_aio.connection.replies import RawEntry, Reply
from redis_streams_aio.connection.steps.claims import Claim, Claimed, claim, claimed
from redis_streams_aio.connection.steps.consumer import NOT_OURS
from redis_streams_aio.connection.steps.histories import History, Recalled, recall, recalled
from redis_streams_aio.connection.steps.records import FailureRecord, failure_records, forget, records_read
from tests.integration.steps.conftest import WHO, Deliver, pending

FAILURES = "{orders}:billing:failures"
NOTHING = Claimed([], [])


async def deliveries(redis: Redis) -> list[int]:
    return [one["times_delivered"] for one in await redis.xpending_range(WHO.stream, WHO.group, "-", "+", 10)]


async def test_p2_an_entry_is_claimed_and_no_delivery_counted(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [left] = await deliver(1, "bob")
    assert await claim(connection, WHO, [Claim("bob", 0, left)]) == Claimed([RawEntry(left, [b"number", b"0"])], [])
    assert await pending(redis) == {left: "ann"}
    assert await deliveries(redis) == [1]


async def test_p4_what_has_another_owner_or_was_renewed_is_left_alone(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    young, taken, settled = await deliver(3, "bob")
    await redis.xclaim(WHO.stream, WHO.group, "cid", 0, [taken], idle=60_000)
    await redis.xack(WHO.stream, WHO.group, settled)
    claims = [Claim("bob", 50_000, young), Claim("bob", 0, taken), Claim("bob", 0, settled)]
    assert await claim(connection, WHO, claims) == NOTHING
    assert await pending(redis) == {young: "bob", taken: "cid"}


async def test_p20_a_deleted_entry_is_acknowledged_and_told(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    left, gone = await deliver(2, "bob")
    await redis.xdel(WHO.stream, gone)
    found = await claim(connection, WHO, [Claim("bob", 0, gone), Claim("bob", 0, left)])
    assert found == Claimed([RawEntry(left, [b"number", b"0"])], [gone])
    assert await pending(redis) == {left: "ann"}


async def test_histories_are_recalled_and_deliveries_counted(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    counted, known, odd, lost = await deliver(4)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    await redis.hset(FAILURES, known.decode(), "3 1000 5000 4000 ValueError: no\nnever")
    await redis.hset(FAILURES, f"{known.decode()}:history", "{}")
    await redis.hset(FAILURES, odd.decode(), "mine")
    found = await recall(connection, WHO, [(counted, True), (known, False), (odd, False), (lost, True)])
    assert found.histories == [
        History(2, None, None),
        History(1, FailureRecord(3, 1000, 5000, 4000, "ValueError: no\nnever"), b"{}"),
        History(1, None, None),
        NOT_OURS,
    ]
    assert abs(found.now_ms / 1000 - (await redis.time())[0]) < 60
    assert await deliveries(redis) == [2, 1, 1, 2], "a delivery of somebody else's is not counted by us"
    entry_ids = [entry_id.decode() for entry_id in (counted, known, odd)]
    records = await failure_records(connection, WHO.stream, WHO.group, entry_ids)
    assert records == [None, FailureRecord(3, 1000, 5000, 4000, "ValueError: no\nnever"), None]
    assert await failure_records(connection, WHO.stream, WHO.group, []) == []
    await connection.call(*forget(WHO, [known, odd]))
    assert not await redis.exists(FAILURES)


async def test_an_entry_that_was_released_without_a_delivery_has_one_now(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    await redis.xclaim(WHO.stream, WHO.group, WHO.name, 0, [held], retrycount=0, justid=True)
    assert (await recall(connection, WHO, [(held, False)])).histories == [History(1, None, None)]


async def test_the_history_of_a_deleted_entry(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [gone] = await deliver(1)
    await redis.xdel(WHO.stream, gone)
    assert (await recall(connection, WHO, [(gone, False)])).histories == [History(1, None, None)]


async def test_where_there_is_no_group_or_another_key(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set("text", "no stream")
    for who, error in (
        (WHO._replace(group="gone"), GroupNotFoundError),
        (WHO._replace(stream="nowhere"), GroupNotFoundError),
        (WHO._replace(stream="text"), StreamTypeError),
    ):
        with pytest.raises(error):
            await claim(connection, who, [Claim("bob", 0, held)])
        with pytest.raises(error):
            await recall(connection, who, [(held, True)])
    await redis.set(FAILURES, "no hash")
    assert (await recall(connection, WHO, [(held, True)])).histories == [History(2, None, None)]


def test_the_replies() -> None:
    assert claimed([[b"1-0", [b"a", b"b"]], [b"2-0"]]) == Claimed([RawEntry(b"1-0", [b"a", b"b"])], [b"2-0"])
    assert claimed([]) == NOTHING
    assert recalled(2, [b"1700", [3, b"record", None], [0, None, b"{}"]]) == Recalled(
        1700, [History(3, None, None), NOT_OURS]
    )
    assert recalled(1, [b"1700", [b"2", b"1 5 6 7 no", b"{}"]]).histories == [
        History(2, FailureRecord(1, 5, 6, 7, "no"), b"{}")
    ]


@pytest.mark.parametrize("reply", [b"OK", 1, [b"1-0"], [[]], [[b"no id"]], [[b"1-0", [b"a", 5]]], [[b"1-0", [], []]]])
def test_another_form_of_reply_to_a_claim_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        claimed(reply)


@pytest.mark.parametrize(
    "reply",
    [
        *(None, b"OK", [b"1"], [b"soon", [1, None, None]], [b"1", [-1, None, None]], [b"1", [1, 5, None]]),
        *([b"1", [1, None, 5]], [b"1", [0, 5, None]], [b"1", [1, None]], [b"1", b"OK"], [b"1", [1, None, None], []]),
    ],
)
def test_another_form_of_reply_to_a_recall_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        recalled(1, reply)


@pytest.mark.parametrize("reply", [None, b"OK", 1, [], [5], [[]], [None, None]])
def test_another_form_of_reply_with_records_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        records_read(1, reply)

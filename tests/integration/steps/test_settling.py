"""Fates: failures, completions, dead letters, and entries that are released."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, GroupNotFoundError, ServerError, StreamTypeError
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.completing import Completion, complete, completed
from redis_streams_aio.connection.steps.consumer import NOT_OURS, Consumer
from redis_streams_aio.connection.steps.dead_letters import (
    DeadLetterOptions,
    dead_lettered,
    move_to_dead_letters,
    trim_dead_letters,
)
from redis_streams_aio.connection.steps.records import parse
from redis_streams_aio.connection.steps.releasing import Released, release, released
from redis_streams_aio.connection.steps.retrying import Failed, failures_written, write_failures
from redis_streams_aio.connection.steps.sending import send_one
from redis_streams_aio.events import keys
from tests.integration.steps.conftest import WHO, Deliver, pending

FAILURES, DONE, DEAD, RELEASED = (f"{{orders}}:billing:{name}" for name in ("failures", "done:e1", "dead", "released"))
INTO_DEAD = DeadLetterOptions(DEAD)
MAIL = ("XADD", "{orders}:mail", "*", "a", "b")
ELSEWHERE = [
    pytest.param(WHO._replace(group="gone"), GroupNotFoundError, id="no group"),
    pytest.param(WHO._replace(stream="nowhere"), GroupNotFoundError, id="no stream"),
    pytest.param(WHO._replace(stream="text"), StreamTypeError, id="another key"),
]


@pytest.fixture(autouse=True)
async def _text(redis: Redis) -> None:
    await redis.set("text", "no stream")


# -- failures -----------------------------------------------------------------------------------------------------


async def test_p11_failures_are_written_down(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    first, again, wish, lost = await deliver(4)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    found = await write_failures(
        connection,
        WHO,
        [
            Failed(first, 1000, 1, 0, "ValueError: no\nnever"),
            Failed(again, 2000, 5, 1_700_000_000_000, "x"),
            Failed(wish, 3000, 0, 0, ""),
            Failed(lost, 1000, 1, 0, "x"),
        ],
    )
    now, micros = await redis.time()
    assert isinstance(found[0], int)
    assert abs(found[0] - now * 1000 - micros // 1000) < 60_000
    assert found[1:] == [1_700_000_000_000, 0, NOT_OURS]
    records = {name: parse(record.encode()) for name, record in (await redis.hgetall(FAILURES)).items()}
    assert set(records) == {first.decode(), again.decode(), wish.decode()}, "nothing of what is another's"
    record = records[first.decode()]
    assert record is not None
    assert record == (1, found[0], found[0] + 1000, 1000, "ValueError: no\nnever")
    second = records[again.decode()]
    assert second is not None
    assert second.due_ms - 2000 == record.due_ms - 1000, "those of one step are due from one moment"
    assert await pending(redis) == {first: "ann", again: "ann", wish: "ann", lost: "bob"}


async def test_a_first_failure_is_not_in_the_future(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    [first] = await write_failures(connection, WHO, [Failed(held, 0, 1, 99_999_999_999_999, "x")])
    assert isinstance(first, int)
    assert first < 99_000_000_000_000


async def test_the_failure_of_a_deleted_entry(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [gone] = await deliver(1)
    await redis.xdel(WHO.stream, gone)
    assert await write_failures(connection, WHO, [Failed(gone, 0, 0, 0, "x")]) == [0], "it is pending still"


@pytest.mark.parametrize(("who", "error"), ELSEWHERE)
async def test_failures_where_nothing_is(connection: Connection, who: Consumer, error: type[ServerError]) -> None:
    with pytest.raises(error):
        await write_failures(connection, who, [Failed(b"1-0", 0, 1, 0, "x")])


async def test_failures_beside_a_key_that_is_no_hash(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(FAILURES, "no hash")
    with pytest.raises(StreamTypeError):
        await write_failures(connection, WHO, [Failed(held, 0, 1, 0, "x")])


@pytest.mark.parametrize("reply", [None, b"OK", [], [5], [b"soon"], [b"1", b"2"], [[]]])
def test_another_form_of_reply_to_failures_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        failures_written(1, reply)


# -- completions --------------------------------------------------------------------------------------------------


async def test_an_entry_is_completed_in_one_step(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.hset(FAILURES, mapping={held.decode(): "x", f"{held.decode()}:history": "{}"})
    assert await complete(connection, WHO, Completion(held, b"e1", 60.0, [MAIL, MAIL])) is True
    assert await pending(redis) == {}
    assert await redis.xlen("{orders}:mail") == 2
    assert await redis.get(DONE) == "done"
    assert 50_000 < await redis.pttl(DONE) <= 60_000
    assert not await redis.exists(FAILURES)
    assert await complete(connection, WHO, Completion(held, b"e1", 60.0, [MAIL])) is False, "acknowledged before"
    assert await redis.xlen("{orders}:mail") == 2


async def test_a_completion_without_an_event_id_remembers_nothing(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    assert await complete(connection, WHO, Completion(held, None, None, [MAIL])) is True
    assert sorted(await redis.keys()) == ["orders", "text", "{orders}:mail"]


async def test_the_completion_of_an_entry_whose_lease_was_lost(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    """A success counts, whoever has the entry by now; of two only the first adds what belongs to it."""
    [held] = await deliver(1)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [held])
    assert await complete(connection, WHO, Completion(held, None, None, [MAIL])) is True
    assert await complete(connection, WHO._replace(name="bob"), Completion(held, None, None, [MAIL])) is False
    assert await redis.xlen("{orders}:mail") == 1


async def test_an_entry_whose_copy_was_handled(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(DONE, "done")
    assert await complete(connection, WHO, Completion(held, b"e1", 60.0, [MAIL])) is False
    assert await pending(redis) == {}
    assert not await redis.exists("{orders}:mail")


async def test_a_refused_follow_up_leaves_nothing(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set("{orders}:text", "no stream")
    refused = ("XADD", "{orders}:text", "*", "a", "b")
    with pytest.raises(StreamTypeError):
        await complete(connection, WHO, Completion(held, b"e1", 60.0, [MAIL, refused]))
    assert await pending(redis) == {held: "ann"}
    assert (await redis.xlen("{orders}:mail"), await redis.exists(DONE)) == (0, 0)


async def test_the_completion_of_a_deleted_entry(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [gone] = await deliver(1)
    await redis.xdel(WHO.stream, gone)
    assert await complete(connection, WHO, Completion(gone, None, None, [])) is True
    assert await pending(redis) == {}


@pytest.mark.parametrize(("who", "error"), ELSEWHERE)
async def test_completions_where_nothing_is(connection: Connection, who: Consumer, error: type[ServerError]) -> None:
    with pytest.raises(error):
        await complete(connection, who, Completion(b"1-0", None, None, []))


@pytest.mark.parametrize("reply", [None, b"", b"OK", 2, -1, []])
def test_another_form_of_reply_to_a_completion_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        completed(reply)


# -- dead letters -------------------------------------------------------------------------------------------------


async def test_p12_a_dead_letter_takes_its_entrys_place(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.hset(FAILURES, mapping={held.decode(): "x", f"{held.decode()}:history": "{}"})
    letter = await move_to_dead_letters(connection, WHO, held, ["a", b"b", "n", 5], INTO_DEAD)
    assert await redis.xrange(DEAD) == [(letter, {"a": "b", "n": "5"})]
    assert await pending(redis) == {}
    assert not await redis.exists(FAILURES)


async def test_p4_nothing_is_written_of_an_entry_that_is_not_ours(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    lost, settled = await deliver(2)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    await redis.xack(WHO.stream, WHO.group, settled)
    for entry_id in (lost, settled):
        assert await move_to_dead_letters(connection, WHO, entry_id, ["a", "b"], INTO_DEAD) is NOT_OURS
    assert not await redis.exists(DEAD)
    assert await pending(redis) == {lost: "bob"}


async def test_dead_letters_are_bounded(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    await redis.xadd(DEAD, {"old": "1"}, id="1-0")
    few, young = DeadLetterOptions(DEAD, maxlen=2), DeadLetterOptions(DEAD, retention=3600.0)
    held = await deliver(4)
    await move_to_dead_letters(connection, WHO, held[0], ["a", "b"], INTO_DEAD)
    assert await redis.xlen(DEAD) == 2
    await move_to_dead_letters(connection, WHO, held[1], ["a", "b"], young)
    assert [entry_id == "1-0" for entry_id, _ in await redis.xrange(DEAD)] == [False, False]
    await move_to_dead_letters(connection, WHO, held[2], ["a", "b"], few)
    assert await redis.xlen(DEAD) == 2
    await redis.delete(DEAD)
    for entry_id in ("1-0", "2-0", "9999999999999-0"):
        await redis.xadd(DEAD, {"old": "1"}, id=entry_id)
    await trim_dead_letters(connection, INTO_DEAD)
    assert await redis.xlen(DEAD) == 3
    await trim_dead_letters(connection, few)
    assert await redis.xlen(DEAD) == 2
    await trim_dead_letters(connection, young)
    assert await redis.xlen(DEAD) == 1


async def test_a_dead_letter_of_a_deleted_entry(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [gone] = await deliver(1)
    await redis.xdel(WHO.stream, gone)
    assert await move_to_dead_letters(connection, WHO, gone, ["a", "b"], INTO_DEAD) is not NOT_OURS
    assert await pending(redis) == {}


async def test_dead_letters_in_a_key_that_is_no_stream(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(DEAD, "no stream")
    with pytest.raises(StreamTypeError):
        await move_to_dead_letters(connection, WHO, held, ["a", "b"], INTO_DEAD)
    assert await pending(redis) == {held: "ann"}


@pytest.mark.parametrize(("who", "error"), ELSEWHERE)
async def test_dead_letters_where_nothing_is(connection: Connection, who: Consumer, error: type[ServerError]) -> None:
    into = DeadLetterOptions(keys.dead_letters(who.stream, who.group))
    with pytest.raises(error):
        await move_to_dead_letters(connection, who, b"1-0", ["a", "b"], into)


@pytest.mark.parametrize("reply", [None, b"no id", 5, [], [b"1-0"]])
def test_another_form_of_reply_to_a_dead_letter_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        dead_lettered(reply)


# -- released entries ---------------------------------------------------------------------------------------------


async def test_p27_entries_are_released_to_others(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    first, second, lost, settled = await deliver(4)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    await redis.xack(WHO.stream, WHO.group, settled)
    entries = [(first, 0), (second, 3), (lost, 0), (settled, 0)]
    assert await send_one(connection.link("settle"), release(WHO, entries)) == Released(2, [])
    assert await pending(redis) == {first: keys.RELEASED, second: keys.RELEASED, lost: "bob"}
    found = await redis.xpending_range(WHO.stream, WHO.group, "-", "+", 2)
    assert [one["times_delivered"] for one in found] == [0, 3]
    assert all(one["time_since_delivered"] >= 86_400_000 for one in found)
    assert await redis.get(RELEASED) == "1"
    assert await send_one(connection.link("settle"), release(WHO, entries)) == Released(2, []), (
        "they lie there: the answer was lost"
    )


async def test_p20_a_release_tells_of_deleted_entries(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    held, gone = await deliver(2)
    await redis.xdel(WHO.stream, gone)
    assert await send_one(connection.link("settle"), release(WHO, [(gone, 0)])) == Released(0, [gone])
    assert not await redis.exists(RELEASED), "nobody needs to look"
    assert await send_one(connection.link("settle"), release(WHO, [(held, 0)])) == Released(1, [])


async def test_a_release_does_without_its_count(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(RELEASED, "many")
    assert await send_one(connection.link("settle"), release(WHO, [(held, 0)])) == Released(1, [])


@pytest.mark.parametrize(("who", "error"), ELSEWHERE)
async def test_releases_where_nothing_is(connection: Connection, who: Consumer, error: type[ServerError]) -> None:
    with pytest.raises(error):
        await send_one(connection.link("settle"), release(who, [(b"1-0", 0)]))


@pytest.mark.parametrize("reply", [None, b"OK", 1, [], [1], [-1, []], [b"x", []], [1, [b"no id"]], [1, [], []]])
def test_another_form_of_reply_to_a_release_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        released(reply)


def test_the_replies() -> None:
    assert failures_written(3, [b"1700", b"", b"0"]) == [1700, NOT_OURS, 0]
    assert (completed(0), completed(1), completed(b"1")) == (False, True, True)
    assert (dead_lettered(b""), dead_lettered(b"1-0")) == (NOT_OURS, "1-0")
    assert released([b"2", [b"3-0"]]) == Released(2, [b"3-0"])
    assert released([0, None]) == Released(0, [])

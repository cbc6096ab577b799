"""Fates: failures, completions, dead letters, and entries that are released."""

from __future__ import annotations

from typing import TypeVar

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Connection, GroupNotFoundError, ServerError, StreamTypeError
from redis_streams_aio.connection.replies import Reply
from redis_streams_aio.connection.steps.completing import Completed, Completion, completed, completion
from redis_streams_aio.connection.steps.consumer import NOT_OURS, Consumer, NotOurs
from redis_streams_aio.connection.steps.dead_letters import (
    NEWEST,
    DeadLetterOptions,
    dead_lettered,
    letter,
    trim_dead_letters,
)
from redis_streams_aio.connection.steps.leases import Renewed, renewal
from redis_streams_aio.connection.steps.records import parse
from redis_streams_aio.connection.steps.releasing import Released, release, released
from redis_streams_aio.connection.steps.retrying import Failed, failures, failures_written
from redis_streams_aio.connection.steps.script import Step
from redis_streams_aio.connection.steps.sending import send_one
from redis_streams_aio.events import keys
from tests.integration.steps.conftest import WHO, Deliver, pending

FAILURES, DONE, DEAD, RELEASED = (f"{{orders}}:billing:{name}" for name in ("failures", "done:e1", "dead", "released"))
T = TypeVar("T")
INTO_DEAD = DeadLetterOptions(DEAD)
MAIL = ("XADD", "{orders}:mail", "*", "a", "b")
ELSEWHERE = [
    pytest.param(WHO._replace(group="gone"), GroupNotFoundError, id="no group"),
    pytest.param(WHO._replace(stream="nowhere"), GroupNotFoundError, id="no stream"),
    pytest.param(WHO._replace(stream="text"), StreamTypeError, id="another key"),
]


async def run(connection: Connection, step: Step[T]) -> T:
    return await send_one(connection.link("settle"), step)


@pytest.fixture(autouse=True)
async def _text(redis: Redis) -> None:
    await redis.set("text", "no stream")


# -- failures -----------------------------------------------------------------------------------------------------


async def test_p11_failures_are_written_down(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    first, again, wish, lost = await deliver(4)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    found = await run(
        connection,
        failures(
            WHO,
            [
                Failed(first, 1000, 1, 0, "ValueError: no\nnever"),
                Failed(again, 2000, 5, 1_700_000_000_000, "x"),
                Failed(wish, 3000, 0, 0, ""),
                Failed(lost, 1000, 1, 0, "x"),
            ],
        ),
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
    [first] = await run(connection, failures(WHO, [Failed(held, 0, 1, 99_999_999_999_999, "x")]))
    assert isinstance(first, int)
    assert first < 99_000_000_000_000


async def test_the_failure_of_a_deleted_entry(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [gone] = await deliver(1)
    await redis.xdel(WHO.stream, gone)
    assert await run(connection, failures(WHO, [Failed(gone, 0, 0, 0, "x")])) == [0], "it is pending still"


@pytest.mark.parametrize(("who", "error"), ELSEWHERE)
async def test_failures_where_nothing_is(connection: Connection, who: Consumer, error: type[ServerError]) -> None:
    with pytest.raises(error):
        await run(connection, failures(who, [Failed(b"1-0", 0, 1, 0, "x")]))


async def test_failures_beside_a_key_that_is_no_hash(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(FAILURES, "no hash")
    with pytest.raises(StreamTypeError):
        await run(connection, failures(WHO, [Failed(held, 0, 1, 0, "x")]))


@pytest.mark.parametrize("reply", [None, b"OK", [], [5], [b"soon"], [b"1", b"2"], [[]]])
def test_another_form_of_reply_to_failures_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        failures_written(1, reply)


# -- completions --------------------------------------------------------------------------------------------------


async def test_an_entry_is_completed_in_one_step(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.hset(FAILURES, mapping={held.decode(): "x", f"{held.decode()}:history": "{}"})
    assert await run(connection, completion(WHO, Completion(held, b"e1", 60.0, [MAIL, MAIL]))) is Completed.DONE
    assert await pending(redis) == {}
    assert await redis.xlen("{orders}:mail") == 2
    assert await redis.get(DONE) == "done"
    assert 50_000 < await redis.pttl(DONE) <= 60_000
    assert not await redis.exists(FAILURES)
    assert await run(connection, completion(WHO, Completion(held, b"e1", 60.0, [MAIL]))) is Completed.BEFORE
    assert await redis.xlen("{orders}:mail") == 2


async def test_a_completion_without_an_event_id_remembers_nothing(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    [held] = await deliver(1)
    assert await run(connection, completion(WHO, Completion(held, None, None, [MAIL]))) is Completed.DONE
    assert sorted(await redis.keys()) == ["orders", "text", "{orders}:mail"]


async def test_the_completion_of_an_entry_whose_lease_was_lost(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    """A success counts, whoever has the entry by now; of two only the first adds what belongs to it."""
    [held] = await deliver(1)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [held])
    assert await run(connection, completion(WHO, Completion(held, None, None, [MAIL]))) is Completed.DONE
    assert (
        await run(connection, completion(WHO._replace(name="bob"), Completion(held, None, None, [MAIL])))
        is Completed.BEFORE
    )
    assert await redis.xlen("{orders}:mail") == 1


async def test_an_entry_whose_copy_was_handled(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(DONE, "done")
    assert await run(connection, completion(WHO, Completion(held, b"e1", 60.0, [MAIL]))) is Completed.COPY
    assert await pending(redis) == {}
    assert not await redis.exists("{orders}:mail")


async def test_a_refused_follow_up_leaves_nothing(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set("{orders}:text", "no stream")
    refused = ("XADD", "{orders}:text", "*", "a", "b")
    with pytest.raises(StreamTypeError):
        await run(connection, completion(WHO, Completion(held, b"e1", 60.0, [MAIL, refused])))
    assert await pending(redis) == {held: "ann"}
    assert (await redis.xlen("{orders}:mail"), await redis.exists(DONE)) == (0, 0)


async def test_p20_the_follow_ups_of_an_entry_that_vanished_while_it_was_handled(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    """A renewal took it from the pending entries: it is pending for nobody, and nobody else has handled it."""
    [gone] = await deliver(1)
    await redis.xdel(WHO.stream, gone)
    assert await run(connection, renewal(WHO, 30_000, [gone])) == Renewed([], [gone])
    assert await run(connection, completion(WHO, Completion(gone, b"e1", 60.0, [MAIL]))) is Completed.BEFORE
    assert not await redis.exists("{orders}:mail", DONE)
    vanished = completion(WHO, Completion(gone, b"e1", 60.0, [MAIL], vanished=True))
    assert await run(connection, vanished) is Completed.DONE
    assert (await redis.xlen("{orders}:mail"), await redis.get(DONE)) == (1, "done")
    assert await run(connection, vanished) is Completed.BEFORE, "its answer was lost"
    assert await redis.xlen("{orders}:mail") == 1


async def test_an_entry_that_vanished_after_its_copy_was_handled(connection: Connection, redis: Redis) -> None:
    await redis.xgroup_create(WHO.stream, WHO.group, "0", mkstream=True)
    await redis.set(DONE, "done")
    vanished = completion(WHO, Completion(b"1-0", b"e1", 60.0, [MAIL], vanished=True))
    assert await run(connection, vanished) is Completed.COPY
    assert not await redis.exists("{orders}:mail", FAILURES)


async def test_a_refused_follow_up_of_an_entry_that_vanished_is_tried_again(
    connection: Connection, redis: Redis
) -> None:
    await redis.xgroup_create(WHO.stream, WHO.group, "0", mkstream=True)
    await redis.set("{orders}:mail", "no stream")
    vanished = completion(WHO, Completion(b"1-0", None, None, [MAIL], vanished=True))
    with pytest.raises(StreamTypeError):
        await run(connection, vanished)
    await redis.delete("{orders}:mail")
    assert await run(connection, vanished) is Completed.DONE
    assert await redis.xlen("{orders}:mail") == 1


async def test_the_completion_of_a_deleted_entry(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [gone] = await deliver(1)
    await redis.xdel(WHO.stream, gone)
    assert await run(connection, completion(WHO, Completion(gone, None, None, []))) is Completed.DONE
    assert await pending(redis) == {}


@pytest.mark.parametrize(("who", "error"), ELSEWHERE)
async def test_completions_where_nothing_is(connection: Connection, who: Consumer, error: type[ServerError]) -> None:
    with pytest.raises(error):
        await run(connection, completion(who, Completion(b"1-0", None, None, [])))


@pytest.mark.parametrize("reply", [None, b"", b"OK", 2, -1, []])
def test_another_form_of_reply_to_a_completion_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        completed(reply)


# -- dead letters -------------------------------------------------------------------------------------------------


async def test_p12_a_dead_letter_takes_its_entrys_place(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.hset(FAILURES, mapping={held.decode(): "x", f"{held.decode()}:history": "{}"})
    written = await run(connection, letter(WHO, held, ["a", b"b", "n", 5], INTO_DEAD))
    assert await redis.xrange(DEAD) == [(written, {"a": "b", "n": "5"})]
    assert await pending(redis) == {}
    assert not await redis.exists(FAILURES)


async def test_p4_nothing_is_written_of_an_entry_that_is_not_ours(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    lost, settled = await deliver(2)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    await redis.xack(WHO.stream, WHO.group, settled)
    for entry_id in (lost, settled):
        assert await run(connection, letter(WHO, entry_id, ["a", "b"], INTO_DEAD)) is NOT_OURS
    assert not await redis.exists(DEAD)
    assert await pending(redis) == {lost: "bob"}


def the_letter(entry_id: bytes, who: Consumer = WHO, *, payload: str = "", tried: bool = False) -> Step[str | NotOurs]:
    """A letter as the broker composes it."""
    names = ("stream", "group", "consumer", "id")
    values = (*who, entry_id)
    identity = [item for pair in zip((f"dead:{name}" for name in names), values, strict=True) for item in pair]
    fields = ["payload", payload, "dead:reason", "failures", *identity]
    return letter(who, entry_id, fields, INTO_DEAD, tried=tried)


async def test_p12_a_dead_letter_whose_answer_was_lost_is_recognised(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    first, second = await deliver(2)
    written = await run(connection, the_letter(first))
    other = await run(connection, the_letter(second))
    for number in range(20):
        await redis.xadd(DEAD, {"another": number})
    assert await run(connection, the_letter(first)) is NOT_OURS, "nothing was lost, so it is another's"
    again = the_letter(first, payload="as it is now", tried=True)
    assert await run(connection, again) == written
    assert await run(connection, the_letter(second, tried=True)) == other
    assert await redis.xlen(DEAD) == 22


async def test_a_dead_letter_that_an_earlier_try_did_not_write(
    connection: Connection, redis: Redis, deliver: Deliver
) -> None:
    held, others, acked, far = await deliver(4)
    bob = WHO._replace(name="bob")
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [others, acked])
    assert await run(connection, the_letter(others, tried=True)) is NOT_OURS
    assert isinstance(await run(connection, the_letter(acked, bob)), str)
    assert await run(connection, the_letter(acked, tried=True)) is NOT_OURS, "the letter is another consumer's"
    assert isinstance(await run(connection, the_letter(held, tried=True)), str), "the earlier one was not carried out"
    await run(connection, the_letter(far))
    for number in range(NEWEST):
        await redis.xadd(DEAD, {"another": number})
    assert await run(connection, the_letter(far, tried=True)) is NOT_OURS, "not among the newest"
    await redis.set("{orders}:text", "no stream")
    odd = letter(WHO, far, ["a", "b"], DeadLetterOptions("{orders}:text"), tried=True)
    assert await run(connection, odd) is NOT_OURS


async def test_dead_letters_are_bounded(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    await redis.xadd(DEAD, {"old": "1"}, id="1-0")
    few, young = DeadLetterOptions(DEAD, maxlen=2), DeadLetterOptions(DEAD, retention=3600.0)
    held = await deliver(4)
    await run(connection, letter(WHO, held[0], ["a", "b"], INTO_DEAD))
    assert await redis.xlen(DEAD) == 2
    await run(connection, letter(WHO, held[1], ["a", "b"], young))
    assert [entry_id == "1-0" for entry_id, _ in await redis.xrange(DEAD)] == [False, False]
    await run(connection, letter(WHO, held[2], ["a", "b"], few))
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
    assert await run(connection, letter(WHO, gone, ["a", "b"], INTO_DEAD)) is not NOT_OURS
    assert await pending(redis) == {}


async def test_dead_letters_in_a_key_that_is_no_stream(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(DEAD, "no stream")
    with pytest.raises(StreamTypeError):
        await run(connection, letter(WHO, held, ["a", "b"], INTO_DEAD))
    assert await pending(redis) == {held: "ann"}


@pytest.mark.parametrize(("who", "error"), ELSEWHERE)
async def test_dead_letters_where_nothing_is(connection: Connection, who: Consumer, error: type[ServerError]) -> None:
    into = DeadLetterOptions(keys.dead_letters(who.stream, who.group))
    with pytest.raises(error):
        await run(connection, letter(who, b"1-0", ["a", "b"], into))


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
    assert await run(connection, release(WHO, entries)) == Released(2, [])
    assert await pending(redis) == {first: keys.RELEASED, second: keys.RELEASED, lost: "bob"}
    found = await redis.xpending_range(WHO.stream, WHO.group, "-", "+", 2)
    assert [one["times_delivered"] for one in found] == [0, 3]
    assert await redis.get(RELEASED) == "1"
    assert await run(connection, release(WHO, entries)) == Released(2, []), "they lie there: the answer was lost"


async def test_p20_a_release_tells_of_deleted_entries(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    held, gone = await deliver(2)
    await redis.xdel(WHO.stream, gone)
    assert await run(connection, release(WHO, [(gone, 0)])) == Released(0, [gone])
    assert not await redis.exists(RELEASED), "nobody needs to look"
    assert await run(connection, release(WHO, [(held, 0)])) == Released(1, [])


async def test_a_release_does_without_its_count(connection: Connection, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set(RELEASED, "many")
    assert await run(connection, release(WHO, [(held, 0)])) == Released(1, [])


@pytest.mark.parametrize(("who", "error"), ELSEWHERE)
async def test_releases_where_nothing_is(connection: Connection, who: Consumer, error: type[ServerError]) -> None:
    with pytest.raises(error):
        await run(connection, release(who, [(b"1-0", 0)]))


@pytest.mark.parametrize("reply", [None, b"OK", 1, [], [1], [-1, []], [b"x", []], [1, [b"no id"]], [1, [], []]])
def test_another_form_of_reply_to_a_release_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        released(reply)


def test_the_replies() -> None:
    assert failures_written(3, [b"1700", b"", b"0"]) == [1700, NOT_OURS, 0]
    assert list(map(completed, (b"done", b"before", b"copy"))) == list(Completed)
    assert (dead_lettered(b""), dead_lettered(b"1-0")) == (NOT_OURS, "1-0")
    assert released([b"2", [b"3-0"]]) == Released(2, [b"3-0"])
    assert released([0, None]) == Released(0, [])

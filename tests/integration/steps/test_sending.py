"""Sending: many steps in one round trip, each with its own result or error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from redis.asyncio import Redis

from redis_streams_aio import (
    Connection,
    GroupNotFoundError,
    NotOpenError,
    PermissionDeniedError,
    RedisUnavailableError,
    ServerError,
    StreamTypeError,
)
from redis_streams_aio.connection.link import Link
from redis_streams_aio.connection.replies import Answer, Reply, integer
from redis_streams_aio.connection.steps import sending
from redis_streams_aio.connection.steps.completing import Completed, Completion, completion
from redis_streams_aio.connection.steps.consumer import NOT_OURS
from redis_streams_aio.connection.steps.dead_letters import DeadLetterOptions, letter
from redis_streams_aio.connection.steps.releasing import Released, release
from redis_streams_aio.connection.steps.retrying import Failed, failures
from redis_streams_aio.connection.steps.script import Script, Step
from redis_streams_aio.connection.steps.sending import send, send_one
from redis_streams_aio.exceptions import RedisStreamsError, ScriptMissingError, UnansweredError
from tests.integration.steps.conftest import WHO, Deliver, pending

DEAD = DeadLetterOptions("{orders}:billing:dead")
ECHO = Script("return ARGV[1]", keys={"stream": ""})
LENGTH = Script("return redis.call('XLEN', KEYS[1])", keys={"stream": "xlen"})


def echo(text: str) -> Step[Reply]:
    return Step(ECHO, ("orders",), (text,), _as_it_is)


def length(stream: str) -> Step[Reply]:
    return Step(LENGTH, (stream,), (), _as_it_is)


def _as_it_is(reply: Reply) -> Reply:
    return reply


@pytest.fixture
async def link(connection: Connection) -> AsyncIterator[Link]:
    opened = connection.new_links(5).of("control", connection.node_of())
    yield opened
    await opened.close()


class Sent:
    """Stands for a link: notes each request, and answers it as the test says."""

    def __init__(self, *rounds: Sequence[Answer] | RedisStreamsError) -> None:
        self.rounds = list(rounds)
        self.requests: list[bytes] = []

    async def send(self, packed: bytes, expected: int) -> list[Answer]:
        self.requests.append(packed)
        answers = self.rounds.pop(0)
        if isinstance(answers, RedisStreamsError):
            raise answers
        assert len(answers) == expected
        return list(answers)


async def sent(link: Sent, *steps: Step[Reply]) -> list[Reply | RedisStreamsError]:
    return await send(link, steps)  # type: ignore[arg-type]


async def test_fates_of_many_kinds_leave_together(link: Link, redis: Redis, deliver: Deliver) -> None:
    done, failed, dead, released, lost = await deliver(5)
    await redis.xclaim(WHO.stream, WHO.group, "bob", 0, [lost])
    steps = [
        completion(WHO, Completion(done, None, None, [])),
        failures(WHO, [Failed(failed, 1000, 0, 0, "")]),
        letter(WHO, dead, ["a", "b"], DEAD),
        release(WHO, [(released, 0)]),
        letter(WHO, lost, ["a", "b"], DEAD),
    ]
    for expected in (Completed.DONE, Completed.BEFORE):  # the second time all of it is known, or over
        reads = (await redis.info("stats"))["total_reads_processed"]
        completed, first, entry_id, gone, not_ours = await send(link, steps)
        assert (completed, gone, not_ours) == (expected, Released(1, []), NOT_OURS)
        assert first == [0]
        assert (entry_id is NOT_OURS) is (expected is Completed.BEFORE)
    assert (await redis.info("stats"))["total_reads_processed"] - reads == 2, "of which one is this question's"
    assert await redis.xlen("{orders}:billing:dead") == 1
    assert (await pending(redis))[lost] == "bob"


async def test_each_step_has_its_own_error(link: Link, redis: Redis, deliver: Deliver) -> None:
    [held] = await deliver(1)
    await redis.set("text", "no stream")
    missing, odd = WHO._replace(group="gone"), WHO._replace(stream="text")
    found = await send(link, [failures(who, [Failed(held, 0, 0, 0, "")]) for who in (missing, WHO, odd)])
    assert list(map(type, found)) == [GroupNotFoundError, list, StreamTypeError]
    [wrong] = await send(link, [length("text")])
    assert isinstance(wrong, StreamTypeError)
    assert "'text'" in str(wrong), "the only key is named"
    with pytest.raises(StreamTypeError):
        await send_one(link, length("text"))


async def test_a_refused_step_names_its_keys(link: Link, redis: Redis) -> None:
    await redis.execute_command("ACL", "SETUSER", "default", "-xlen")
    try:
        [answer] = await send(link, [length("orders")])
    finally:
        await redis.execute_command("ACL", "SETUSER", "default", "+@all")
    assert isinstance(answer, PermissionDeniedError)
    assert str(answer).startswith("a script on orders: ")


async def test_a_server_that_forgot_scripts_is_taught_each_once(link: Link, redis: Redis) -> None:
    steps = [echo("a"), length("orders"), echo("b"), echo("c"), length("nowhere")]
    for _ in range(2):
        await redis.script_flush()
        before = (await redis.info("commandstats")).get("cmdstat_eval", {"calls": 0})["calls"]
        assert await send(link, steps) == [b"a", 0, b"b", b"c", 0]
        assert (await redis.info("commandstats"))["cmdstat_eval"]["calls"] - before == 2
    await redis.script_flush()
    await send_one(link, echo("known"))
    assert await send(link, steps) == [b"a", 0, b"b", b"c", 0], "some of the scripts are known"


async def test_only_refused_steps_are_sent_again() -> None:
    unknown = ScriptMissingError("NOSCRIPT")
    link = Sent([unknown, 7, unknown], [b"a", b"b"])
    assert await sent(link, echo("a"), length("orders"), echo("b")) == [b"a", 7, b"b"]
    again = link.requests[1]
    assert (again.count(b"EVAL\r\n"), again.count(b"EVALSHA")) == (1, 1)


async def test_answers_are_kept_when_the_connection_is_lost() -> None:
    unknown, lost = ScriptMissingError("NOSCRIPT"), UnansweredError("lost")
    assert await sent(Sent([b"a", lost]), echo("a"), echo("b")) == [b"a", lost]
    assert await sent(Sent([b"a", unknown], lost), echo("a"), echo("b")) == [b"a", lost]
    for nothing_answered in (Sent(lost), Sent([unknown, unknown], lost)):
        with pytest.raises(UnansweredError):
            await sent(nothing_answered, echo("a"), echo("b"))
    with pytest.raises(NotOpenError):
        await sent(Sent(NotOpenError("closed")), echo("a"))


async def test_a_round_trip_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_AT_ONCE", 500)
    texts = [f"{number}" * 150 for number in range(5)]
    link = Sent([b"0", b"1"], [b"2", b"3"], [b"4"])
    assert await sent(link, *map(echo, texts)) == [b"0", b"1", b"2", b"3", b"4"]
    assert all(len(packed) <= 500 for packed in link.requests)
    huge = Sent([b"huge"], [b"small"])
    assert await sent(huge, echo("x" * 1000), echo("y")) == [b"huge", b"small"], "a step is never cut"
    lost = RedisUnavailableError("gone")
    assert await sent(Sent([b"0", b"1"], lost), *map(echo, texts)) == [b"0", b"1", lost, lost, lost], "not tried on"


async def test_a_reply_that_is_not_the_steps_is_its_error() -> None:
    step = Step(ECHO, ("orders",), ("x",), integer)
    [answer] = await send(Sent([b"no number"]), [step])  # type: ignore[arg-type]
    assert isinstance(answer, ServerError)


async def test_no_step_is_no_round_trip() -> None:
    link = Sent()
    assert await sent(link) == []
    assert link.requests == []

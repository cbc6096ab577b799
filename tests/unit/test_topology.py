"""Where a key lives, what an error says of its connection, and the backoff that connections to a node share."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from redis import exceptions as redis_errors

from redis_streams_aio import (
    AuthenticationFailedError,
    RedisStreamsError,
    RedisUnavailableError,
    WrongNodeError,
)
from redis_streams_aio.connection import backoff, capabilities, errors, naming, node, replies
from redis_streams_aio.connection.node import Node
from redis_streams_aio.connection.topology import OneNode
from redis_streams_aio.connection.verdicts import KEEP, REDIAL, Move, Verdict, verdict

REFUSED = RedisUnavailableError("redis://here: Connection refused")
WRONG = WrongNodeError("READONLY You can't write against a read only replica.")

VERDICTS: list[tuple[str, Verdict | Move]] = [
    # the connection leads to the wrong server
    ("READONLY You can't write against a read only replica.", REDIAL),
    ("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write", REDIAL),
    ("NOREPLICAS Not enough good replicas to write.", REDIAL),
    ("NOGOODSLAVE Not enough good slaves to write.", REDIAL),
    ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", REDIAL),
    ("CLUSTERDOWN The cluster is down", REDIAL),
    ("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", REDIAL),
    # the key lives on another node
    ("MOVED 3999 127.0.0.1:6381", Move(3999, "127.0.0.1", 6381, asking=False)),
    ("ASK 3999 127.0.0.1:6381", Move(3999, "127.0.0.1", 6381, asking=True)),
    ("MOVED 3999 redis-2.internal:6381", Move(3999, "redis-2.internal", 6381, asking=False)),
    ("MOVED 0 [fd00::2]:6381", Move(0, "fd00::2", 6381, asking=False)),
    ("MOVED 16383 :6381", Move(16383, "", 6381, asking=False)),
    ("MOVED 0 fd00::2:6381", Move(0, "fd00::2", 6381, asking=False)),
    ("READONLY 3999 127.0.0.1:6381", REDIAL),
    ("MOVED 1 2 h:3", REDIAL),
    ("MOVED over there", REDIAL),
    ("MOVED over there:1", REDIAL),
    ("ASK 1 nowhere", REDIAL),
    # Redis cannot do it now, on any connection
    ("LOADING Redis is loading the dataset in memory", KEEP),
    ("OOM command not allowed when used memory > 'maxmemory'.", KEEP),
    ("MISCONF Redis is configured to save RDB snapshots", KEEP),
    ("BUSY Redis is busy running a script.", KEEP),
    ("TRYAGAIN Multiple keys request during rehashing of slot", KEEP),
    ("ERR Script attempted to access a non local key in a cluster node script: 7ca9, on @user_script:31.", KEEP),
    # the command is about something that is not there, or not allowed
    ("UNBLOCKED the stream key no longer exists", KEEP),
    ("UNBLOCKED client unblocked via CLIENT UNBLOCK", KEEP),
    ("NOGROUP No such key 's' or consumer group 'g'", KEEP),
    ("NOSCRIPT No matching script.", KEEP),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", KEEP),
    ("NOPERM this user has no permissions", KEEP),
    ("CROSSSLOT Keys in request don't hash to the same slot", KEEP),
    ("ERR a TASK that was MOVED 1 2:3", KEEP),
    ("", KEEP),
]


@pytest.mark.parametrize(("text", "expected"), VERDICTS)
def test_p16_what_an_error_reply_says_of_its_connection(text: str, expected: Verdict | Move) -> None:
    error = errors.from_reply(redis_errors.ResponseError(text))
    assert verdict(error) == expected
    assert isinstance(error, WrongNodeError) == (expected is not KEEP), "what may be sent again, to another server"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (redis_errors.MovedError("3999 127.0.0.1:6381"), Move(3999, "127.0.0.1", 6381, asking=False)),
        (redis_errors.AskError("3999 127.0.0.1:6381"), Move(3999, "127.0.0.1", 6381, asking=True)),
        (redis_errors.ReadOnlyError("You can't write"), REDIAL),
        (redis_errors.MasterDownError("Link with MASTER is down"), REDIAL),
        (redis_errors.ClusterDownError("The cluster is down"), REDIAL),
        (redis_errors.OutOfMemoryError("command not allowed"), KEEP),
    ],
)
def test_p16_redis_py_cuts_the_first_word_off_and_the_verdict_is_the_same(
    reply: Exception, expected: Verdict | Move
) -> None:
    assert verdict(errors.from_reply(reply)) == expected


@pytest.mark.parametrize("error", [REFUSED, AuthenticationFailedError("NOAUTH"), errors.from_lost(OSError("x"), "h")])
def test_errors_that_are_no_replies_say_nothing_of_where_the_connection_leads(error: RedisStreamsError) -> None:
    assert verdict(error) is KEEP


async def nowhere() -> Any:
    raise REFUSED


def test_all_keys_live_on_the_one_node_which_a_move_leaves_no_other() -> None:
    topology = OneNode(nowhere, "here")
    assert {topology.node_of(), topology.node_of("orders"), topology.node_of(b"x")} == {topology.only}
    assert topology.after(WrongNodeError("MOVED 3999 127.0.0.1:6381")) is REDIAL
    assert topology.after(WRONG) is REDIAL


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("XADD", "s", "*", "a", "b"), "s"),
        (("XLEN", b"s"), b"s"),
        (("XINFO", "GROUPS", "s"), "s"),
        (("XGROUP", "CREATE", "s", "g", "$"), "s"),
        (("XREADGROUP", "GROUP", "g", "STREAM", "COUNT", 1, "STREAMS", "s", ">"), "s"),
        (("EVAL", "return 1", 2, "s", "t", "x"), "s"),
        (("EVALSHA", "abc", 1, "s"), "s"),
        (("EVAL", "return 1", 0, "x"), None),
        (("EVALSHA", "abc", 0, "x"), None),
        (("MGET", "a", "b"), "a"),
        (("TIME",), None),
        (("CLIENT", "UNBLOCK", 3), None),
        (("SCAN", 0), None),
        (("PING",), None),
        (("FLUSHALL",), None),
    ],
)
def test_a_command_has_its_key_where_redis_expects_it(command: tuple[Any, ...], key: object) -> None:
    assert naming.key_of(command) == key


class Time:
    """A clock that the test moves, and dice without luck."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(node, "monotonic", clock)
    monkeypatch.setattr(backoff.random, "uniform", lambda _, longest: longest)
    return clock


SOME = replies.Server("valkey", "9.1.2", 1)


class Server:
    """Is away until told otherwise."""

    def __init__(self) -> None:
        self.is_there = False
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.who = SOME

    async def __call__(self) -> Any:
        self.asked += 1
        await self.may_answer.wait()
        if not self.is_there:
            raise REFUSED
        return "connection", self.who


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def one(server: Server) -> Node:
    return Node(server, verdict, "here")


async def fails(one: Node) -> None:
    with pytest.raises(RedisUnavailableError):
        await one.dial()


async def test_p16_a_node_that_is_away_is_asked_with_growing_pauses(time: Time, one: Node, server: Server) -> None:
    pauses = []
    for _ in range(7):
        began = time.now
        while wait := one.wait():
            assert wait <= node.LOOK
            time.now += wait
        pauses.append(round(time.now - began, 3))
        await fails(one)
    assert pauses == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    server.is_there = True
    time.now += 2
    assert one.wait() == 0
    assert await one.dial() == ("connection", SOME)
    assert one.wait() == 0
    await fails_after(one, server)
    assert one.wait() == pytest.approx(0.1), "from the beginning"


async def fails_after(one: Node, server: Server) -> None:
    server.is_there = False
    await fails(one)


async def test_p16_while_a_node_is_away_one_asks_at_every_turn_and_the_others_wait_for_it(
    time: Time, one: Node, server: Server
) -> None:
    await fails(one)
    time.now += 0.1
    assert [one.wait() > 0 for _ in range(1000)] == [False] + [True] * 999
    server.is_there = True
    await one.dial()
    assert [one.wait() for _ in range(3)] == [0, 0, 0], "open for all"


async def test_p16_the_turn_of_one_that_went_away_is_the_next_ones(time: Time, one: Node) -> None:
    await fails(one)
    time.now += 0.1
    assert one.wait() == 0  # and it is cancelled
    assert one.wait() > 0
    time.now += 0.2
    assert one.wait() == 0


async def test_p16_connections_that_fail_together_are_one_failure(time: Time, one: Node, server: Server) -> None:
    server.may_answer.clear()
    dialling = [asyncio.create_task(one.dial()) for _ in range(50)]
    await asyncio.sleep(0)
    time.now += 1
    server.may_answer.set()
    await asyncio.gather(*dialling, return_exceptions=True)
    assert one.wait() == pytest.approx(0.1)


async def test_p16_a_wrong_node_is_left_by_all_and_dialled_with_growing_pauses(time: Time, one: Node) -> None:
    pauses = []
    for _ in range(5):
        turn = one.turn
        one.heard(turn, WRONG)
        one.heard(turn, WRONG)  # another connection, which was made before
        assert one.turn == turn + 1
        began = time.now
        while wait := one.wait():
            time.now += wait
        pauses.append(round(time.now - began, 3))
        assert [one.wait() for _ in range(3)] == [0, 0, 0], "all may look whether the address leads elsewhere"
    assert pauses == [0.4, 0.8, 1.6, 2.0, 2.0]
    time.now += node.STEADY + 0.1
    one.heard(one.turn, WRONG)
    time.now += 0.4
    assert one.wait() == 0, "from the beginning"


async def test_p16_a_connection_that_comes_about_does_not_shorten_the_pause_of_a_wrong_node(
    time: Time, one: Node, server: Server
) -> None:
    await fails(one)
    one.heard(one.turn, WRONG)
    server.is_there = True
    await one.dial()
    assert one.wait() > 0
    time.now += 0.4
    assert one.wait() == 0


def test_p16_a_move_says_nothing_against_the_connection(time: Time, one: Node) -> None:
    one.heard(one.turn, WrongNodeError("MOVED 3999 127.0.0.1:6381"))
    assert (one.turn, one.wait()) == (0, 0)


async def test_p16_one_that_waits_for_long_learns_why(one: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "PATIENCE", 0.0)
    await fails(one)
    await fails(one)
    with pytest.raises(RedisUnavailableError, match="Connection refused") as told:
        await one.until_open()
    assert told.value is not REFUSED
    one.heard(one.turn, WRONG)
    with pytest.raises(WrongNodeError, match="READONLY"):
        await one.until_open()


def test_p16_pauses_double_up_to_the_longest() -> None:
    pauses = [*itertools.accumulate(range(3000), lambda pause, _: backoff.longer(pause), initial=0.0)][1:]
    assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert pauses[-1] == 2.0
    assert backoff.longer(0, 0.4) == 0.4


def test_p16_half_of_a_pause_is_at_random() -> None:
    waits = [backoff.jittered(2.0) for _ in range(5000)]
    assert (min(waits), max(waits)) == (pytest.approx(1.0, abs=0.02), pytest.approx(2.0, abs=0.02))
    assert all(1.0 <= wait <= 2.0 for wait in waits)


# -- capabilities -------------------------------------------------------------------------------------------------


async def test_what_a_server_was_found_to_lack_is_known_until_another_one_answers(one: Node, server: Server) -> None:
    server.is_there, server.who = True, replies.Server("redis", "8.10.2", 1)
    assert one.capabilities == frozenset(), "nothing is known yet"
    await one.dial()
    assert one.capabilities == {capabilities.IDMP}
    one.lacks(capabilities.IDMP)
    await one.dial()
    assert one.capabilities == frozenset()
    server.who = replies.Server("redis", "8.12.0", 1)
    await one.dial()
    assert one.capabilities == {capabilities.IDMP}
    server.who = SOME
    await one.dial()
    assert one.capabilities == frozenset()

"""Slots of keys, the map of a Cluster, and commands that are sent again to other nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from redis_streams_aio import RedisUnavailableError, ServerError, WrongNodeError
from redis_streams_aio.connection.cluster.slots import Range, ranges, replicas, slot_of
from redis_streams_aio.connection.hosts import Host
from redis_streams_aio.connection.packing import pack
from redis_streams_aio.connection.redirects import ASKING, MOST_HOPS, asking, followed, split
from redis_streams_aio.connection.replies import Answer
from redis_streams_aio.connection.verdicts import Move

ASKED = Host("10.0.0.1", 7000)


@given(
    st.binary()
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(["{}a", "{a}b", "a{b}{c}", "}{a}", "{a", "{{a}}"])
)
def test_p30_slots_are_those_of_redis_py(key):
    assert slot_of(key) == key_slot(key if isinstance(key, bytes) else key.encode())


def test_p30_the_map_is_read_and_a_node_that_does_not_know_its_address_is_the_one_that_was_asked():
    reply = [
        [0, 5460, [b"10.0.0.2", 7001, b"id", []], [b"10.0.0.3", 7002, b"id", []]],
        [5461, 10922, [b"", 7003, b"id"]],
        [10923, 16383, [None, 7004, b"id"]],
    ]
    assert ranges(reply, ASKED) == [
        Range(0, 5460, Host("10.0.0.2", 7001)),
        Range(5461, 10922, Host("10.0.0.1", 7003)),
        Range(10923, 16383, Host("10.0.0.1", 7004)),
    ]
    assert replicas(reply, ASKED) == [Host("10.0.0.3", 7002)]
    assert ranges([], ASKED) == replicas([], ASKED) == []


@pytest.mark.parametrize(
    "reply", [b"OK", 5, [b"x"], [[0, 5]], [[5, 0, [b"h", 1]]], [[0, 16384, [b"h", 1]]], [[0, 1, []]]]
)
def test_p30_what_is_not_a_map_is_refused(reply):
    with pytest.raises(ServerError):
        ranges(reply, ASKED)


words = st.binary(max_size=20)


@given(st.lists(st.lists(words, min_size=1, max_size=4).map(tuple), max_size=6))
def test_p30_a_request_is_split_into_its_commands(commands):
    packed = [pack(command) for command in commands]
    assert split(b"".join(packed)) == packed


class Nodes:
    """Nodes that answer commands in turn, and what each of them was sent."""

    def __init__(self, **answers: list[list[Answer]]) -> None:
        self.answers = answers
        self.sent: list[tuple[str, bytes, int]] = []

    def post_to(self, move: Move):
        return lambda packed, expected: self.post(move.host, packed, expected)

    async def post(self, host: str, packed: bytes, expected: int) -> list[Answer]:
        self.sent.append((host, packed, expected))
        answer = self.answers[host].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def follow(self, packed: bytes, expected: int) -> list[Answer]:
        return await followed(self.post("first", packed, expected), self.post_to, packed, expected)


A, B, C = (pack(("XADD", key, "*", "f", "v")) for key in "abc")


async def test_p30_only_commands_that_moved_are_sent_again_in_their_order():
    nodes = Nodes(
        first=[[b"1", WrongNodeError("MOVED 7 two:1"), WrongNodeError("ASK 8 three:2")]],
        two=[[b"2"]],
        three=[[b"OK", b"3"]],
    )
    assert await nodes.follow(A + B + C, 3) == [b"1", b"2", b"3"]
    assert nodes.sent == [("first", A + B + C, 3), ("two", B, 1), ("three", ASKING + C, 2)]


async def test_p30_commands_of_several_slots_for_one_node_leave_in_one_write():
    nodes = Nodes(first=[[WrongNodeError("MOVED 7 two:1"), WrongNodeError("MOVED 9 two:1")]], two=[[b"1", b"2"]])
    assert await nodes.follow(A + B, 2) == [b"1", b"2"]
    assert nodes.sent[1:] == [("two", A + B, 2)]


async def test_p30_a_redirect_that_leads_on_and_on_ends_with_its_last_answer():
    nodes = Nodes(first=[[WrongNodeError("MOVED 7 two:1")]], two=[[WrongNodeError("MOVED 7 two:1")] for _ in range(9)])
    [answer] = await nodes.follow(A, 1)
    assert str(answer) == "MOVED 7 two:1"
    assert len(nodes.sent) == 1 + MOST_HOPS


async def test_p30_a_node_that_is_not_there_has_its_error_in_the_place_of_each_answer():
    gone = RedisUnavailableError("two:1 is away")
    nodes = Nodes(first=[[WrongNodeError("MOVED 7 two:1"), b"2"]], two=[gone])
    assert await nodes.follow(A + B, 2) == [gone, b"2"]
    left = WrongNodeError("first has no slots now")
    assert await Nodes(first=[left]).follow(A + B, 2) == [left, left]


async def test_p30_asking_stands_before_each_command_that_goes_ahead_of_a_read():
    told: list[list[Answer]] = []
    ahead, answered = asking([A, B], told.append)
    assert ahead == [ASKING, A, ASKING, B, ASKING]
    answered([b"OK", 1, b"OK", 2, b"OK"])
    assert told == [[1, 2]]
    assert asking([], told.append)[0] == [ASKING]

"""Copies are counted only where the count says something."""

from __future__ import annotations

from typing import Any

import pytest

from redis_streams_aio import NotDurableError, ServerError, UnansweredError
from redis_streams_aio.connection.replies import Answer
from redis_streams_aio.connection.steps.copies import Copies
from redis_streams_aio.producer.durably import Confirming
from redis_streams_aio.producer.rounds import Answers

ONE = Copies("replicated", 1)
LOST = UnansweredError("lost")


class Rounds:
    """Answers as it is told."""

    def __init__(self, *answers: Answers) -> None:
        self.answers = [*answers]

    async def send(self, packed: list[bytes], stream: str, copies: Copies) -> Answers:
        return self.answers.pop(0)


async def plainly(packed: list[bytes], stream: str) -> list[Answer]:
    return [b"9-9"] * len(packed)


def confirming(*answers: Answers, copies: Copies = ONE) -> Confirming:
    rounds: Any = Rounds(*answers)
    return Confirming(rounds, copies, plainly, 0.5)


async def told(one: Confirming) -> NotDurableError:
    with pytest.raises(NotDurableError) as caught:
        one.check(["1-1"], "orders")
    return caught.value


async def test_enough_copies() -> None:
    one = confirming(Answers([b"1-1"], 1), Answers([b"1-2"], 3))
    assert [await one.ask([b""], "orders") for _ in range(2)] == [[b"1-1"], [b"1-2"]]
    one.check(["1-1", "1-2"], "orders")


@pytest.mark.parametrize("reply", [[1, 0], [1, 7]])
async def test_the_disk_of_the_primary_counts_and_those_of_replicas_do_not(reply: Any) -> None:
    one = confirming(Answers([b"1-1"], reply), copies=Copies("disk", 1))
    await one.ask([b""], "orders")
    one.check(["1-1"], "orders")
    other = confirming(Answers([b"1-1"], [0, 7]), copies=Copies("disk", 1))
    await other.ask([b""], "orders")
    assert "0 of 1 disks of the primary confirmed" in str(await told(other))


async def test_a_later_round_does_not_make_up_for_an_earlier_one_and_is_not_waited_for() -> None:
    one = confirming(Answers([b"1-1"], 0))
    await one.ask([b""], "orders")
    assert await one.ask([b""], "orders") == [b"9-9"]
    assert (await told(one)).reached == 0


async def test_an_event_that_was_sent_again_cannot_be_counted() -> None:
    """Redis recognises the repetition and writes nothing, so `WAIT` counts all replicas that there are."""
    one = confirming(Answers([LOST], LOST), Answers([b"1-1"], 1))
    assert await one.ask([b""], "orders") == [LOST]
    assert await one.ask([b""], "orders") == [b"1-1"]
    assert "sent again" in (await told(one)).reason


@pytest.mark.parametrize("answer", [ServerError("NOPERM"), "many", None, [1]])
async def test_an_answer_that_is_no_number_confirms_nothing(answer: Any) -> None:
    one = confirming(Answers([b"1-1"], answer))
    await one.ask([b""], "orders")
    assert (await told(one)).reached == 0


async def test_where_no_event_was_written_there_is_nothing_to_count() -> None:
    one = confirming(Answers([ServerError("OOM")], 0))
    await one.ask([b""], "orders")
    one.check([], "orders")


@pytest.mark.parametrize(
    ("kind", "name", "version", "lacks"),
    [
        ("disk", "redis", "7.0.15", True),
        ("disk", "redis", "7.2.0", False),
        ("disk", "redis", "8.10.2", False),
        ("disk", "valkey", "7.2.4", False),
        ("disk", "", "", False),
        ("replicated", "redis", "7.0.15", False),
    ],
)
def test_which_server_can_be_asked(kind: Any, name: str, version: str, *, lacks: bool) -> None:
    assert bool(Copies(kind, 1).lacking(name, version)) == lacks

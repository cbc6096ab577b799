"""`Rounds`: events of many callers that wait for the same copies leave together, with one question behind them all.

`WAIT` holds up the connection that it is sent on, so these events have a link of their own (purpose `durable`): others
never wait behind them.

States of a node and the copies asked for: *idle* -> *gathering*, for the rest of this turn of the event loop -> *under
way*, one round at a time, while the next one gathers -> *idle*.

When things fail: the error of the link takes the place of each answer in its round. A caller that is cancelled leaves
its events in the round. Events whose stream has moved to another node of a Cluster are sent there, with a question of
their own: copies are counted where they are written.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import NamedTuple
from weakref import WeakKeyDictionary

from ..connection import Connection
from ..connection.node import Node
from ..connection.packing import pack
from ..connection.redirects import moved, send_again
from ..connection.replies import Answer
from ..connection.steps.copies import Copies
from ..exceptions import RedisStreamsError

MOST = 1000
"""The events of a round, unless one caller sends more at once."""


class Answers(NamedTuple):
    """The answers to events of a round, and to the question behind them."""

    ids: list[Answer]
    copies: Answer


class _Part(NamedTuple):
    """The events of one caller."""

    packed: list[bytes]
    stream: str
    answered: asyncio.Future[Answers]


class _Gathering:
    """The events that wait for the next round."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.task: asyncio.Task[None] | None = None

    def next_round(self) -> list[_Part]:
        """Take the oldest events out."""
        size = taken = 0
        for part in self.parts:
            size += len(part.packed)
            if taken and size > MOST:
                break
            taken += 1
        following, self.parts = self.parts[:taken], self.parts[taken:]
        return following


class Rounds:
    """The rounds of one publisher, by node and copies."""

    def __init__(self, connection: Connection, patience_ms: int) -> None:
        self._connection = connection
        self._patience_ms = patience_ms
        self._by_node: WeakKeyDictionary[Node, dict[Copies, _Gathering]] = WeakKeyDictionary()

    async def send(self, packed: list[bytes], stream: str, copies: Copies) -> Answers:
        """Send events in the next round to the node of a stream. Does not raise errors of the link."""
        by_copies = self._by_node.setdefault(self._connection.node_of(stream), {})
        gathering = by_copies.setdefault(copies, _Gathering())
        part = _Part(packed, stream, asyncio.get_running_loop().create_future())
        gathering.parts.append(part)
        if gathering.task is None or gathering.task.done():
            question = pack(copies.question(self._patience_ms))
            gathering.task = asyncio.create_task(
                self._run(gathering, question), name="redis_streams_aio durable publishing", context=Context()
            )
        return await part.answered

    async def _run(self, gathering: _Gathering, question: bytes) -> None:
        """Send round after round, until none is left."""
        while parts := gathering.next_round():
            packed = [command for part in parts for command in part.packed]
            try:
                answers, copies = await self._ask(packed, parts[0].stream, question)
            except RedisStreamsError as error:
                answers, copies = [error] * len(packed), [error] * len(packed)
            start = 0
            for part in parts:
                end = start + len(part.packed)
                if not part.answered.done():
                    part.answered.set_result(Answers(answers[start:end], copies[end - 1]))
                start = end

    async def _ask(self, packed: list[bytes], stream: str, question: bytes) -> tuple[list[Answer], list[Answer]]:
        """Send events with the question; return their answers, and for each event the answer about its copies.

        Raises the errors of `Link`.
        """
        link = self._connection.link("durable", stream)
        *answers, answer = await link.send(b"".join((*packed, question)), len(packed) + 1)
        copies = [answer] * len(packed)
        for move, places in moved(answers).items():
            commands = [*(packed[at] for at in places), question]
            post = self._connection.link_to("durable", move).post
            *again, answer = await send_again(post, commands, asking=move.asking)
            for at, each in zip(places, again, strict=True):
                answers[at], copies[at] = each, answer
        return answers, copies

"""`Resending` sends commands again that Redis refuses for the moment (LOADING, READONLY, OOM, ...).

While a node refuses, only one call at a time tries there, and the others wait (`backoff.SharedBackoff`): a thousand
publishing tasks cost a full Redis no more than one. Each node has its own backoff, so that calls to the other nodes
go on.

States of a node: *open* (nothing is stored about it) -> *shut* with the first call that is refused -> *open* when Redis
took an event, or when no call waits any longer: the next one tries at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from ..connection import Connection
from ..connection.backoff import SharedBackoff
from ..connection.node import Node
from ..connection.replies import Answer
from ..exceptions import RedisRefusedError

UNASKED = RedisRefusedError("not asked yet")
Ask = Callable[[list[bytes], str], Awaitable[list[Answer]]]
"""Sends commands about a stream in one round trip, and returns their answers or the error of each."""


class _Turns:
    """Who may try at a node, and how many calls wait for it."""

    def __init__(self) -> None:
        self.backoff = SharedBackoff()
        self.calls = 0


class Resending:
    """The turns at the nodes that refuse now."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.shut: dict[Node, _Turns] = {}
        """The nodes for which calls wait; empty nearly always."""

    def is_open(self, stream: str) -> bool:
        """Whether nobody was refused lately at the node of a stream: ask at once."""
        turns = self.shut.get(self._connection.node_of(stream)) if self.shut else None
        return turns is None or turns.backoff.is_open

    async def resend(
        self, ask: Ask, packed: list[bytes], answers: list[Answer], stream: str, give_up: float
    ) -> list[Answer]:
        """Send those commands again whose answers are refusals, in order, until the time `give_up`.

        Each call tries once before it gives up.
        """
        if not _refused(answers):
            return answers
        with self._waiting(self._connection.node_of(stream)) as backoff:
            while refused := _refused(answers):
                if answers[refused[0]] is not UNASKED:
                    backoff.refused(monotonic())
                    if monotonic() >= give_up:
                        return answers
                await _wait_for_turn(backoff, give_up)
                again = await ask([packed[index] for index in refused], stream)
                for index, answer in zip(refused, again, strict=True):
                    answers[index] = answer
            backoff.passed()
            return answers

    @contextmanager
    def _waiting(self, node: Node) -> Iterator[SharedBackoff]:
        turns = self.shut.setdefault(node, _Turns())
        turns.calls += 1
        try:
            yield turns.backoff
        finally:
            turns.calls -= 1
            if not turns.calls:
                del self.shut[node]


async def _wait_for_turn(backoff: SharedBackoff, give_up: float) -> None:
    """Wait until this call may try, or until its time is over."""
    while (wait := backoff.wait(monotonic())) and (left := give_up - monotonic()) > 0:  # noqa: ASYNC110  # by time
        await asyncio.sleep(min(wait, left))


def _refused(answers: Sequence[Answer]) -> list[int]:
    """Return the places of the events that Redis refuses for the moment."""
    return [index for index, answer in enumerate(answers) if isinstance(answer, RedisRefusedError)]

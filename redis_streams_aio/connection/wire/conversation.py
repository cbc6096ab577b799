"""`Conversation`: one exchange after another on a `Wire` that is not shared.

An exchange has neither a task nor a timer: one alarm looks now and then whether the present one is late. An answer is
late when its time is up and no byte came for `silence` seconds. The end of the wire ends the exchange that is under
way, with the reason. `on_lost` is called in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from redis import exceptions as redis_errors

from ..replies import Answer
from .wire import Wire

if TYPE_CHECKING:
    from redis.asyncio.connection import AbstractConnection

Answered = Callable[[list[Answer]], object]


class Conversation:
    """Sends commands and waits for their answers, one exchange at a time."""

    def __init__(self, connection: AbstractConnection, silence: float, on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._silence = silence
        self._on_lost = on_lost
        self._late_at = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._ahead = 0
        self._answers: list[Answer] = []
        self._answered: Answered = _nothing
        self._last: asyncio.Future[Answer] | None = None
        self._wire = Wire(connection, self._take)
        self._wire.lost.add_done_callback(self._lost)

    @property
    def is_open(self) -> bool:
        """Whether what is sent now may still arrive."""
        return self._wire.is_open

    async def exchange(self, packed: bytes, within: float, ahead: int, answered: Answered) -> Answer:
        """Send commands, and return the answer to the last one; the `ahead` first ones are `answered` before.

        Raises one of `LOST_CONNECTION`. After that, or when it is cancelled, the connection is unusable.
        """
        self._ahead, self._answers, self._answered = ahead, [], answered
        self._late_at = self._loop.time() + within
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._late_at, self._look)
        self._last = self._loop.create_future()
        self._wire.write(packed)
        try:
            return await self._last
        finally:
            self._last = None

    def close(self) -> None:
        """End the alarm, and call `on_lost` no longer. The owner of the connection closes it."""
        self._on_lost = _silent
        if self._alarm is not None:
            self._alarm.cancel()

    def _take(self, answer: Answer) -> None:
        last = self._last
        if last is None or last.done():
            raise redis_errors.ConnectionError("a reply came that nobody had asked for")
        if len(self._answers) == self._ahead:
            last.set_result(answer)
            return
        self._answers.append(answer)
        if len(self._answers) == self._ahead:
            self._answered(self._answers)

    def _look(self) -> None:
        self._alarm = None
        if self._last is None:
            return
        late_at = max(self._late_at, self._wire.heard + self._silence)
        if late_at <= self._loop.time():
            self._wire.lose(TimeoutError())
        else:
            self._alarm = self._loop.call_at(late_at, self._look)

    def _lost(self, lost: asyncio.Future[None]) -> None:
        reason = lost.exception()
        self._on_lost()
        if reason is not None and self._last is not None and not self._last.done():
            self._last.set_exception(reason)


def _nothing(_: list[Answer]) -> None:
    """Nothing was sent ahead."""


def _silent() -> None:
    """Nobody wants to know."""

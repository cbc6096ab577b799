"""`Conversation`: one exchange after another on a `Wire` that is not shared.

An exchange has neither a task nor a timer nor a coroutine: the caller awaits a future, and one alarm looks now and then
whether the present exchange is late. An answer is late when its time is up and no byte came for `silence` seconds. The
end of the wire ends the exchange that is under way, with the reason. `on_lost` is called in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from ...exceptions import RedisStreamsError
from ..replies import Answer, Reply
from .answers import Answered
from .wire import Wire

T = TypeVar("T")


class Conversation:
    """Sends commands and tells their answers, one exchange at a time."""

    def __init__(self, wire: Wire, silence: float, on_lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._silence = silence
        self._on_lost = on_lost
        self._late_at = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._ahead = 0
        self._answers: list[Answer] = []
        self._answered: Answered = _nothing
        self._read: Callable[[Reply], Any] = _nothing
        self._last: asyncio.Future[Any] | None = None
        self._wire = wire
        wire.take = self._take_all
        wire.lost.add_done_callback(self._lost)

    @property
    def is_open(self) -> bool:
        """Whether what is sent now may still arrive."""
        return self._wire.is_open

    def exchange(
        self, packed: bytes, within: float, ahead: int, answered: Answered, read: Callable[[Reply], T]
    ) -> asyncio.Future[T | RedisStreamsError]:
        """Send commands; the future gets what `read` makes of the reply to the last one, or the error reply.

        `read` is called when the reply arrives, before anything that waits for the future runs; the `ahead` first
        commands are `answered` before. The future gets one of `LOST_CONNECTION`, or the error that `read` raised.
        After that, or when it is cancelled, the connection is unusable.
        """
        self._ahead, self._answers, self._answered, self._read = ahead, [], answered, read
        self._late_at = self._loop.time() + within
        if self._alarm is None:
            self._alarm = self._loop.call_at(self._late_at, self._look)
        self._last = last = self._loop.create_future()
        self._wire.write(packed)
        return last

    def close(self) -> None:
        """End the alarm, and call `on_lost` no longer. The owner of the connection closes it."""
        self._on_lost = _silent
        if self._last is not None:
            self._last.add_done_callback(_noted)  # nobody may wait for it
        if self._alarm is not None:
            self._alarm.cancel()

    def _take_all(self, answers: list[Answer]) -> None:
        for answer in answers:
            self._take(answer)

    def _take(self, answer: Answer) -> None:
        last = self._last
        if last is None or last.done():
            raise ConnectionError("a reply came that nobody had asked for")
        if len(self._answers) < self._ahead:
            self._answers.append(answer)
            if len(self._answers) == self._ahead:
                self._answered(self._answers)
            return
        self._last = None
        if isinstance(answer, RedisStreamsError):
            last.set_result(answer)
            return
        try:
            last.set_result(self._read(answer))
        except Exception as error:  # noqa: BLE001  # raised by the future
            last.set_exception(error)

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


def _noted(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()


def _nothing(_: object) -> None:
    """Nothing was sent ahead."""


def _silent() -> None:
    """Nobody wants to know."""

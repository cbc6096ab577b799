"""`Outbox`: the commands that wait to be sent on a link, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import islice

import msgspec

from ...exceptions import RedisStreamsError, RedisUnavailableError
from ..replies import Answer

MOST_QUEUED = 16 * 1024 * 1024
"""Bytes that may wait to be sent before callers wait too: a slow Redis must not fill this process's memory."""
MOST_AT_ONCE = 1024 * 1024
"""Bytes in one write: a long queue must not hold the first caller until the last one's reply."""


class Request(msgspec.Struct):
    """One caller's commands, written together; its future gets a list with one answer for each."""

    packed: bytes
    expected: int
    future: asyncio.Future[list[Answer]]
    expires: float
    answers: list[Answer] = []
    ends_batch: bool = False

    def take(self, answer: Answer, others: Iterator[Answer]) -> bool:
        """Take an answer, and as many of the others as are missing. Return whether the request has all, and is done."""
        answers = self.answers
        answers.append(answer)
        if missing := self.expected - len(answers):
            answers += islice(others, missing)
            if len(answers) < self.expected:
                return False
        if not self.future.done():
            self.future.set_result(answers)
        return True

    def fail(self, error: Exception) -> None:
        """End it with an error; commands that have their answers keep them."""
        if self.future.done():
            return
        if self.answers and isinstance(error, RedisStreamsError):
            self.future.set_result([*self.answers, *[error] * (self.expected - len(self.answers))])
        else:
            self.future.set_exception(error)


class Outbox:
    """Requests in the order in which they were posted."""

    def __init__(self, where: str, loop: asyncio.AbstractEventLoop) -> None:
        self._where = where
        self._loop = loop
        self._queue: deque[Request] = deque()
        self.size: int = 0
        """Bytes that wait."""
        self.is_full: bool = False
        """Whether a caller that wants to add a request has to wait."""
        self._room = asyncio.Event()
        self._room.set()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, packed: bytes, expected: int, expires: float) -> asyncio.Future[list[Answer]]:
        """Add a request at the end, and return the future that gets its answers. First wait while it `is_full`."""
        future = self._loop.create_future()
        self._queue.append(Request(packed, expected, future, expires))
        self.size += len(packed)
        if self.size > MOST_QUEUED:
            self.is_full = True
            self._room.clear()
        return future

    def _took(self, size: int) -> None:
        self.size -= size
        if self.is_full and self.size <= MOST_QUEUED // 2:
            self.let_all_in()

    def next_batch(self) -> list[Request]:
        """Remove and return as many requests as belong into one write."""
        batch: list[Request] = []
        queue, size, dropped = self._queue, 0, 0
        while queue and size < MOST_AT_ONCE:
            request = queue.popleft()
            if request.future.done():  # its caller is gone, and nothing was sent: not sent then
                dropped += len(request.packed)
                continue
            size += len(request.packed)
            batch.append(request)
        self._took(size + dropped)
        return batch

    async def wait_for_room(self, expires: float) -> None:
        """Wait until more may be put in. Raises `RedisUnavailableError` when the time is up."""
        try:
            async with asyncio.timeout_at(expires):
                while self.is_full:
                    await self._room.wait()
        except TimeoutError:
            raise RedisUnavailableError(f"{self._where}: too much is queued, and this was not sent") from None

    def next_expires(self) -> float | None:
        """When the time of the oldest is up; `None`: nothing waits."""
        return self._queue[0].expires if self._queue else None

    def fail_expired(self, error: RedisUnavailableError) -> None:
        """Fail those whose time is up."""
        while self._queue and self._queue[0].expires <= self._loop.time():
            self._fail_first(error)

    def fail_all(self, error: Exception) -> None:
        """Fail all that wait."""
        while self._queue:
            self._fail_first(error)

    def let_all_in(self) -> None:
        """Nobody waits for room any more."""
        self.is_full = False
        self._room.set()

    def _fail_first(self, error: Exception) -> None:
        request = self._queue.popleft()
        self._took(len(request.packed))
        request.fail(error)

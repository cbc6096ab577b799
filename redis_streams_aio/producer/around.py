"""Publish middleware: functions that run around the publishing of each event, and pass it on by `call_next`.

`Around.run` sends an event through the middleware: the innermost `call_next` sends it, and returns its entry id. Events
that leave together (`publish_many`, follow-ups of a handler) go through it one by one before any of them is sent
(`through`): their `call_next` returns `None`.

When things fail: an error of a middleware comes out of `publish`, or counts as the handler's if the event is a
follow-up. A middleware that returns without having called `call_next` is an error too, because no event was published.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import monotonic

from ..checks.functions import async_function_problems, name_of
from ..checks.values import shown
from ..events.outgoing import Outgoing, PublishMiddleware
from ..exceptions import ConfigError

Send = Callable[[Outgoing], Awaitable[str | None]]
"""Sends an event and returns its entry id, or keeps it to be sent later and returns `None`."""

_LONGEST_TURN = 0.004
"""The longest time in seconds that many events hold the event loop."""


class Around:
    """The publish middleware of a broker or a producer, the first outermost. Raises `ConfigError`."""

    def __init__(self, middleware: Sequence[PublishMiddleware]) -> None:
        for problem in async_function_problems("publish_middleware", middleware, "event, call_next"):
            raise ConfigError(problem)
        self._middleware = tuple(middleware)

    def __bool__(self) -> bool:
        return bool(self._middleware)

    async def run(self, event: Outgoing, send: Send, *, sends: bool = True) -> str | None:
        """Send an event through the middleware, and return the result of `send`, which `sends` it or keeps it."""
        for around in reversed(self._middleware):
            send = partial(_run, around, send, sends)
        return await send(event)

    async def through(self, event: Outgoing) -> Outgoing:
        """Take an event through the middleware, and return it as it is to be sent."""
        passed: list[Outgoing] = []

        async def keep(event: Outgoing) -> None:
            passed.append(event)

        await self.run(event, keep, sends=False)
        return passed[-1]

    async def all_through(self, events: Iterable[Outgoing]) -> list[Outgoing]:
        """Take events through the middleware one after another, and let other tasks run now and then."""
        passed: list[Outgoing] = []
        others_turn = monotonic() + _LONGEST_TURN
        for event in events:
            passed.append(await self.through(event))
            if monotonic() > others_turn:
                await asyncio.sleep(0)
                others_turn = monotonic() + _LONGEST_TURN
        return passed


async def _run(around: PublishMiddleware, inner: Send, sends: bool, event: Outgoing) -> str | None:  # noqa: FBT001  # a partial
    """Run one middleware around the next one. Raises `TypeError`, `RuntimeError` if it did not publish the event."""
    call_next = _CallNext(inner, event, sends=sends)
    await around(event, call_next)
    if call_next.is_unawaited():
        raise TypeError(f"middleware {name_of(around)} called call_next() and did not await it: write 'await'")
    if not call_next.has_sent:
        raise RuntimeError(
            f"publish middleware {name_of(around)} did not call call_next(), so the event was not published; raise an "
            "error that tells the publisher why"
        )
    return call_next.result


class _CallNext:
    """Sends the event, or calls the next middleware: once, and again only after it has failed."""

    __slots__ = ("_event", "_inner", "_may_run", "_run", "has_sent", "result", "sends")

    def __init__(self, inner: Send, event: Outgoing, *, sends: bool) -> None:
        self.sends: bool = sends
        self._inner = inner
        self._event = event
        self._may_run = True
        self._run: Awaitable[object] | None = None
        self.has_sent: bool = False
        self.result: str | None = None

    def __call__(self, event: Outgoing | None = None, /) -> Awaitable[str | None]:
        if not isinstance(event, Outgoing | None):
            raise TypeError(f"call_next(event={shown(event)}): expected the event, e.g. event.with_headers({{...}})")
        if not self._may_run:
            raise RuntimeError("call_next was called before and has not failed; call it again only after an error")
        self._may_run = False
        run = self._run = self._send(self._event if event is None else event)
        return run

    async def _send(self, event: Outgoing) -> str | None:
        try:
            self.result = await self._inner(event)
        except BaseException:
            self._may_run = True
            raise
        self.has_sent = True
        return self.result

    def is_unawaited(self) -> bool:
        """Whether it was called, and its coroutine has not begun. Closes the coroutine then."""
        if inspect.iscoroutine(self._run) and inspect.getcoroutinestate(self._run) == inspect.CORO_CREATED:
            self._run.close()
            return True
        return False

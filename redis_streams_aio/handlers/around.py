"""Middleware: functions that run around a handler, and call it by `call_next`. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable

from ..checks.functions import name_of
from .calls import Call, Shown
from .options import Middleware


def wrapped(around: Middleware, inner: Call) -> Call:
    """Return the call of a middleware around a call. Raises `TypeError` if the middleware did not await `call_next`."""

    async def call(payload: object, delivery: Shown) -> None:
        call_next = _CallNext(inner, payload, delivery)
        await around(delivery, call_next)  # type: ignore[arg-type]  # it gets what the handler gets
        if call_next.is_unawaited():
            raise TypeError(f"middleware {name_of(around)} called call_next() and did not await it: write 'await'")

    return call


class _CallNext:
    """Calls the handler, or the next middleware: once, and again only after it has failed. Remembers the last call."""

    __slots__ = ("_delivery", "_inner", "_may_run", "_payload", "_run")

    def __init__(self, inner: Call, payload: object, delivery: Shown) -> None:
        self._inner = inner
        self._payload = payload
        self._delivery = delivery
        self._may_run = True
        self._run: Awaitable[object] | None = None

    def __call__(self, *arguments: object, **named: object) -> Awaitable[object]:
        if arguments or named:
            raise TypeError("call_next takes no arguments: write 'await call_next()'")
        if not self._may_run:
            raise RuntimeError("call_next was called before and has not failed; call it again only after an error")
        self._may_run = False
        self._run = self._call()
        return self._run

    async def _call(self) -> object:
        try:
            return await self._inner(self._payload, self._delivery)
        except BaseException:
            self._may_run = True
            raise

    def is_unawaited(self) -> bool:
        """Whether the handler was called, and its coroutine has not begun. Closes the coroutine then."""
        if inspect.iscoroutine(self._run) and inspect.getcoroutinestate(self._run) == inspect.CORO_CREATED:
            self._run.close()
            return True
        return False

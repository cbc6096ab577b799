"""Count while a step runs: the bytecode instructions of our code, and what the event loop is asked for."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Coroutine, Generator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

import redis_streams_aio

PACKAGE = str(Path(redis_streams_aio.__file__).parent) + "/"


class Instructions:
    """Counts the bytecode instructions of our own code, by module, while it is entered."""

    def __init__(self) -> None:
        self._of_code: Counter[CodeType] = Counter()
        self._is_ours: dict[CodeType, bool] = {}

    def __enter__(self) -> Self:
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame: FrameType, *_: object) -> Any:
        code = frame.f_code
        if (ours := self._is_ours.get(code)) is None:
            ours = self._is_ours[code] = code.co_filename.startswith(PACKAGE)
        if not ours:
            return None
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._inside

    def _inside(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "opcode":
            self._of_code[frame.f_code] += 1
        return self._inside

    @property
    def by_module(self) -> Counter[str]:
        """Instructions by module, such as `consumer.work.pool`."""
        found: Counter[str] = Counter()
        for code, count in self._of_code.items():
            found[code.co_filename.removeprefix(PACKAGE).removesuffix(".py").replace("/", ".")] += count
        return found


class CountsRequests(asyncio.AbstractEventLoop):
    """Part of an event loop: it counts tasks, timers, futures, callbacks, and how often tasks are suspended."""

    asked: Counter[str]

    def __init__(self, *arguments: Any) -> None:
        self.asked = Counter()
        super().__init__(*arguments)
        self.set_task_factory(self._task)

    def call_soon(self, *arguments: Any, **named: Any) -> Any:
        self.asked["callbacks"] += 1
        return super().call_soon(*arguments, **named)

    def call_at(self, *arguments: Any, **named: Any) -> Any:  # `call_later` calls it
        self.asked["timers"] += 1
        return super().call_at(*arguments, **named)

    def create_future(self) -> Any:
        self.asked["futures"] += 1
        return super().create_future()

    def _task(self, loop: Any, coroutine: Any, **named: Any) -> Any:
        self.asked["tasks"] += 1
        return asyncio.Task(_Steps(coroutine, self.asked), loop=loop, **named)


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine that counts how often it is suspended."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], asked: Counter[str]) -> None:
        self._coroutine = coroutine
        self._asked = asked

    def send(self, value: Any) -> Any:
        result = self._coroutine.send(value)
        self._asked["suspensions"] += 1
        return result

    def throw(self, *raised: Any) -> Any:
        result = self._coroutine.throw(*raised)
        self._asked["suspensions"] += 1
        return result

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

"""Where code stands: the line of a thread's stack, or of what a task awaits, that says most to its author.

That is the deepest line of the application's own code: nobody has to change `time.sleep` or `httpx`.
Where none is (an application that is installed among the libraries), it is the handler's own line.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from itertools import dropwhile
from types import CodeType, FrameType

_PACKAGE = __file__.rpartition(f"{os.sep}broker{os.sep}")[0] + os.sep
_LIBRARY = os.__file__.rpartition(os.sep)[0] + os.sep
_INSTALLED = tuple(f"{os.sep}{folder}{os.sep}" for folder in ("site-packages", "dist-packages"))
NOWHERE = "an unknown place"


def stack_of(frame: FrameType | None) -> list[FrameType]:
    """The frames of a thread, the deepest last."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def awaited_by(task: asyncio.Task[object]) -> Iterator[object]:
    """The coroutines and generators that a task awaits, each inside of the one before, as far as they can be seen."""
    awaited: object = task.get_coro()
    while _frame_of(awaited) is not None:
        yield awaited
        awaited = next((inner for name in _INSIDE if (inner := getattr(awaited, name, None)) is not None), None)


_INSIDE = ("cr_await", "gi_yieldfrom", "ag_await")


def call_of(task: asyncio.Task[object]) -> object:
    """The user's own coroutine that a worker awaits, which is another one at each call; `None`: none is to be seen."""
    inside = dropwhile(lambda each: not _is_ours(_code_of(each)), awaited_by(task))  # a task group's own come first
    return next((each for each in inside if not _is_ours(_code_of(each))), None)


def where_waits(task: asyncio.Task[object]) -> str:
    """Where a task waits: file, line and function."""
    return where([frame for each in awaited_by(task) if (frame := _frame_of(each)) is not None])


def where(frames: Iterable[FrameType]) -> str:
    """Where a stack stands, the deepest frame last: file, line and function."""
    stack = list(frames)
    own = [frame for frame in stack if not _is_ours(frame.f_code) and not _is_library(frame.f_code.co_filename)]
    called = dropwhile(lambda frame: not _is_ours(frame.f_code), stack)
    candidates = own[-1:] + [frame for frame in called if not _is_ours(frame.f_code)][:1] + stack[-1:]
    if not candidates:
        return NOWHERE
    code = candidates[0].f_code
    return f"{code.co_filename}:{candidates[0].f_lineno} in {code.co_name}"


def _frame_of(awaited: object) -> FrameType | None:
    frames = (getattr(awaited, name, None) for name in ("cr_frame", "gi_frame", "ag_frame"))
    return next((frame for frame in frames if isinstance(frame, FrameType)), None)


def _code_of(awaited: object) -> CodeType | None:
    frame = _frame_of(awaited)
    return None if frame is None else frame.f_code


def _is_ours(code: CodeType | None) -> bool:
    return code is None or code.co_filename.startswith(_PACKAGE)


def _is_library(file: str) -> bool:
    return file.startswith((_LIBRARY, "<frozen ")) or any(folder in file for folder in _INSTALLED)

"""Exceptions in words: one line, a traceback, and what is inside of a group. Nothing here raises.

An exception is the user's, and so is its `__str__`, its metaclass, and every property it has.
"""

from __future__ import annotations

import traceback
from types import TracebackType, UnionType

LINE_LIMIT = 1024
TRACEBACK_LIMIT = 8 * 1024
_MOST_SHOWN = 3
_MOST_LEAVES = 1000


def describe(error: BaseException) -> str:
    """One line that can be written anywhere: `ValueError: no such order`. Of a group it says what is inside."""
    line = _line(error)
    if isinstance_of(error, BaseExceptionGroup):
        inside = leaves(error)
        told = "; ".join(map(_line, inside[:_MOST_SHOWN]))
        line = f"{line}: {told}{f'; and {len(inside) - _MOST_SHOWN} more' if len(inside) > _MOST_SHOWN else ''}"
    return shortened(line)


def message_of(error: BaseException) -> str:
    """What it says of itself, without its type; the name of its class where it cannot say it."""
    try:
        text = f"{error}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # its `__str__` is the user's
        text = _class_name(error)
    return shortened(text)


def _line(error: BaseException) -> str:
    name = _class_name(error)
    try:
        text = f"{name}: {error}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # as in `message_of`
        text = name
    return shortened(" ".join(text.split()))


def _class_name(error: BaseException) -> str:
    """Its class's name; a metaclass may say something else, or raise."""
    return str(vars(type)["__name__"].__get__(type(error)))


def isinstance_of(error: object, kind: type[object] | UnionType) -> bool:
    """Whether it is an instance of a class of Python's or ours, without asking the object's own `__class__`."""
    return issubclass(type(error), kind)


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions inside of a group, of groups in it too, in order; any other exception alone."""
    found: list[BaseException] = []
    waiting = [error]
    while waiting and len(found) < _MOST_LEAVES:
        each = waiting.pop()
        if isinstance_of(each, BaseExceptionGroup):
            inside: tuple[BaseException, ...] = BaseExceptionGroup.exceptions.__get__(each)
            waiting.extend(reversed(inside))
        else:
            found.append(each)
    return found


def shortened(text: str) -> str:
    """The text as it can be written, at most 1,024 characters of it: whoever publishes must not fill logs with it."""
    return writable(text[:LINE_LIMIT])[:LINE_LIMIT]


def writable(text: str) -> str:
    """The text as it can be encoded: lone surrogates, as in names of files, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def traceback_of(error: BaseException) -> str:
    """The traceback's last 8 KiB: the end is where the cause stands."""
    try:
        lines = traceback.format_exception(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # as in `describe`
        lines = traceback.format_tb(_frames_of(error))
    return writable("".join(lines))[-TRACEBACK_LIMIT:]


def forget_locals(error: BaseException) -> None:
    """Let go of the local variables that its traceback holds."""
    traceback.clear_frames(_frames_of(error))


def _frames_of(error: BaseException) -> TracebackType | None:
    """Its traceback; a class of the user's may have a property of that name."""
    frames: TracebackType | None = vars(BaseException)["__traceback__"].__get__(error)
    return frames

"""Describe exceptions: as one line, as a traceback, and the exceptions inside a group. No function here raises.

An exception is user code: its `__str__`, its metaclass and its properties may raise.
"""

from __future__ import annotations

import traceback
from types import TracebackType, UnionType

LINE_LIMIT = 1024
TRACEBACK_LIMIT = 8 * 1024
_MOST_SHOWN = 3
_MOST_LEAVES = 1000


def describe(error: BaseException) -> str:
    """Return the exception as one line, e.g. `ValueError: no such order`. For a group, the line lists its contents."""
    line = _line(error)
    if isinstance_of(error, BaseExceptionGroup):
        inside = leaves(error)
        told = "; ".join(map(_line, inside[:_MOST_SHOWN]))
        line = f"{line}: {told}{f'; and {len(inside) - _MOST_SHOWN} more' if len(inside) > _MOST_SHOWN else ''}"
    return shortened(line)


def message_of(error: BaseException) -> str:
    """Return the exception's text without its type, or the name of its class if the text cannot be read."""
    try:
        text = f"{error}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # `__str__` is user code
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
    """Return the name of the exception's class, without asking its metaclass, which may raise."""
    return str(vars(type)["__name__"].__get__(type(error)))


def isinstance_of(error: object, kind: type[object] | UnionType) -> bool:
    """Whether the object is an instance of the class, without asking its own `__class__`."""
    return issubclass(type(error), kind)


def leaves(error: BaseException) -> list[BaseException]:
    """Return the exceptions inside a group and its nested groups, in order; for another exception, itself alone."""
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
    """Return at most 1,024 characters of the text, so that publishers cannot fill the logs."""
    return writable(text[:LINE_LIMIT])[:LINE_LIMIT]


def writable(text: str) -> str:
    """Return the text in a form that can be encoded: lone surrogates, as in file names, become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def traceback_of(error: BaseException) -> str:
    """Return the last 8 KiB of the traceback, because the cause is at its end."""
    try:
        lines = traceback.format_exception(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # as in `describe`
        lines = traceback.format_tb(_frames_of(error))
    return writable("".join(lines))[-TRACEBACK_LIMIT:]


def forget_locals(error: BaseException) -> None:
    """Release the local variables that the exception's traceback holds."""
    traceback.clear_frames(_frames_of(error))


def _frames_of(error: BaseException) -> TracebackType | None:
    """Return the exception's traceback, without asking a property of that name in user code."""
    frames: TracebackType | None = vars(BaseException)["__traceback__"].__get__(error)
    return frames

"""The library's log: the logger `redis_streams_aio`, protected from errors in the application's logging code.

Filters, handlers, formatters and the record factory belong to the application and may raise: a filter may read a
`ContextVar` that is set only in requests, for example. Then the line is lost, the error is printed to stderr once for
each kind, as `logging.Handler.handleError` does, and the library continues. No other module of the library calls
`logging.getLogger`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from types import FrameType

NAME = "redis_streams_aio"
KINDS_REPORTED = 100
"""The most kinds of errors of the application's logging that are printed."""

_NO_DETAILS: Mapping[str, object] = {}


class Log:
    """Writes lines to a logger, and lets no error of the logger's filters and handlers out.

    `KeyboardInterrupt` and `SystemExit` are let out, because they end the program.
    """

    __slots__ = ("_logger", "_reported")

    def __init__(self, name: str = NAME) -> None:
        self._logger = logging.getLogger(name)
        self._reported: set[tuple[type[BaseException], str, int]] = set()

    def info(self, text: str, *args: object) -> None:
        """Write a line at INFO."""
        self.write(logging.INFO, text, *args)

    def warning(self, text: str, *args: object, error: BaseException | None = None) -> None:
        """Write a line at WARNING, with the traceback of `error`."""
        self.write(logging.WARNING, text, *args, error=error)

    def error(self, text: str, *args: object, error: BaseException | None = None) -> None:
        """Write a line at ERROR, with the traceback of `error`."""
        self.write(logging.ERROR, text, *args, error=error)

    def critical(self, text: str, *args: object, error: BaseException | None = None) -> None:
        """Write a line at CRITICAL, with the traceback of `error`."""
        self.write(logging.CRITICAL, text, *args, error=error)

    def wants(self, level: int) -> bool:
        """Whether the logger writes lines of this level."""
        try:
            return self._logger.isEnabledFor(level)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:  # noqa: BLE001  # the logger may be user code
            self._report(raised, "", ())
            return False

    def write(
        self,
        level: int,
        text: str,
        *args: object,
        error: BaseException | None = None,
        details: Mapping[str, object] = _NO_DETAILS,
    ) -> None:
        """Write a line, with the traceback of `error`; `details` become attributes of the log record."""
        if not self.wants(level):
            return
        try:
            self._logger.handle(self._record(level, text, args, error, details))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:  # noqa: BLE001  # also a CancelledError: nothing cancels a call that does not wait
            self._report(raised, text, args)

    def _record(
        self,
        level: int,
        text: str,
        args: tuple[object, ...],
        error: BaseException | None,
        details: Mapping[str, object],
    ) -> logging.LogRecord:
        caller = _caller()
        where = (caller.f_code.co_filename, caller.f_lineno)
        exc_info = None if error is None else (type(error), error, error.__traceback__)
        record = self._logger.makeRecord(self._logger.name, level, *where, text, args, exc_info, caller.f_code.co_name)
        if error is not None:
            record.exc_text = _safe_traceback(error)  # if `None`, formatters write the traceback themselves
        for name, value in details.items():
            record.__dict__.setdefault(name, value)  # attributes set by the application's record factory stay
        return record

    def _report(self, raised: BaseException, text: str, args: tuple[object, ...]) -> None:
        """Print an error of the application's logging, once for each kind."""
        kind = (type(raised), *_origin(raised))
        if kind in self._reported or len(self._reported) >= KINDS_REPORTED or not logging.raiseExceptions:
            return
        self._reported.add(kind)
        try:
            lines = "".join(traceback.format_exception(raised))
            line = f"The line was: {text % args}\n" if text else ""
            sys.stderr.write(f"--- Logging error (the same one is not shown again) ---\n{lines}{line}")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001, S110  # there is no place left to report to
            pass


def shown(thing: object) -> str:
    """Return the `repr` of a user's object, or its type if `repr` raises."""
    try:
        return repr(thing)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # `__repr__` is user code
        return f"<{type(thing).__name__} object at {id(thing):#x}>"


def _safe_traceback(error: BaseException) -> str | None:
    """Return a traceback that can be written, if formatters could not write it; `None` if they can.

    The text of a user's error may raise, or may contain lone surrogates, as file names do.
    """
    try:
        text = "".join(traceback.format_exception(error))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # see above
        return "".join(traceback.format_tb(error.__traceback__)) + type(error).__name__
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode().rstrip("\n")
    return None


def _caller() -> FrameType:
    """Return the frame of the caller: the first frame outside of this module."""
    frame = sys._getframe(1)  # noqa: SLF001  # as `logging` does
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame


def _origin(raised: BaseException) -> tuple[str, int]:
    """Return the file and the line that raised the error."""
    trace = raised.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)


log: Log = Log()
"""The library's log."""

"""The library's log: the logger `redis_streams_aio`, fenced off from what the application hangs on it.

Filters, handlers, formatters and the factory of records are the application's, and may raise: a filter that reads a
`ContextVar` which is set in requests only, say. The line is then lost, the error is printed to stderr once for each
kind, as `logging.Handler.handleError` prints those of formatters, and whoever logged goes on. No other module of the
library uses `logging.getLogger`.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Mapping
from types import FrameType

NAME = "redis_streams_aio"
KINDS_REPORTED = 100
"""Most kinds of errors of the application's logging that are printed."""

_NO_DETAILS: Mapping[str, object] = {}


class Log:
    """Writes lines to a logger; nothing that the logger's filters and handlers raise comes out of it.

    `KeyboardInterrupt` and `SystemExit` do: they end the program.
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
        """Whether lines of this level go anywhere."""
        try:
            return self._logger.isEnabledFor(level)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as raised:  # noqa: BLE001  # the application may have made the logger
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
            record.exc_text = _safe_traceback(error)  # `None`: formatters write it as they like
        for name, value in details.items():
            record.__dict__.setdefault(name, value)  # what the application's factory has put there, stays
        return record

    def _report(self, raised: BaseException, text: str, args: tuple[object, ...]) -> None:
        """Print what the application's logging raised, the first time."""
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
        except BaseException:  # noqa: BLE001, S110  # nobody is left who could be told
            pass


def shown(thing: object) -> str:
    """The `repr` of something of the user's, or its type where that raises."""
    try:
        return repr(thing)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # the object is the user's, and so is its __repr__
        return f"<{type(thing).__name__} object at {id(thing):#x}>"


def _safe_traceback(error: BaseException) -> str | None:
    """The traceback as it can be written, where formatters could not write it: `None`, where they can.

    The error is the user's: its text may raise, or have lone surrogates in it, as names of files have.
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
    """Who logs: the first frame outside of this module."""
    frame = sys._getframe(1)  # noqa: SLF001  # as `logging` does
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    return frame


def _origin(raised: BaseException) -> tuple[str, int]:
    """The file and the line that raised."""
    trace = raised.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ("", 0)


log: Log = Log()
"""The library's log."""

"""Repeated log lines are counted, and not repeated: an outage or a poisoned stream says one line a minute, not a flood.

```python
logging.basicConfig(level="INFO", handlers=[CountRepeats(logging.StreamHandler())])
```

The first line of a kind is written at once. Further ones within `seconds` are counted, and at the end of that time the
last of them is written, with `(repeated 14 times in 60 s)` behind it and `repeated` as an attribute of the record.

Lines are of one kind if they are of the same fact, stream, group, handler, duty, reason and error; other lines of this
library, if they have the same text and the same kind of exception. Facts at ERROR (dead letters, entries that vanished)
tell of one loss each, and are never left out, nor are lines of other loggers. Closing the handler, which Python does at
exit, writes the counts that are left.
"""

from __future__ import annotations

import copy
import logging
import threading
from time import monotonic
from typing import Final

from ..checks import values
from ..telemetry.logs import NAME

KIND_FIELDS = ("fact", "stream", "group", "handler", "duty", "reason", "error", "where")
"""Fields of facts that tell kinds of lines apart."""
MOST_KINDS = 1000
"""The most kinds that are counted at once; lines of others are written."""

Kind = tuple[object, ...]


class _Counted:
    """The lines of one kind since the first of them was written."""

    __slots__ = ("last", "repeats", "since")

    def __init__(self) -> None:
        self.since: Final = monotonic()
        self.repeats = 0
        self.last: logging.LogRecord | None = None

    def is_over(self, seconds: float) -> bool:
        """Whether the time is over in which repeats are counted."""
        return monotonic() - self.since >= seconds


class CountRepeats(logging.Handler):
    """A handler in front of another one, which gets each kind of line at most twice in `seconds`."""

    def __init__(self, handler: logging.Handler, seconds: float = 60.0) -> None:
        super().__init__()
        self._handler = values.instance("handler", handler, logging.Handler)
        self._seconds = values.seconds("seconds", seconds)
        self._counted: dict[Kind, _Counted] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line, or count it. The logging module calls it with the handler's lock."""
        kind = kind_of(record)
        if kind is None or not self._count(kind, record):
            self._handler.handle(record)

    def setFormatter(self, fmt: logging.Formatter | None) -> None:  # noqa: N802  # the name of the logging module
        """Set the formatter of the handler behind this one, unless it has one."""
        if self._handler.formatter is None:
            self._handler.setFormatter(fmt)

    def flush(self) -> None:
        """Flush the handler behind this one."""
        self._handler.flush()

    def close(self) -> None:
        """Write the counts that are left, and close the handler behind this one."""
        self._write_due(at_once=True)
        self._handler.close()
        super().close()

    def _count(self, kind: Kind, record: logging.LogRecord) -> bool:
        """Count a line, and return whether it repeats one that was written."""
        counted = self._counted.get(kind)
        if counted is None or counted.is_over(self._seconds):
            self._write_due()  # the timer may be late
            self._forget()
            if len(self._counted) < MOST_KINDS:
                self._counted[kind] = _Counted()
            return False
        counted.repeats += 1
        counted.last = record
        self._wait()
        return True

    def _forget(self) -> None:
        """Forget kinds whose time is over, and that were not repeated."""
        kept = {kind: each for kind, each in self._counted.items() if each.repeats or not each.is_over(self._seconds)}
        self._counted = kept

    def _wait(self) -> None:
        """Have the counts written when the time of the oldest kind with repeats is over."""
        oldest = min((each.since for each in self._counted.values() if each.repeats), default=None)
        if self._timer is None and oldest is not None:
            self._timer = threading.Timer(max(0.0, oldest + self._seconds - monotonic()), self._write_due)
            self._timer.daemon = True
            self._timer.start()

    def _write_due(self, *, at_once: bool = False) -> None:
        """Write the counts whose time is over, and forget these kinds: their next line is written at once."""
        self.acquire()
        try:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None
            due = [
                kind
                for kind, each in self._counted.items()
                if each.repeats and (at_once or each.is_over(self._seconds))
            ]
            for each in map(self._counted.pop, due):
                assert each.last is not None  # noqa: S101  # it has repeats
                self._handler.handle(summary(each.last, each.repeats, monotonic() - each.since))
            self._wait()
        finally:
            self.release()


def kind_of(record: logging.LogRecord) -> Kind | None:
    """Return the kind of a line; `None` if it is never left out."""
    if record.name != NAME:
        return None
    fact = record.__dict__.get("fact")
    if fact is None:
        return record.levelno, record.getMessage(), record.exc_info[0] if record.exc_info else None
    if record.levelno >= logging.ERROR:
        return None
    return tuple(str(record.__dict__.get(name)) for name in KIND_FIELDS)


def summary(record: logging.LogRecord, repeats: int, seconds: float) -> logging.LogRecord:
    """Return the line for the repeats of a line, of which this is the last. Its fact stays `record.args[0]`."""
    told = copy.copy(record)
    first = record.args[0] if isinstance(record.args, tuple) and record.args and "fact" in record.__dict__ else None
    text = record.getMessage() if first is None else first
    times = "once" if repeats == 1 else f"{repeats} times"
    told.msg, told.args = "%s (repeated %s in %.0f s)", (text, times, seconds)
    told.exc_info, told.exc_text = None, None
    told.__dict__["repeated"] = repeats
    return told

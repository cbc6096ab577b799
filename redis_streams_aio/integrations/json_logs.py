"""JSON logs: one line for each record, with the names that facts and metrics have (`run --log-format json`).

```python
handler = logging.StreamHandler()
handler.setFormatter(JsonFormatter())
logging.basicConfig(level="INFO", handlers=[handler])
```

A line has `time`, `level`, `logger`, `message` and `process`, then the attributes of the record: the fields of the fact
(`fact`, `stream`, `group`, `handler`, `id`, ...) or the `extra=` of your own lines, and `traceback` if there is one.
docs/observability.md has the schema. No line has a payload. A value that JSON cannot carry is shown as its `repr`, so
a line is never lost for it.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import msgspec

from ..handlers.error_texts import writable
from ..telemetry.logs import shown

OF_PYTHON = frozenset(
    {*logging.LogRecord("", 0, "", 0, "", (), None).__dict__, "message", "asctime", "taskName", "color_message"}
)
"""Attributes of records that Python, or a formatter, sets: they are not fields of the line under these names."""


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        for name, value in record.__dict__.items():
            if name not in OF_PYTHON:
                line.setdefault(name, value)
        if text := self._traceback(record):
            line["traceback"] = text
        return msgspec.json.encode({writable(name): _encoded(value) for name, value in line.items()}).decode()

    def _traceback(self, record: logging.LogRecord) -> str | None:
        if record.exc_text:
            return record.exc_text
        return self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else None


def _encoded(value: object) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(value, enc_hook=shown))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  # a user's value: a lone surrogate, keys that are not text, itself inside of it
        return msgspec.Raw(msgspec.json.encode(writable(value if isinstance(value, str) else shown(value))))

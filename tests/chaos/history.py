"""Histories: what each process has noted, one file of JSON lines for each.

A note is one `os.write` to a file opened for appending, so a SIGKILL keeps all that was noted before it. Times are
`time.monotonic`, which all processes of one machine read from the same clock, whatever becomes of the wall clock.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Literal

import msgspec

What = Literal[
    "attempted",
    "acknowledged",
    "unanswered",
    "refused",
    "begun",
    "handled",
    "failed",
    "cancelled",
    "retrying",
    "gave_up",
    "dropped",
    "lost",
    "recreated",
    "blocked",
    "stalled",
    "started",
    "stopped",
    "crashed",
    "drained",
    "fault",
    "taken",
    "dead",
    "stuck",
    "kept",
]
"""`attempted` to `refused`: of producers. `begun` to `recreated`: of consumers. The rest: of processes, and of the
nemesis: `taken` is an entry that it took out of Redis before its group was done with it, `dead` a dead letter that it
saw there, `kept` an entry that a set of servers has in the end."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """One note."""

    at: float
    process: str
    what: What
    line: str = ""
    id: str = ""
    """The entry's id."""
    name: str = ""
    """The event's name; of a fault its kind."""
    until: float = 0.0
    """The end, of what lasts."""
    detail: str = ""
    """Of a handler its key or its batch, of a fault its target, of a dead letter its own id, of a retry its delay."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class History:
    """The notes of one process."""

    def __init__(self, folder: Path, process: str) -> None:
        self.process = process
        self._file = os.open(folder / f"{process}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(  # one keyword for each field of the record
        self,
        what: What,
        *,
        line: str = "",
        id: str = "",  # noqa: A002  # as the record's field
        name: str = "",
        at: float | None = None,
        until: float = 0.0,
        detail: str = "",
    ) -> None:
        """Write one note, now or as of `at`."""
        moment = time.monotonic() if at is None else at
        record = Record(moment, self.process, what, line, id, name, until, detail)
        os.write(self._file, _encoder.encode(record) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read(folder: Path) -> list[Record]:
    """The notes of all processes, in the order of their times."""
    records = [
        _decoder.decode(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_bytes().splitlines()
    ]
    return sorted(records, key=lambda record: record.at)

"""`Consumer`: who asks for a step; and `NOT_OURS`, the result for an entry held by another consumer."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Consumer(NamedTuple):
    """A consumer of a group of a stream."""

    stream: str
    group: str
    name: str


class NotOurs(enum.Enum):
    """The result for an entry that this consumer does not own any more: nothing was written of it."""

    NOT_OURS = enum.auto()


NOT_OURS = NotOurs.NOT_OURS

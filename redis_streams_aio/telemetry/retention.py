"""Facts about retention: a group that keeps a stream long, a bound that comes near, and entries that a bound took."""

from __future__ import annotations

import logging
from typing import ClassVar, Literal

from .bases import GroupFact

Bound = Literal["max_length", "max_age", "abandoned_after"]


class RetentionPinned(GroupFact, frozen=True, kw_only=True):
    """One group alone keeps old entries in a stream that deletes what all groups have settled.

    What to do: start its consumers, find the entry that is not settled (`pending`), or delete the group.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = (
        "has settled nothing for {0.age:.0f} s, and keeps {0.held} entries in the stream, from {0.place} on"
    )
    place: str
    """The oldest id that the group has not settled; `0-1` if the group does not exist."""
    age: float
    """Seconds for which that id is the same."""
    held: int
    """Entries that are in the stream because of this group, about."""


class RetentionNear(GroupFact, frozen=True, kw_only=True):
    """A group has not settled entries that a bound of the stream deletes soon.

    What to do: start its consumers or add some; or raise the bound, if Redis has room.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "{0.bound} of the stream is {0.limit:g}, and entries not settled are at {0.reached:g}"
    bound: Bound
    limit: float
    """The bound: entries, or seconds."""
    reached: float
    """How far the oldest entry that is not settled is: entries from it to the end (about), or its age in seconds."""


class UnsettledTrimmed(GroupFact, frozen=True, kw_only=True):
    """A bound of the stream deleted entries that the group had not settled. They are never handled there.

    What to do: raise the bound, or find out why the group was so far behind.
    """

    level: ClassVar[int] = logging.ERROR
    line: ClassVar[str] = "{0.bound} of the stream deleted {0.count} entries that were not settled"
    bound: Bound
    count: int
    """The number of entries; for `max_length`, as many as were seen to be missing."""

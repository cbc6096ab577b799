"""Read the failure records of returning entries: those that Redis delivers as new, although they were delivered before.

A group that was lost and is recreated at its checkpoint delivers entries once more that had failed, or were replayed.
Their records are still in Redis, and have their failures, due times and histories. So the records that are ahead of the
group are looked for when a consumer joins. A consumer that does not read while another one recreates the group, or a
person resets it, notices that an entry comes which is not later than the last one, and looks then.

All other reads cost one comparison. Entries that are held here already are left out: what this process knows of them is
newer than the records, or all that is left.

The ids of the last read tell something else too: whether the stream still knows them after a connection was lost, or
its history went backwards.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ...connection.replies import NewEntry, RawEntry
from ...connection.steps.gone import gone
from ...connection.steps.returning import NOWHERE, position
from ...events.entry_ids import is_later
from ...exceptions import PermissionDeniedError, StreamNotFoundError
from ...telemetry import HistoryLost
from ..holdings import Holdings
from .records import take_pending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..entry import Entry

MOST = 100
"""The most entries that are looked for: a tenth of a millisecond of the server's time."""


class Returning:
    """Tells new entries of one consumer from those that return."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._delivered = NOWHERE
        """The id that the group had delivered last when it was asked."""
        self._read: Sequence[bytes] = ()
        """The ids of the last read since then."""
        self._known_until = NOWHERE
        """The last id that may have been delivered before: that one, or a later one that is on record."""
        self._entries: list[RawEntry] = []

    def __bool__(self) -> bool:
        """Whether entries were kept for `take`."""
        return bool(self._entries)

    async def refresh(self) -> None:
        """Find out up to which id entries may return. Raises `RedisUnavailableError`, `ServerError`."""
        with suppress(StreamNotFoundError):  # the next read recreates the group
            self._delivered, self._known_until = await position(self._holdings.connection, self._holdings.who)
            self._read = ()

    def is_new(self, raw_id: bytes) -> bool:
        """Whether a read whose first entry has this id brings entries for the first time. Garbage is not new."""
        try:
            return is_later(raw_id, self._known_until)
        except ValueError:
            return False

    def are_new(self, ids: Sequence[bytes]) -> bool:
        """Whether the entries of a read come for the first time; else give them to `keep`."""
        if not is_later(ids[0], self._known_until):
            return False
        self._read = ids
        self._known_until = ids[-1]
        return True

    def keep(self, entries: Sequence[NewEntry]) -> None:
        """Keep the entries of a read for `take`, because some may have been delivered before."""
        self._entries += [RawEntry(*each) for each in entries]

    async def take(self) -> list[Entry]:
        """Hold the kept entries, with their history, and return them.

        Raises `RedisUnavailableError`, `ServerError`, and then holds none of them: they are pending.
        """
        kept, self._entries = self._entries, []
        went_back = not is_later(kept[0].id, self._read[-1] if self._read else self._delivered)
        self._read = [each.id for each in kept]
        if went_back:
            await self.refresh()
        held = self._holdings.by_id
        return await take_pending(self._holdings, [each for each in kept if each.id not in held], counts=False)

    async def has_lost_history(self) -> bool:
        """Whether entries of the last read are gone, although nothing deleted them, and report that, once.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        read, count, holdings = self._read, 0, self._holdings
        with suppress(StreamNotFoundError, PermissionDeniedError):  # the next read recreates the group
            count = await gone(holdings.connection, holdings.stream, read[-MOST:]) if read else 0
        if count:
            self._read, self._delivered = (), read[-1]
            holdings.telemetry.emit(HistoryLost(**holdings.here, count=count, id=read[-1].decode()))
        return count > 0

"""Read the failure records of returning entries: those that Redis delivers as new, although they were delivered before.

A group that was lost and is recreated at its checkpoint delivers entries once more that had failed, or were replayed.
Their records are still in Redis, and have their failures, due times and histories. So the records that are ahead of the
group are looked for when a consumer joins. A consumer that does not read while another one recreates the group, or a
person resets it, notices that an entry comes which is not later than the last one, and looks then.

All other reads cost one comparison. Entries that are held here already are left out: what this process knows of them is
newer than the records, or all that is left.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ...connection.replies import NewEntry, RawEntry
from ...connection.steps.returning import NOWHERE, position
from ...events.entry_ids import is_later
from ...exceptions import StreamNotFoundError
from ..holdings import Holdings
from .records import take_pending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..entry import Entry


class Returning:
    """Tells new entries of one consumer from those that return."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._last = NOWHERE
        """The id that was delivered last, as far as this consumer knows."""
        self._known_until = NOWHERE
        """The last id that may have been delivered before: that one, or a later one that is on record."""
        self._entries: list[RawEntry] = []

    def __bool__(self) -> bool:
        """Whether entries were kept for `take`."""
        return bool(self._entries)

    async def refresh(self) -> None:
        """Find out up to which id entries may return. Raises `RedisUnavailableError`, `ServerError`."""
        with suppress(StreamNotFoundError):  # the next read recreates the group
            self._last, self._known_until = await position(self._holdings.connection, self._holdings.who)

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
        self._last = self._known_until = ids[-1]
        return True

    def keep(self, entries: Sequence[NewEntry]) -> None:
        """Keep the entries of a read for `take`, because some may have been delivered before."""
        self._entries += [RawEntry(*each) for each in entries]

    async def take(self) -> list[Entry]:
        """Hold the kept entries, with their history, and return them.

        Raises `RedisUnavailableError`, `ServerError`, and then holds none of them: they are pending.
        """
        kept, self._entries = self._entries, []
        went_back = not is_later(kept[0].id, self._last)
        self._last = kept[-1].id
        if went_back:
            await self.refresh()
        held = self._holdings.by_id
        return await take_pending(self._holdings, [each for each in kept if each.id not in held], counts=False)

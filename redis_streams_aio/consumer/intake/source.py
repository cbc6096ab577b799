"""A source: where the entries of a subscription come from.

A subscription asks for entries whenever it has room, oldest first: with `own` for those that are pending for itself and
not here, with `abandoned` for those that others have left, with `fetch` for new ones, which it waits for. A source
gives entries only when it is asked, and never more than `room`. From then on they are held in `holdings`.

Entries are handed to the caller's `take` in the turn in which their reply comes, part by part: so no turn of the event
loop passes before a handler can begin, and no entry that is held is forgotten when a later part fails. Each call
returns how many entries it has handed over.

**States.** *closed* -> `open` -> *open* -> `close` -> *closed*. While it is open it is *caught up* or not: it is not at
first, after a reply that was lost, and after `look_back`. Then entries may be pending for this consumer that are not
here, and nothing newer may be taken before them.

When things fail: a call raises `RedisUnavailableError` or `ServerError`, and may be repeated. A lost group is recreated
by the next `fetch`. A `fetch` that waits is ended by `unblock`; a `fetch` that is cancelled loses its reply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ...connection.handful import Handful
from ..entry import Entry
from ..holdings import Holdings
from ..page import Page

Take = Callable[[Sequence[Entry]], None]
"""Is given entries as they come."""
TakeNew = Callable[[Page | Sequence[Entry]], None]
"""Is given new entries as they come, as a page where all of them are plain."""
More = Callable[[], int]
"""Returns how many entries to ask for in the next read, whose room is reserved; 0: no further read now."""


def no_more() -> int:
    """Ask for no further read."""
    return 0


class Source(Protocol):
    """Gives entries to one subscription."""

    @property
    def holdings(self) -> Holdings:
        """The entries that it has given, until they are settled."""
        ...

    @property
    def handful(self) -> Handful:
        """The number of entries to ask for at once."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether it gives entries."""
        ...

    @property
    def has_all_own_entries(self) -> bool:
        """Whether all entries that are pending for this consumer are here; only then newer ones may be taken."""
        ...

    @property
    def next_look(self) -> float:
        """The time on the event loop's clock before which `abandoned` finds nothing, except released entries."""
        ...

    async def open(self) -> None:
        """Begin to give entries. Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`."""
        ...

    @property
    def may_unblock(self) -> bool:
        """Whether the server lets us end a `fetch` that is waiting."""
        ...

    async def fetch(self, room: int, take: TakeNew, *, wait: float | None = None, more: More = no_more) -> int:
        """Wait `wait` seconds for new entries (`None`: as it is set up), and take up to `room` of them.

        When as many came as were asked for, `more` is called before they are taken. Where it returns a number, the next
        read leaves at once, and the next `fetch` waits for its answer, whatever its own arguments are.

        Raises `NotOpenError`.
        """
        ...

    async def own(self, room: int, take: Take) -> int:
        """Take up to `room` entries that are pending for this consumer and not here, oldest first."""
        ...

    async def abandoned(self, room: int, take: Take) -> int:
        """Take over up to `room` entries of consumers that are gone, oldest first."""
        ...

    def look_back(self) -> None:
        """Be no longer caught up: entries may be pending that are not here."""
        ...

    async def unblock(self) -> None:
        """End a `fetch` that is waiting, if the server allows it."""
        ...

    async def close(self) -> None:
        """Give no more entries, and close the connection. Entries that are held stay pending."""
        ...

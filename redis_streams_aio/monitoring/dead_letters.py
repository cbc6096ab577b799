"""`DeadLetters`: list, show, replay and purge the events that a group gave up on.

A replay returns an event to the group that gave it up, and to no other group. If the entry is still in the stream, it
becomes pending again under its own id, like an entry that a consumer released: the group's consumers take it over
within their reclaim interval. If the entry is gone (trimmed, deleted), a copy is added at the end of the stream,
wrapped so that other groups skip it (`replays`). Failures are counted from 0 again; the earlier ones are in
`delivery.history`. Each replay is one atomic step with the removal of the dead letter: after a crash either the letter
or the event is there, and two operators cannot replay one letter twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime

from ..checks import names, times, values
from ..connection import Connection, replies
from ..connection.handful import Handful
from ..connection.packing import Command
from ..connection.replies import RawEntry
from ..connection.steps.describing import describe_groups
from ..connection.steps.replaying import Letter, Replayed, replay
from ..events import dead_letter, entry_ids, keys
from ..exceptions import ConfigError, DeadLetterNotFoundError, GroupNotFoundError, UnansweredError
from ..models import DeadLetterKind, DeadLetterMessage, ReplayReport
from .choosing import Filter, check_id, place
from .fingerprints import kind_of, merged, most_first

_PAGE = 100
_IDS_AT_ONCE = 1000
Letters = list[DeadLetterMessage]
Kinds = list[DeadLetterKind]


class DeadLetters:
    """The dead letters of one group of one stream.

    ```python
    async with Connection("redis://localhost:6379/0") as connection:
        letters = DeadLetters(connection, "orders", "billing")
        for letter in await letters.list(reason="failures"):
            print(letter.id, letter.error)
        await letters.replay()
    ```

    `dead_letter` is needed only if the handler has `dead_letter=`: it is that stream. Dead letters of other groups in
    it stay untouched. Raises `ConfigError` for invalid names.
    """

    def __init__(self, connection: Connection, stream: str, group: str, *, dead_letter: str | None = None) -> None:
        self._connection = values.instance("connection", connection, Connection)
        self._stream = names.checked("stream", stream)
        self._group = names.checked("group", group)
        if dead_letter is not None:
            dead_letter = names.checked("dead_letter", dead_letter)
        self._key = dead_letter or keys.dead_letters(self._stream, self._group)

    @property
    def key(self) -> str:
        """The name of the stream that contains the dead letters."""
        return self._key

    async def count(self) -> int:
        """Return the number of dead letters in the stream, including those of other groups that share it.

        Raises `RedisUnavailableError`, `StreamTypeError`.
        """
        return replies.integer(await self._connection.call("XLEN", self._key))

    async def list(
        self,
        *,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        fingerprint: str | None = None,
        after: str | None = None,
        count: int = 100,
    ) -> Letters:
        """Return the oldest `count` dead letters, optionally only those with a reason, of a period, or of a kind.

        `since` and `until` are datetimes with a time zone, both inclusive. `fingerprint` is one of `kinds()`. `after`
        is the id of a dead letter: only later ones are returned, so that the last id of one page gives the next page.
        Raises `ConfigError`, `RedisUnavailableError`, `ServerError`.
        """
        found: Letters = []
        if values.whole("count", count, 0) > 0:
            async for letter in self._walk(Filter(reason, since, until, fingerprint), after):
                found.append(letter)
                if len(found) == count:
                    break
        return found

    async def kinds(
        self, *, reason: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Kinds:
        """Group dead letters by cause: reason, type of the error, and its place. The most numerous kind comes first.

        All dead letters that pass the filters are read. Raises `ConfigError`, `RedisUnavailableError`, `ServerError`.
        """
        found: dict[str, DeadLetterKind] = {}
        async for letter in self._walk(Filter(reason, since, until)):
            kind = kind_of(letter)
            earlier = found.get(kind.fingerprint)
            found[kind.fingerprint] = kind if earlier is None else merged(earlier, kind)
        return most_first(found.values())

    async def show(self, letter_id: str) -> DeadLetterMessage:
        """Return one dead letter. Raises `DeadLetterNotFoundError`, `RedisUnavailableError`, `ServerError`."""
        async for letter in self._of([letter_id]):
            return letter
        raise DeadLetterNotFoundError(f"{self._key!r} has no dead letter {letter_id!r}")

    async def replay(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        fingerprint: str | None = None,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> ReplayReport:
        """Return events to their group: those with these ids, or all, or all that pass the filters of `list`.

        At most `rate` events a second are replayed. With `dry_run` nothing is changed, and the report says what would
        happen. Dead letters that are added meanwhile are not replayed. Raises `DeadLetterNotFoundError` for an unknown
        id, `GroupNotFoundError` if the group no longer exists, `ConfigError`, `RedisUnavailableError`, `ServerError`.
        """
        if rate is not None and (not times.is_number(rate) or not rate > 0):
            raise ConfigError(f"rate={values.shown(rate)}: expected a number of events a second, above 0")
        how_often = dict.fromkeys(Replayed, 0)
        self._check_slots()
        began, step = asyncio.get_running_loop().time(), self._would_replay if dry_run else self._replay
        async for letter in self._chosen(ids, Filter(reason, since, until, fingerprint)):
            if rate is not None and not dry_run:
                await _pause(began + sum(how_often.values()) / rate)
            how_often[await step(letter)] += 1
        return ReplayReport(how_often[Replayed.IN_PLACE], how_often[Replayed.COPIED], how_often[Replayed.GONE])

    async def purge(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        reason: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        fingerprint: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Delete dead letters: those with these ids, or all, or all that pass the filters of `list`; return the number.

        With `dry_run` nothing is deleted. Raises `DeadLetterNotFoundError`, `ConfigError`, `RedisUnavailableError`,
        `ServerError`.
        """
        chosen = [letter.id async for letter in self._chosen(ids, Filter(reason, since, until, fingerprint))]
        if dry_run:
            return len(chosen)
        return sum([replies.integer(await self._connection.call(*command)) for command in purging(self._key, chosen)])

    # -- choosing ---------------------------------------------------------------------------------------------

    def _chosen(self, ids: str | Iterable[str] | None, which: Filter) -> AsyncIterator[DeadLetterMessage]:
        if ids is None:
            return self._walk(which)
        if which != Filter():
            raise ConfigError("ids: cannot be combined with reason, since, until and fingerprint")
        if not isinstance(ids, Iterable):
            raise ConfigError(f"ids={values.shown(ids)}: expected one or several ids of dead letters")
        return self._of([ids] if isinstance(ids, str) else list(ids))

    async def _of(self, ids: Sequence[str]) -> AsyncIterator[DeadLetterMessage]:
        """Yield the dead letters with these ids, after all of them were found."""
        found: Letters = []
        for letter_id in ids if len(ids) == 1 else dict.fromkeys(ids):
            check_id("ids", letter_id)
            page = await self._at("{}-{}".format(*entry_ids.parse(letter_id)))
            if not page:
                raise DeadLetterNotFoundError(f"{self._key!r} has no dead letter {letter_id!r} of {self._group!r}")
            found += page
        for letter in found:
            yield letter

    async def _walk(self, which: Filter, after: str | None = None) -> AsyncIterator[DeadLetterMessage]:
        """Yield all dead letters that exist at the start and pass a filter, oldest first."""
        which.check()
        start, limit = which.range(after)
        if (end := await self._last_id()) is not None:
            async for letter in self._between(start, end if limit is None else min(end, limit, key=place)):
                if which.passes(letter):
                    yield letter

    async def _between(self, start: str, end: str) -> AsyncIterator[DeadLetterMessage]:
        """Yield the dead letters of the group in a range of ids, page by page."""
        pages = Handful(_PAGE)
        while True:
            page, is_last = await self._page(start, end, pages)
            for entry in page:
                letter = dead_letter.parse(replies.text(entry.id), entry.fields or [])
                if self._is_ours(letter):
                    yield letter
            if is_last:
                return
            start = f"({replies.text(page[-1].id)}"

    async def _page(self, start: str, end: str, pages: Handful) -> tuple[Sequence[RawEntry], bool]:
        """Return the next dead letters, and whether they are the last. Asks for fewer if a reply is too large."""
        while True:
            count = pages.size
            try:
                with pages.asking_for(count):
                    page = replies.entries(await self._connection.call("XRANGE", self._key, start, end, "COUNT", count))
                pages.weigh(page)
                return page, len(page) < count
            except UnansweredError:
                if count == 1:
                    raise

    async def _last_id(self) -> str | None:
        last = replies.entries(await self._connection.call("XREVRANGE", self._key, "+", "-", "COUNT", 1))
        return replies.text(last[0].id) if last else None

    async def _at(self, letter_id: str) -> Letters:
        entries = replies.entries(await self._connection.call("XRANGE", self._key, letter_id, letter_id))
        found = [dead_letter.parse(replies.text(entry.id), entry.fields or []) for entry in entries]
        return [letter for letter in found if self._is_ours(letter)]

    def _is_ours(self, letter: DeadLetterMessage) -> bool:
        """Whether the dead letter belongs to this stream and group; several groups may share a dead-letter stream."""
        return letter.group in (self._group, "") and letter.stream in (self._stream, "")

    # -- replaying --------------------------------------------------------------------------------------------

    def _check_slots(self) -> None:
        """Raise `ConfigError` where a Cluster cannot move the events in one step."""
        if self._connection.is_cluster and (wrong := keys.refused_on_a_cluster(self._stream, self._key)):
            raise ConfigError(wrong)

    async def _replay(self, letter: DeadLetterMessage) -> Replayed:
        return await replay(self._connection, self._stream, self._group, Letter.of(self._key, letter))

    async def _would_replay(self, letter: DeadLetterMessage) -> Replayed:
        groups = await describe_groups(self._connection, self._stream)
        if all(group.name != self._group for group in groups):
            raise GroupNotFoundError(f"stream {self._stream!r} has no group {self._group!r}")
        entry_id = Letter.of(self._key, letter).entry_id
        there = await self._connection.call("XRANGE", self._stream, entry_id, entry_id)
        return Replayed.IN_PLACE if there else Replayed.COPIED

    def __repr__(self) -> str:
        return f"<DeadLetters {self._stream}/{self._group} in {self._key}>"


def purging(key: str, ids: Sequence[str]) -> Iterator[Command]:
    """Yield the commands that delete these dead letters from their stream."""
    for start in range(0, len(ids), _IDS_AT_ONCE):
        yield ("XDEL", key, *ids[start : start + _IDS_AT_ONCE])


async def _pause(until: float) -> None:
    await asyncio.sleep(max(0.0, until - asyncio.get_running_loop().time()))

"""Find and read dead letters: of which group, and which of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypedDict

import msgspec

from ...config import Settings
from ...connection import Connection
from ...consumer import ConsumerGroupManager
from ...exceptions import StreamNotFoundError
from ...models import DeadLetterMessage
from ...monitoring.dead_letters import DeadLetters
from ..session import connect, stream_named
from ..show import visible

_PAGE = 100


class Place(msgspec.Struct, frozen=True):
    """The stream and the group whose dead letters are meant."""

    stream: str
    group: str
    dead_letter: str | None
    """The stream that the handler names as `dead_letter`, if it does."""

    def __str__(self) -> str:
        return f"{visible(self.stream)} / {visible(self.group)}"


class Filters(TypedDict):
    """The filters of `DeadLetters`."""

    reason: str | None
    since: datetime | None
    until: datetime | None
    fingerprint: str | None


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are meant: those with these ids, or else all that pass the filters."""

    ids: tuple[str, ...] | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    fingerprint: str | None = None

    def filters(self) -> Filters:
        """Return the filters as `DeadLetters` takes them."""
        return {
            "reason": self.reason,
            "since": self.since,
            "until": self.until,
            "fingerprint": self.fingerprint,
        }


@asynccontextmanager
async def opened(settings: Settings, place: Place) -> AsyncIterator[DeadLetters]:
    """Open the dead letters of a group. If there are none, check that the group exists, to find typing errors.

    Raises `GroupNotFoundError`, `StreamTypeError`, `RedisUnavailableError`.
    """
    async with connect(settings) as connection:
        letters = DeadLetters(connection, place.stream, place.group, dead_letter=place.dead_letter)
        try:
            if not await letters.count():
                await _check_group(connection, place)
            yield letters
        except StreamNotFoundError:
            await _check_group(connection, place)  # its error is clearer
            raise


async def _check_group(connection: Connection, place: Place) -> None:
    with stream_named(place.stream):
        await ConsumerGroupManager(connection).get_group_info(place.stream, place.group)


async def chosen(letters: DeadLetters, which: Selection) -> AsyncIterator[DeadLetterMessage]:
    """Yield the selected dead letters, the oldest first. Raises `DeadLetterNotFoundError`, `RedisUnavailableError`."""
    for letter_id in which.ids or ():
        yield await letters.show(letter_id)
    after: str | None = None
    while which.ids is None:
        page = await letters.list(**which.filters(), after=after, count=_PAGE)
        for letter in page:
            yield letter
        if len(page) < _PAGE:
            return
        after = page[-1].id

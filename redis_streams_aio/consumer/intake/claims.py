"""Claiming: has Redis put pending entries under this consumer's name, and hand over what is in them.

Whoever claims says whose they are and for how long they must have been idle; an entry that has another owner by then,
or was renewed, is left alone. One step claims a bounded number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...connection import replies
from ...connection.group_scripts import CLAIM
from ...connection.replies import RawEntry
from ..holdings import Holdings

AT_ONCE = 100
"""Most entries that one step claims: about a millisecond of the server's time."""


class Claim(NamedTuple):
    """An entry that is to be claimed."""

    owner: str
    idle_ms: int
    """For how long it must have been idle."""
    id: bytes


async def claim(holdings: Holdings, claims: Sequence[Claim]) -> list[RawEntry]:
    """Claim entries; those that were deleted are told of, acknowledged and forgotten.

    Raises `RedisUnavailableError`, `ServerError` (`GroupNotFoundError` when the group is lost).
    """
    if not claims:
        return []
    arguments = [argument for one in claims for argument in one]
    found = replies.taken(
        await holdings.connection.run(CLAIM, holdings.stream, holdings.group, holdings.consumer, *arguments)
    )
    if gone := [entry.id for entry in found if entry.fields is None]:
        holdings.report_vanished(gone)
        await holdings.connection.call(*holdings.forget_command(gone))
    return [entry for entry in found if entry.fields is not None]

"""Claiming: has Redis put pending entries under this consumer's name, and hand over what is in them.

Whoever claims says whose they are and for how long they must have been idle; an entry that has another owner by then,
or was renewed, is left alone. One step claims a bounded number.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...connection.replies import RawEntry
from ...connection.steps import claims as step
from ...connection.steps.claims import Claim
from ..holdings import Holdings

AT_ONCE = 100
"""Most entries that one step claims: about a millisecond of the server's time."""


async def claim(holdings: Holdings, claims: Sequence[Claim]) -> list[RawEntry]:
    """Claim entries; those that were deleted are told of, acknowledged and forgotten.

    Raises `RedisUnavailableError`, `ServerError` (`GroupNotFoundError` when the group is lost).
    """
    if not claims:
        return []
    claimed = await step.claim(holdings.connection, holdings.who, claims)
    if claimed.gone:
        holdings.report_vanished(claimed.gone)
        await holdings.connection.call(*holdings.forget_command(claimed.gone))
    return claimed.entries

"""Claim pending entries for this consumer, with their fields.

The caller names the owner of each entry and the idle time that it must have. An entry that has another owner by then,
or was renewed, is not claimed. A step claims a bounded number of entries.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...connection.replies import RawEntry
from ...connection.steps import claims as step
from ...connection.steps.claims import Claim
from ..holdings import Holdings

AT_ONCE = 100
"""The most entries that a step claims: about a millisecond of the server's time."""


async def claim(holdings: Holdings, claims: Sequence[Claim]) -> list[RawEntry]:
    """Claim entries. Deleted entries are reported, acknowledged and forgotten.

    Raises `RedisUnavailableError`, `ServerError` (`GroupNotFoundError` if the group is lost).
    """
    if not claims:
        return []
    claimed = await step.claim(holdings.connection, holdings.who, claims)
    if claimed.gone:
        holdings.report_vanished(claimed.gone)
        await holdings.connection.call(*holdings.forget_command(claimed.gone))
    return claimed.entries

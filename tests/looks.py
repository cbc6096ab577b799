"""Looks of a consumer that come too seldom for a test to wait for them."""

from __future__ import annotations

from tests.members import Member


def look_at_everything(member: Member) -> None:
    """Have the next look for abandoned entries go through all that is pending, as one does once a lease."""
    member.source._reclaimer._page_from, member.source._reclaimer._page_due = "-", 0.0

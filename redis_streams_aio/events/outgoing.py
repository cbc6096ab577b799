"""`Outgoing`: an event that is to be published, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

NO_HEADERS: Mapping[str, str] = {}
Command = tuple[str | bytes | float, ...]
Durability = Literal["memory", "replicated", "disk"]
"""Where an event must be when publishing it returns: in the primary's memory, in replicas, or on the primary's disk."""


class Addressed(msgspec.Struct, frozen=True):
    """A payload and where it goes, which may be given without their names; all options are named."""

    stream: str
    payload: object


class Outgoing(Addressed, frozen=True, kw_only=True):
    """An event with the options of `publish`."""

    event_type: str | None = None
    """`None`: the name of the payload's type."""
    key: str | None = None
    event_id: str | None = None
    headers: Mapping[str, str] = NO_HEADERS


Compose = Callable[[Outgoing], Command]
"""Makes the XADD of an event. Raises `InvalidEventError`."""

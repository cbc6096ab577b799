"""`SubscriptionOptions`: the options of one stream and one group in this process. Pure."""

from __future__ import annotations

import msgspec

from ..events import entry_ids, keys
from .options import WITHIN, KeyFunction, Order, Unknown


class SubscriptionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a subscription as a whole, which must be equal for all its handlers."""

    stream: str
    group: str
    concurrency: int = 1
    order: Order = "stream"
    key: KeyFunction | None = None
    start: str = entry_ids.BEGINNING
    lease: float = 30.0
    unknown: Unknown = "dead_letter"
    dead_letter: str = ""
    """The stream of the dead letters; by default `{<stream>}:<group>:dead`."""
    batch: int | None = None
    """The most events in a batch; `None` if handlers get single events."""
    within: float = WITHIN
    """The longest time in seconds that a batch waits until it is full."""

    def __post_init__(self) -> None:
        if not self.dead_letter:
            msgspec.structs.force_setattr(self, "dead_letter", keys.dead_letters(self.stream, self.group))

"""`ConsumerOptions`: the settings of one consumer, beside the options of its subscription."""

from __future__ import annotations

import msgspec

from ..config import Settings
from ..handlers.subscription_options import SubscriptionOptions


class ConsumerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a consumer, how much it reads at once, and how many dead letters it keeps. Times are seconds."""

    name: str | None = None
    """The consumer's name, the same after a restart; `None` for a new name at each start."""
    block: float = 2.0
    """The longest time that a read waits for new entries."""
    count: int = 200
    """The most entries in one read."""
    buffer: int = 200
    """The most entries that are held and wait for a worker."""
    reclaim_interval: float = 0.5
    """Seconds between two searches for abandoned entries."""
    ends_when_refused: bool = False
    """Whether an error that does not pass by itself ends its reads; otherwise they are repeated."""
    dead_letter_maxlen: int | None = None
    dead_letter_retention: float | None = None


def consumer_options(options: SubscriptionOptions, settings: Settings) -> ConsumerOptions:
    """Return the settings of a broker's consumer."""
    return ConsumerOptions(
        name=settings.consumer,
        block=settings.block_ms / 1000,
        count=max(settings.count, options.batch or 1),
        buffer=2 * settings.count,
        reclaim_interval=settings.reclaim_interval,
        dead_letter_maxlen=settings.dead_letter_maxlen,
        dead_letter_retention=settings.dead_letter_retention,
    )

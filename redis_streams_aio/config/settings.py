"""Settings: every option of a broker in one frozen record.

A value of a wrong type or out of range raises `ConfigError`, in code as in a file. Times are seconds, except in keys
that end in `_ms`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..checks import names
from ..events.outgoing import Durability, WhenBehind
from ..exceptions import ConfigError
from .checking import check_fields
from .retention import Retention

MAX_PAYLOAD_BYTES = 1024 * 1024

_Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one stream."""

    retention: Retention | None = None
    """Rules by which entries are deleted. Default: none, so the stream grows without a limit."""
    alert_length: Annotated[int, Meta(ge=1)] | None = None
    """Warn (fact `StreamPastBound`) when the stream has more entries than this."""
    durability: Durability = "memory"
    """Where an event must be when `publish` returns: in the `memory` of the primary, `replicated`, or on its `disk`.

    If that is not reached, `publish` raises `NotDurableError`; the event is in the stream.
    """
    replicas: Annotated[int, Meta(ge=1, le=1_000)] = 1
    """The number of replicas that must have an event with `durability: replicated`."""
    when_behind: WhenBehind = "ignore"
    """While a group of the stream is behind (`lag_high`), `publish` may `wait`, `refuse`, or `ignore` it."""
    paced_by: list[_Name] | None = None
    """The groups for which `when_behind` and `wait_for_capacity` wait. Default: all groups of the stream."""

    def __post_init__(self) -> None:
        check_fields(self)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options of a broker. Each has a default."""

    redis_url: str | None = None
    """`redis://`, `rediss://`, `redis+sentinel://`, `unix://`, `embedded://[/path]` or `memory://`."""
    group: _Name | None = None
    """The consumer group of handlers that name none."""
    consumer: _Name | None = None
    """This process's consumer name in its groups. Default: a new name at each start, `host-pid-random`."""
    streams: dict[_Name, StreamSettings] = {}
    """Options by stream name."""
    block_ms: Annotated[int, Meta(ge=10, le=60_000)] = 2_000
    """The time that one read waits for new entries, in milliseconds."""
    count: Annotated[int, Meta(ge=1, le=10_000)] = 200
    """The most entries that one read asks for."""
    max_payload_bytes: Annotated[int, Meta(ge=1, le=512 * 1024 * 1024)] = MAX_PAYLOAD_BYTES
    """The largest encoded payload that `publish` accepts and handlers get.

    A larger payload from another publisher is dead-lettered without decoding.
    """
    connect_timeout: _Seconds | None = None
    """Seconds to wait for Redis at start before giving up.

    Default: wait without limit, with warnings in the log.
    """
    command_timeout: _Seconds = 10.0
    """Seconds after which a command fails if it cannot be sent or is not answered."""
    reclaim_interval: _Seconds = 0.5
    """Seconds between two searches for entries of consumers that are gone, while anything is pending.

    Entries that a draining consumer releases wait for at most this long.
    """
    lease_thread: bool = False
    """Renew leases in a thread, so that a handler that blocks the event loop does not lose its events."""
    consumer_expiry: _Seconds = 3_600.0
    """Seconds after which a consumer that is gone, and has nothing pending, is removed from its group."""
    dead_letter_maxlen: Annotated[int, Meta(ge=1)] | None = None
    """The most dead letters that a stream of dead letters keeps; older ones are deleted. Default: no limit."""
    dead_letter_retention: Annotated[float, Meta(gt=0, le=315_360_000)] | None = None
    """Seconds that dead letters are kept, at most ten years. Default: no limit."""
    checkpoints: Literal["redis", "memory"] = "redis"
    """Where checkpoints are kept."""
    checkpoint_interval: _Seconds = 1.0
    """Seconds between two checkpoints, while events are settled."""
    lag_interval: _Seconds = 5.0
    """Seconds between two measurements of lag."""
    lag_high: Annotated[int, Meta(ge=1)] = 10_000
    """The backpressure signal (`LagHigh`) is raised when a group is more than this many entries behind."""
    lag_low: Annotated[int, Meta(ge=0)] = 1_000
    """The signal is withdrawn (`LagLow`) when the group is at most this many entries behind."""
    lag_high_age: _Seconds | None = None
    """The signal is also raised when an entry that is not settled is older than this, until all are younger than half.

    Default: the age does not matter.
    """
    grace: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """Seconds that running handlers get to finish when the broker stops."""

    def __post_init__(self) -> None:
        check_fields(self)
        if self.lag_low >= self.lag_high:
            raise ConfigError(f"lag_low ({self.lag_low}) must be below lag_high ({self.lag_high})")
        for what, name in (("group", self.group), ("consumer", self.consumer)):
            if name is not None:
                names.checked(what, name)
        for name in self.streams:
            names.checked("streams", name)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown = None if self.redis_url is None else f"{self.redis_url.partition(':')[0]}://***"
        return [(name, shown if name == "redis_url" else getattr(self, name)) for name in self.__struct_fields__]

    def __repr__(self) -> str:
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def stream(self, name: str) -> StreamSettings:
        """Return the options of a stream, or the defaults if it has none."""
        return self.streams.get(name, _DEFAULT_STREAM)


_DEFAULT_STREAM = StreamSettings()

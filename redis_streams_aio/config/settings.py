"""Settings: every option of a broker in one frozen record.

A value of a wrong type or out of range raises `ConfigError`, whether it is given in code or in a file. Times are
seconds, except in keys that end in `_ms`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..checks import names, values
from ..exceptions import ConfigError
from .hints import unit

MAX_PAYLOAD_BYTES = 1024 * 1024

_Seconds = Annotated[float, Meta(gt=0, le=86_400)]
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of one stream."""

    maxlen: Annotated[int, Meta(ge=1)] | None = None
    """Trim to about this many entries at each publish (`MAXLEN ~`).

    Trimming also takes entries that a slow group has not read.
    """
    alert_length: Annotated[int, Meta(ge=1)] | None = None
    """Tell (fact `StreamPastBound`, a warning in the log) when the stream grows longer than this."""

    def __post_init__(self) -> None:
        _check_fields(self)


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All options of a broker. Every one has a default."""

    redis_url: str | None = None
    """`redis://`, `rediss://`, `unix://`, `embedded://[/path]` or `memory://`."""
    group: _Name | None = None
    """Consumer group of handlers that name none."""
    consumer: _Name | None = None
    """This process's name in its groups, the same after a restart. Default: a new one each time, `host-pid-random`."""
    streams: dict[_Name, StreamSettings] = {}
    """Options by stream name."""
    block_ms: Annotated[int, Meta(ge=10, le=60_000)] = 2_000
    """How long one read waits for new entries, in milliseconds."""
    count: Annotated[int, Meta(ge=1, le=10_000)] = 100
    """At most this many entries in one read."""
    max_payload_bytes: Annotated[int, Meta(ge=1, le=512 * 1024 * 1024)] = MAX_PAYLOAD_BYTES
    """Largest encoded payload that `publish` takes and handlers are given; a larger one that somebody else published
    is dead-lettered undecoded.
    """
    connect_timeout: _Seconds | None = None
    """Seconds to wait for Redis at start before giving up.

    Default: wait for as long as it takes, and say so in the log.
    """
    command_timeout: _Seconds = 10.0
    """Seconds after which a command that Redis does not answer, or cannot be sent, fails."""
    reclaim_interval: _Seconds = 0.5
    """Seconds between looks for entries of consumers that are gone, where anything is pending.

    What a draining consumer gives back waits this long.
    """
    lease_thread: bool = False
    """Renew leases in a thread, so that a handler that blocks the event loop keeps its events."""
    consumer_expiry: _Seconds = 3_600.0
    """Seconds after which the name of a consumer that is gone, with nothing pending, is removed from its group."""
    dead_letter_maxlen: Annotated[int, Meta(ge=1)] | None = None
    """At most this many dead letters are kept in a stream of them, the newest. Default: all."""
    dead_letter_retention: Annotated[float, Meta(gt=0, le=315_360_000)] | None = None
    """Seconds for which dead letters are kept, at most ten years. Default: without end."""
    checkpoints: Literal["redis", "memory"] = "redis"
    """Where checkpoints are kept."""
    checkpoint_interval: _Seconds = 1.0
    """Seconds between checkpoints, while events are settled."""
    lag_interval: _Seconds = 5.0
    """Seconds between measurements of lag."""
    lag_high: Annotated[int, Meta(ge=1)] = 10_000
    """A group more than this many entries behind raises the backpressure signal."""
    lag_low: Annotated[int, Meta(ge=0)] = 1_000
    """The signal is withdrawn when the group is no more than this many entries behind."""
    grace: Annotated[float, Meta(ge=0, le=86_400)] = 30.0
    """Seconds that running handlers get to finish at a stop."""

    def __post_init__(self) -> None:
        _check_fields(self)
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
        """The options of a stream; the defaults where none are given."""
        return self.streams.get(name, _DEFAULT_STREAM)


def _check_fields(record: msgspec.Struct) -> None:
    """Check what is given in code as what a file says, and keep it as a file's: plain text, records for mappings.

    Raises `ConfigError`.
    """
    for field in msgspec.structs.fields(record):
        given = getattr(record, field.name)
        try:
            value = msgspec.convert(_plain(given), field.type)
        except UnicodeEncodeError:
            raise ConfigError(f"{type(record).__name__}({field.name}): text that cannot be written as UTF-8") from None
        except Exception as error:  # noqa: BLE001  # a user's value may raise anything
            shown = "..." if field.name == "redis_url" else values.shown(given)
            raise ConfigError(f"{type(record).__name__}({field.name}={shown}): {error}{unit(field.name)}") from None
        if value is not given:
            msgspec.structs.force_setattr(record, field.name, value)


def _plain(value: object) -> object:
    """Text of a class of its own, as members of a `(str, Enum)` are, as text; also the keys of a mapping."""
    if isinstance(value, str):
        return names.exact(value)
    if isinstance(value, dict):
        return {_plain(name): inner for name, inner in value.items()}
    return value


_DEFAULT_STREAM = StreamSettings()

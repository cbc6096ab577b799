"""`StreamProducer`, and how it, the broker and the harness publish.

`publish` and `publish_many` are stated once, and are methods of each of them. `publish` checks everything before the
network, encodes once, and posts one XADD on the shared publishing link, where concurrent calls share round trips.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Protocol

from ..checks import values
from ..codecs import JsonCodec, PayloadCodec, payload_codec
from ..config import Settings
from ..connection import Connection
from ..events.outgoing import NO_HEADERS, Durability, Outgoing, PublishMiddleware, WhenBehind
from ..telemetry import SILENT, Telemetry
from .around import Around
from .publisher import Publisher, ids


class Publishes(Protocol):
    """A producer, a broker, or a broker in a test."""

    @property
    def _publisher(self) -> Publisher: ...


async def publish(
    self: Publishes,
    stream: str,
    payload: object,
    *,
    event_type: str | None = None,
    key: str | None = None,
    event_id: str | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    durability: Durability | None = None,
    when_behind: WhenBehind | None = None,
) -> str:
    """Add one event to a stream, and return its entry id.

    * `event_type`: by default the name of the payload's type; it is required for `dict`, `bytes` and the like.
    * `key`: handlers with `order="key"` handle the events of one key one after another.
    * `event_id`: names the event; handlers with `deduplicate` drop its copies.
    * `headers`: text beside the payload; handlers find it in `delivery.event.headers`.
    * `durability`: wait until replicas have the event too (`"replicated"`), or the disk (`"disk"`); by default as the
      settings of the stream say, else not (`"memory"`).
    * `when_behind`: while a group of the stream is behind (`lag_high`), `"wait"` until it has caught up, `"refuse"` by
      raising `GroupBehindError`, or `"ignore"` it; by default as the settings of the stream say, else `"ignore"`.

    The calls of one task keep their order in the stream.

    Raises `InvalidEventError` before anything is sent; `NotOpenError` if the broker or the connection is not open;
    `RedisUnavailableError` if the event was not sent, or refused for `command_timeout` seconds; `UnansweredError` if
    it was sent and may or may not be in the stream; `NotDurableError` if it is in the stream, and not as durable as
    asked; `GroupBehindError`; `ServerError`.
    """
    publisher = self._publisher
    link = publisher.connection.link("publish", stream)  # refuses another event loop or process before all else
    if (
        event_id is not None
        or durability is not None
        or when_behind is not None
        or publisher.is_special
        or publisher.shut
    ):
        await publisher.admit(stream, when_behind)
        event = Outgoing(stream, payload, event_type=event_type, key=key, event_id=event_id, headers=headers)
        return await publisher.publish(event, durability)
    packed = publisher.composer.pack(stream, payload, event_type, key=key, event_id=event_id, headers=headers)
    give_up = monotonic() + publisher.command_timeout
    answers = await link.send(packed, 1)
    if type(answers[0]) is bytes and answers[0].isascii():
        return answers[0].decode()
    return ids(await publisher.resend([packed], answers, stream, give_up), stream)[0]


async def publish_many(
    self: Publishes,
    stream: str,
    payloads: Iterable[object],
    *,
    event_type: str | None = None,
    headers: Mapping[str, str] = NO_HEADERS,
    durability: Durability | None = None,
    when_behind: WhenBehind | None = None,
) -> list[str]:
    """Add events to a stream, in order and in few round trips, and return their entry ids.

    `event_type`, `headers`, `durability` and `when_behind` are those of `publish`, for all events at once. A round trip
    has up to 1,000 events or 256 KiB, and its own `command_timeout`. All events are checked before the first is sent.
    Other tasks run meanwhile, so do not change the payloads before the call returns. This is not a transaction: events
    of other publishers may be in between.

    Raises the errors of `publish`, and `PartialPublishError` (with the ids of the published events) if some were not
    published; then durability is not told.
    """
    publisher = self._publisher
    publisher.connection.link("publish", stream)  # refuses another event loop or process before all else
    if durability is not None or when_behind is not None or publisher.is_special:
        await publisher.admit(stream, when_behind)
        return await publisher.publish_many(stream, payloads, event_type, headers, durability)
    packed = await publisher.composer.pack_many(stream, payloads, event_type, headers)
    return await publisher.send(packed, stream)


async def wait_for_capacity(self: Publishes, stream: str, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # says who is behind
    """Return when no group of the stream is behind (`lag_high`, `lag_low`), at once if none is.

    All groups of the stream count, or those of `paced_by` in its settings. Measures a stream at most once a second,
    however many wait; waiting holds nothing, and can be cancelled. Raises `GroupBehindError` after `timeout` seconds,
    `NotOpenError`, `InvalidEventError`, `ConfigError`, `RedisUnavailableError`, `ServerError`.
    """
    await self._publisher.capacity.wait(stream, timeout)


class StreamProducer:
    """Publishes events on a `Connection`.

    `codec`, `settings` and `publish_middleware` are those of `Broker`; `telemetry` gets facts of published events.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        codec: PayloadCodec | None = None,
        settings: Settings | None = None,
        publish_middleware: Sequence[PublishMiddleware] = (),
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._publisher = Publisher(
            values.instance("connection", connection, Connection),
            JsonCodec() if codec is None else payload_codec(codec),
            Settings() if settings is None else values.instance("settings", settings, Settings),
            values.instance("telemetry", telemetry, Telemetry),
            Around(publish_middleware),
        )

    publish = publish
    publish_many = publish_many
    wait_for_capacity = wait_for_capacity

"""Tell observers of published events (`Published`, `PublishFailed`): one fact for each call that sends events."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from time import monotonic
from typing import TypedDict, TypeVar

from ..events.outgoing import Outgoing
from ..exceptions import NotDurableError, PartialPublishError, RedisStreamsError
from ..handlers.error_texts import describe, shortened
from ..telemetry import Published, PublishedBy, PublishFailed, Telemetry

T = TypeVar("T", str, list[str])


class What(TypedDict):
    """The fields that both facts share."""

    stream: str
    event_type: str
    by: PublishedBy


class Telling:
    """Tells the observers of one publisher."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.is_wanted: bool = telemetry.wants(Published) or telemetry.wants(PublishFailed)
        """Whether an observer wants these facts."""

    async def of(self, what: What, packed: Sequence[bytes], sending: Awaitable[T]) -> T:
        """Await the sending of these commands, tell its result, and return it. Raises its errors."""
        began = monotonic()
        try:
            sent = await sending
        except RedisStreamsError as error:
            published = _published(error, len(packed))
            self._tell(what, packed, published, monotonic() - began)
            count, seconds = published.count(False), monotonic() - began
            self._telemetry.emit(
                PublishFailed(**what, count=count, error=describe(error), seconds=seconds, exception=error)
            )
            raise
        self._tell(what, packed, [True] * len(packed), monotonic() - began)
        return sent

    def _tell(self, what: What, packed: Sequence[bytes], published: Sequence[bool], seconds: float) -> None:
        sizes = [len(command) for command, is_there in zip(packed, published, strict=True) if is_there]
        if sizes:
            self._telemetry.emit(Published(**what, count=len(sizes), bytes=sum(sizes), seconds=seconds))


def _published(error: RedisStreamsError, count: int) -> Sequence[bool]:
    """Return for each of the events whether it was published, as far as the error says."""
    if isinstance(error, NotDurableError):
        return [True] * count
    if isinstance(error, PartialPublishError):
        return [entry_id is not None for entry_id in error.ids]
    return [False] * count


def of_one(event: Outgoing) -> What:
    """Return what is told of one event."""
    event_type = event.event_type or type(event.payload).__name__
    return {"stream": event.stream, "event_type": shortened(event_type), "by": "publish"}


def of_many(stream: str, event_type: str | None, payloads: Sequence[object]) -> What:
    """Return what is told of the events of one call."""
    names = {event_type or type(payload).__name__ for payload in payloads}
    return {"stream": stream, "event_type": shortened("".join(names)) if len(names) == 1 else "", "by": "publish_many"}

"""Tell observers of published events (`Published`, `PublishFailed`): one fact for each call that sends events."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from time import monotonic
from typing import TypeVar

from ..exceptions import NotDurableError, PartialPublishError, RedisStreamsError
from ..handlers.error_texts import describe, shortened
from ..telemetry import Published, PublishFailed, Telemetry

T = TypeVar("T", str, list[str])


class Telling:
    """Tells the observers of one publisher."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self.is_wanted: bool = telemetry.wants(Published) or telemetry.wants(PublishFailed)
        """Whether an observer wants these facts."""

    async def of(self, stream: str, event_type: str, packed: Sequence[bytes], sending: Awaitable[T]) -> T:
        """Await the sending of these commands, tell its result, and return it. Raises its errors."""
        began = monotonic()
        try:
            sent = await sending
        except RedisStreamsError as error:
            self._tell(stream, event_type, packed, _published(error, len(packed)), monotonic() - began)
            self._telemetry.emit(
                PublishFailed(
                    stream=stream,
                    event_type=shortened(event_type),
                    count=_published(error, len(packed)).count(False),
                    error=describe(error),
                    seconds=monotonic() - began,
                    exception=error,
                )
            )
            raise
        self._tell(stream, event_type, packed, [True] * len(packed), monotonic() - began)
        return sent

    def _tell(
        self, stream: str, event_type: str, packed: Sequence[bytes], published: Sequence[bool], seconds: float
    ) -> None:
        if any(published):
            sizes = [len(command) for command, is_there in zip(packed, published, strict=True) if is_there]
            self._telemetry.emit(
                Published(
                    stream=stream,
                    event_type=shortened(event_type),
                    count=len(sizes),
                    bytes=sum(sizes),
                    seconds=seconds,
                )
            )


def _published(error: RedisStreamsError, count: int) -> Sequence[bool]:
    """Return for each of the events whether it was published, as far as the error says."""
    if isinstance(error, NotDurableError):
        return [True] * count
    if isinstance(error, PartialPublishError):
        return [entry_id is not None for entry_id in error.ids]
    return [False] * count


def types_of(event_type: str | None, payloads: Sequence[object]) -> str:
    """Return the event type of all payloads; empty if they have several."""
    if event_type is not None:
        return event_type
    names = {type(payload).__name__ for payload in payloads}
    return names.pop() if len(names) == 1 else ""

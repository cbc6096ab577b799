"""`Publisher` sends events to Redis, and sends those again that Redis refuses for the moment.

Without a connection, a call waits for up to `command_timeout`. If Redis refuses for the moment (LOADING, READONLY, OOM,
...), the call tries again within that time. An `XADD` that was sent and not answered raises `UnansweredError` and is
not repeated, because Redis may have executed it; an event with an event id is, where the server recognises it (`Once`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from time import monotonic
from typing import cast

from ..codecs import PayloadCodec
from ..config import Settings
from ..connection import Connection, replies
from ..connection.node import Node
from ..connection.replies import Answer, Reply
from ..events.outgoing import Durability, Outgoing, WhenBehind
from ..exceptions import (
    InvalidEventError,
    PartialPublishError,
    PermissionDeniedError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    StreamTypeError,
)
from ..telemetry import SILENT, Telemetry
from .around import Around
from .capacity import Capacity
from .composer import Composer, several
from .durably import Durably
from .extras import checked_headers
from .once import Once
from .resending import UNASKED, Ask, Resending
from .telling import Telling, of_many, of_one

_PART = 1000
"""The most events in one round trip."""
_PART_BYTES = 256 * 1024
"""The most bytes in one round trip, so that on a slow line other events are sent between two of them."""


class Publisher:
    """Composes and sends events for one producer or broker."""

    def __init__(
        self,
        connection: Connection,
        codec: PayloadCodec,
        settings: Settings,
        telemetry: Telemetry = SILENT,
        around: Around | None = None,
    ) -> None:
        self.connection: Connection = connection
        self.composer: Composer = Composer(codec, settings)
        self.command_timeout: float = settings.command_timeout
        self.resending: Resending = Resending(connection)
        self.once: Once = Once(connection, settings.command_timeout)
        self.durably: Durably = Durably(connection, settings, self.ask)
        self.around: Around | None = around or None
        """The publish middleware; `None` if there is none."""
        self.capacity: Capacity = Capacity(connection, settings)
        self._telling = Telling(telemetry)
        self.is_special: bool = bool(self.durably.streams or self.capacity.streams or around or self._telling.is_wanted)
        """Whether all events go through `publish` and `publish_many`: for copies, lag, middleware or observers."""
        self.shut: Collection[Node] = self.resending.shut
        """Nodes that refuse now."""

    async def admit(self, stream: str, when_behind: WhenBehind | None) -> None:
        """Return when an event may be published, where a call or the settings care. Raises the errors of `Capacity`."""
        if when_behind is not None or stream in self.capacity.streams:
            await self.capacity.admit(stream, when_behind)

    async def publish(self, event: Outgoing, durability: Durability | None) -> str:
        """Publish an event with everything that was asked for. Raises the errors of `producer.publish`."""
        if self.around is None:
            return await self._publish(durability, event)
        checked_headers(event.headers)  # middleware adds to them
        sent = await self.around.run(event, partial(self._publish, durability))
        return cast("str", sent)

    async def _publish(self, durability: Durability | None, event: Outgoing) -> str:
        packed = self.composer.pack_event(event)
        sending = self.send_one(packed, event.stream, durability, is_named=event.event_id is not None)
        if not self._telling.is_wanted:
            return await sending
        return await self._telling.of(of_one(event), [packed], sending)

    async def publish_many(
        self,
        stream: str,
        payloads: Iterable[object],
        event_type: str | None,
        headers: Mapping[str, str],
        durability: Durability | None,
    ) -> list[str]:
        """Publish events with everything that was asked for. Raises the errors of `producer.publish_many`."""
        payloads = tuple(several(payloads))
        if self.around is None:
            packed = await self.composer.pack_many(stream, payloads, event_type, headers)
        else:
            checked_headers(headers)  # middleware adds to them
            events = (Outgoing(stream, each, event_type=event_type, headers=headers) for each in payloads)
            packed = [self._packed_in(stream, event) for event in await self.around.all_through(events)]
        sending = self._send_durably(packed, stream, durability)
        if not self._telling.is_wanted:
            return await sending
        return await self._telling.of(of_many(stream, event_type, payloads), packed, sending)

    def _packed_in(self, stream: str, event: Outgoing) -> bytes:
        if event.stream != stream:
            raise InvalidEventError(
                f"publish middleware changed the stream {stream!r} of publish_many to {event.stream!r}: publish the "
                "event with 'publish' instead"
            )
        return self.composer.pack_event(event)

    async def _send_durably(self, packed: list[bytes], stream: str, durability: Durability | None) -> list[str]:
        """Send commands, and wait for copies of their events if these were asked for."""
        confirming = self.durably.confirming(stream, durability)
        if confirming is None:
            return await self.send(packed, stream)
        sent = await self.send(packed, stream, confirming.ask)
        confirming.check(sent, stream)
        return sent

    async def send(self, packed: list[bytes], stream: str, ask: Ask | None = None) -> list[str]:
        """Send commands in few round trips, and return the entry ids.

        Raises the error of the first where all failed, and `PartialPublishError` where some did.
        """
        answers: list[Answer] = []
        for part in _parts(packed):
            answered = await self._send_part(ask or self.ask, part, stream)
            answers += answered
            if failed := _errors(answered):
                answers += [_not_sent_after(failed[-1])] * (len(packed) - len(answers))
                break
        return ids(answers, stream)

    async def send_one(self, packed: bytes, stream: str, durability: Durability | None, *, is_named: bool) -> str:
        """Send an event that may have an event id (`is_named`), or may wait for copies.

        Raises the errors of `send`, `InvalidEventError`, `UnsupportedServerError`, `NotDurableError`.
        """
        confirming = self.durably.confirming(stream, durability)
        ask = self.ask if confirming is None else confirming.ask
        if is_named and self.once.is_possible(stream):
            give_up = monotonic() + self.command_timeout
            answers = [await self.once.send(partial(self._resend_one, ask, stream, give_up), packed, stream, give_up)]
        else:
            answers = await self._send_part(ask, [packed], stream)
        sent = ids(answers, stream)
        if confirming is not None:
            confirming.check(sent, stream)
        return sent[0]

    async def resend(self, packed: list[bytes], answers: list[Answer], stream: str, give_up: float) -> list[Answer]:
        """Send those commands again whose answers are refusals, in order, until the time `give_up`."""
        return await self.resending.resend(self.ask, packed, answers, stream, give_up)

    async def _send_part(self, ask: Ask, packed: list[bytes], stream: str) -> list[Answer]:
        """Send commands in one round trip, and send those again that Redis refuses."""
        give_up = monotonic() + self.command_timeout
        answers: list[Answer] = [UNASKED] * len(packed)
        if self.resending.is_open(stream):
            answers = await ask(packed, stream)
        return answers if _are_ids(answers) else await self.resending.resend(ask, packed, answers, stream, give_up)

    async def _resend_one(self, ask: Ask, stream: str, give_up: float, packed: bytes) -> Answer:
        """Send one command, and again while Redis refuses it."""
        [answer] = await self.resending.resend(ask, [packed], [UNASKED], stream, give_up)
        return answer

    async def ask(self, packed: list[bytes], stream: str) -> list[Answer]:
        """Send commands in one round trip. If it is lost, each command gets that error."""
        try:
            return await self.connection.link("publish", stream).send(b"".join(packed), len(packed))
        except RedisStreamsError as error:
            return [error] * len(packed)


def ids(answers: list[Answer], stream: str) -> list[str]:
    """Return the entry ids. Raises the error of the first where all failed, `PartialPublishError` where some did."""
    try:
        return [*map(bytes.decode, answers)]  # type: ignore[arg-type]  # all are bytes, nearly always
    except (TypeError, UnicodeDecodeError):
        if failed := _errors(answers):
            raise _failure(answers, failed, stream) from None
        return [entry_id.decode() for entry_id in replies.ids(cast("Reply", answers))]


def _are_ids(answers: Sequence[Answer]) -> bool:
    """Whether Redis gave an entry id for every event. One look at all of them, because nearly always it did."""
    return {*map(type, answers)} <= {bytes}


def _parts(packed: list[bytes]) -> Iterator[list[bytes]]:
    """Yield the commands for each round trip."""
    sizes = list(accumulate(map(len, packed)))
    start, sent = 0, 0
    while start < len(packed):
        end = bisect_right(sizes, sent + _PART_BYTES, start + 1, min(start + _PART, len(packed)))
        yield packed[start:end]
        start, sent = end, sizes[end - 1]


def _errors(answers: Sequence[Answer]) -> list[RedisStreamsError]:
    if _are_ids(answers):
        return []
    return [answer for answer in answers if isinstance(answer, RedisStreamsError)]


def _failure(answers: Sequence[Answer], failed: list[RedisStreamsError], stream: str) -> RedisStreamsError:
    """Return the error for events of which some or all failed."""
    if len(failed) == len(answers):
        return _naming(failed[0], stream)
    return PartialPublishError(
        [replies.text(answer) if isinstance(answer, bytes) else None for answer in answers], failed
    )


def _not_sent_after(error: RedisStreamsError) -> RedisStreamsError:
    """Return the error of the events behind a failed one, which are not sent: they could overtake it or be lost too."""
    if isinstance(error, RedisUnavailableError) and not isinstance(error, RedisRefusedError):
        return RedisUnavailableError(f"not sent, because the events before it failed: {error}")
    return error


def _naming(error: RedisStreamsError, stream: str) -> RedisStreamsError:
    """Return the error with the stream's name, which Redis leaves out."""
    if isinstance(error, StreamTypeError | PermissionDeniedError):
        return type(error)(f"stream {stream!r}: {error}")
    return error

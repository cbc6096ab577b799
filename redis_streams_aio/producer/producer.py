"""`StreamProducer`: publishes events.

`publish` checks everything before the network (P24), encodes once, and posts one XADD on the shared publishing
link, where concurrent calls share round trips (P23). An XADD is sent at most once: what fails before it was sent
waits for the connection up to `command_timeout`; what Redis refused for now (LOADING, READONLY, OOM, ...) is tried
again within that time; what was sent and not answered raises `UnansweredError` and is not repeated (P25), as Redis
may have it.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from time import monotonic
from typing import cast

from ..checks import values
from ..codecs import JsonCodec, PayloadCodec, payload_codec
from ..config import Settings
from ..connection import Connection, replies
from ..connection.backoff import Gate
from ..connection.packing import Command
from ..connection.replies import Reply
from ..exceptions import (
    PartialPublishError,
    PermissionDeniedError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    StreamTypeError,
)
from .composer import NO_HEADERS, Composer


class StreamProducer:
    """Publishes events."""

    def __init__(
        self, connection: Connection, *, codec: PayloadCodec | None = None, settings: Settings | None = None
    ) -> None:
        self._connection = values.instance("connection", connection, Connection)
        self._settings = Settings() if settings is None else values.instance("settings", settings, Settings)
        self._composer = Composer(JsonCodec() if codec is None else payload_codec(codec), self._settings)
        self._gate = Gate()
        self._insisting = 0

    async def publish(
        self,
        stream: str,
        payload: object,
        *,
        event_type: str | None = None,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> str:
        """Add one event to a stream, and return the entry id that Redis gave it.

        `event_type` defaults to the name of the payload's type; `dict`, `bytes` and the like have none of their
        own and need it. Calls of one task are in the stream in their order. Raises `InvalidEventError` before
        anything is sent; `RedisUnavailableError` when it was not sent or refused for `command_timeout` seconds;
        `UnansweredError` when it was sent and may or may not be in the stream; `ServerError`.
        """
        link = self._connection.link("publish")  # before anything is touched: it may not be ours to use
        packed = self._composer.pack(stream, payload, event_type, key=key, event_id=event_id, headers=headers)
        give_up = monotonic() + self._settings.command_timeout
        answer: _Fate = _UNASKED
        if self._gate.is_open:
            [reply] = await link.send(packed, 1)
            answer = _id_or_error(reply)
        if isinstance(answer, RedisRefusedError):
            [answer] = await self._insist([packed], [answer], give_up)
        if isinstance(answer, RedisStreamsError):
            raise _naming(answer, stream)
        return answer

    async def publish_many(
        self,
        stream: str,
        payloads: Iterable[object],
        *,
        event_type: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> list[str]:
        """Add events to a stream, in their order and together in few round trips; return their entry ids.

        A round trip has up to 1,000 events or 256 KiB, and `command_timeout` of its own. All events are checked before
        the first is sent, with a turn for other tasks now and then: payloads must not be changed before it returns. No
        transaction: other publishers' events may stand between.
        Raises as `publish` does, and `PartialPublishError` (with the ids of the others) when Redis refused some.
        """
        self._connection.link("publish")  # before anything is touched: it may not be ours to use
        packed = await self._composer.pack_many(stream, payloads, event_type, headers)
        answers: list[_Fate] = []
        failed: list[RedisStreamsError] = []
        for part in _parts(packed):
            fates = await self._send_part(part, monotonic() + self._settings.command_timeout)
            answers += fates
            failed += [fate for fate in fates if isinstance(fate, RedisStreamsError)]
            if failed:
                failed += [_not_sent_after(failed[-1])] * (len(packed) - len(answers))
                break
        if not failed:
            return cast("list[str]", answers)
        if len(failed) == len(packed):
            raise _naming(failed[0], stream)
        ids = [answer if isinstance(answer, str) else None for answer in answers]
        raise PartialPublishError(ids + [None] * (len(packed) - len(ids)), failed)

    def command(
        self,
        stream: str,
        payload: object,
        *,
        event_type: str | None = None,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Command:
        """The XADD of an event, for those who send it themselves. Raises `InvalidEventError`, as `publish` does."""
        return self._composer.command(stream, payload, event_type, key=key, event_id=event_id, headers=headers)

    async def _send_part(self, packed: list[bytes], give_up: float) -> list[_Fate]:
        """Send XADDs in one round trip, and again those that Redis refuses."""
        answers: list[_Fate] = [_UNASKED] * len(packed)
        if self._gate.is_open:
            answers = await self._ask(packed)
        if any(isinstance(answer, RedisRefusedError) for answer in answers):
            return await self._insist(packed, answers, give_up)
        return answers

    async def _insist(self, packed: list[bytes], answers: list[_Fate], give_up: float) -> list[_Fate]:
        """Send those that Redis refuses again, in order, until `command_timeout` is over.

        While Redis refuses, one call at a time asks, and the others wait (P16); each asks once before it gives up.
        """
        self._insisting += 1
        try:
            while refused := [index for index, answer in enumerate(answers) if isinstance(answer, RedisRefusedError)]:
                if answers[refused[0]] is not _UNASKED:
                    self._gate.refused(monotonic())
                    if monotonic() >= give_up:
                        return answers
                await self._turn(give_up)
                again = await self._ask([packed[index] for index in refused])
                for index, answer in zip(refused, again, strict=True):
                    answers[index] = answer
            self._gate.passed()
            return answers
        finally:
            self._insisting -= 1
            if not self._insisting:
                self._gate.passed()  # nobody waits: the next one may ask at once

    async def _turn(self, give_up: float) -> None:
        """Wait for this call's turn to ask, or until its time is up."""
        while (wait := self._gate.wait(monotonic())) and (left := give_up - monotonic()) > 0:  # noqa: ASYNC110  # by time
            await asyncio.sleep(min(wait, left))

    async def _ask(self, packed: list[bytes]) -> list[_Fate]:
        """Send XADDs in one round trip; where it is lost, all of them have that error."""
        try:
            link = self._connection.link("publish")
            return [_id_or_error(answer) for answer in await link.send(b"".join(packed), len(packed))]
        except RedisStreamsError as error:
            return [error] * len(packed)


_Fate = str | RedisStreamsError
"""What became of an event: its entry id, or why it has none."""
_UNASKED = RedisRefusedError("not asked yet")
_PART = 1000
"""Events in one round trip."""
_PART_BYTES = 256 * 1024
"""Bytes in one round trip: on a slow line, others' events have their turn between two of them."""


def _parts(packed: list[bytes]) -> Iterator[list[bytes]]:
    """What belongs into one round trip each."""
    sizes = list(accumulate(map(len, packed)))
    start, sent = 0, 0
    while start < len(packed):
        end = bisect_right(sizes, sent + _PART_BYTES, start + 1, min(start + _PART, len(packed)))
        yield packed[start:end]
        start, sent = end, sizes[end - 1]


def _not_sent_after(error: RedisStreamsError) -> RedisStreamsError:
    """What the events behind a failed one have: they would be refused too, or overtake it, or be lost as well."""
    if isinstance(error, RedisUnavailableError) and not isinstance(error, RedisRefusedError):
        return RedisUnavailableError(f"not sent, as those before it failed: {error}")
    return error


def _id_or_error(answer: Reply | RedisStreamsError) -> str | RedisStreamsError:
    return answer if isinstance(answer, RedisStreamsError) else replies.text(answer)


def _naming(error: RedisStreamsError, stream: str) -> RedisStreamsError:
    """An error about the stream with its name, which Redis leaves out."""
    if isinstance(error, StreamTypeError | PermissionDeniedError):
        return type(error)(f"stream {stream!r}: {error}")
    return error

"""`StreamProducer` publishes events.

`publish` checks everything before sending, encodes once, and posts one `XADD` on the shared publishing link, where
concurrent calls share round trips. An `XADD` is sent at most once. Without a connection, a call waits for up to
`command_timeout`. If Redis refuses for the moment (LOADING, READONLY, OOM, ...), the call tries again within that time.
An `XADD` that was sent and not answered raises `UnansweredError` and is not repeated, because Redis may have executed
it.
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
    """Publishes events on a `Connection`."""

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
        """Add one event to a stream, and return its entry id.

        `event_type` defaults to the name of the payload's type; it is required for `dict`, `bytes` and the like. The
        calls of one task keep their order in the stream. Raises `InvalidEventError` before anything is sent;
        `RedisUnavailableError` if the event was not sent, or refused for `command_timeout` seconds; `UnansweredError`
        if it was sent and may or may not be in the stream; `ServerError`.
        """
        link = self._connection.link("publish")  # checks first that this loop and process may use the connection
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
        """Add events to a stream, in order and in few round trips, and return their entry ids.

        A round trip has up to 1,000 events or 256 KiB, and its own `command_timeout`. All events are checked before the
        first is sent. Other tasks run meanwhile, so do not change the payloads before the call returns. This is not a
        transaction: events of other publishers may be in between. Raises the errors of `publish`, and
        `PartialPublishError` (with the ids of the published events) if some were not published.
        """
        self._connection.link("publish")  # checks first that this loop and process may use the connection
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
        """Return the `XADD` of an event without sending it. Raises the errors that `publish` raises before sending."""
        return self._composer.command(stream, payload, event_type, key=key, event_id=event_id, headers=headers)

    async def _send_part(self, packed: list[bytes], give_up: float) -> list[_Fate]:
        """Send commands in one round trip, and send those again that Redis refuses."""
        answers: list[_Fate] = [_UNASKED] * len(packed)
        if self._gate.is_open:
            answers = await self._ask(packed)
        if any(isinstance(answer, RedisRefusedError) for answer in answers):
            return await self._insist(packed, answers, give_up)
        return answers

    async def _insist(self, packed: list[bytes], answers: list[_Fate], give_up: float) -> list[_Fate]:
        """Send the refused commands again, in order, until `command_timeout` is over.

        While Redis refuses, only one call at a time tries, and the others wait. Each call tries once before it gives
        up.
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
                self._gate.passed()  # no call is waiting: the next one may try at once

    async def _turn(self, give_up: float) -> None:
        """Wait until this call may try, or until its time is over."""
        while (wait := self._gate.wait(monotonic())) and (left := give_up - monotonic()) > 0:  # noqa: ASYNC110  # by time
            await asyncio.sleep(min(wait, left))

    async def _ask(self, packed: list[bytes]) -> list[_Fate]:
        """Send commands in one round trip. If it is lost, each command gets that error."""
        try:
            link = self._connection.link("publish")
            return [_id_or_error(answer) for answer in await link.send(b"".join(packed), len(packed))]
        except RedisStreamsError as error:
            return [error] * len(packed)


_Fate = str | RedisStreamsError
"""The result of a publish: the entry id, or the error."""
_UNASKED = RedisRefusedError("not asked yet")
_PART = 1000
"""The most events in one round trip."""
_PART_BYTES = 256 * 1024
"""The most bytes in one round trip, so that on a slow line other events are sent between two of them."""


def _parts(packed: list[bytes]) -> Iterator[list[bytes]]:
    """Yield the commands for each round trip."""
    sizes = list(accumulate(map(len, packed)))
    start, sent = 0, 0
    while start < len(packed):
        end = bisect_right(sizes, sent + _PART_BYTES, start + 1, min(start + _PART, len(packed)))
        yield packed[start:end]
        start, sent = end, sizes[end - 1]


def _not_sent_after(error: RedisStreamsError) -> RedisStreamsError:
    """Return the error of the events behind a failed one, which are not sent: they could overtake it or be lost too."""
    if isinstance(error, RedisUnavailableError) and not isinstance(error, RedisRefusedError):
        return RedisUnavailableError(f"not sent, because the events before it failed: {error}")
    return error


def _id_or_error(answer: Reply | RedisStreamsError) -> str | RedisStreamsError:
    return answer if isinstance(answer, RedisStreamsError) else replies.text(answer)


def _naming(error: RedisStreamsError, stream: str) -> RedisStreamsError:
    """Return the error with the stream's name, which Redis leaves out."""
    if isinstance(error, StreamTypeError | PermissionDeniedError):
        return type(error)(f"stream {stream!r}: {error}")
    return error

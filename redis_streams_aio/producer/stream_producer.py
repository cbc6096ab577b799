"""`StreamProducer`: publishes events.

`publish` checks everything before the network (P24), encodes once, and posts one XADD on the shared publishing
link, where concurrent calls share round trips (P23). An XADD is sent at most once: what fails before it was sent
waits for the connection up to `command_timeout`; what Redis refused for now (LOADING, READONLY, OOM, ...) is tried
again within that time; what was sent and not answered raises `UnansweredError` and is not repeated (P25), as Redis
may have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from .. import entries, naming
from ..codecs import JsonCodec, PayloadCodec
from ..config import Settings
from ..connection import Connection, replies
from ..connection.backoff import Gate
from ..connection.packing import Command, pack
from ..connection.replies import Reply
from ..exceptions import (
    InvalidEventError,
    PartialPublishError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    StreamTypeError,
)

if TYPE_CHECKING:
    from ..connection.link import Link  # imports redis-py

_NO_HEADERS: Mapping[str, str] = {}
_NAMELESS = (dict, bytes, bytearray, memoryview, str, int, float, list, tuple, bool, type(None))
"""Payload types whose name says nothing about the event."""


class StreamProducer:
    """Publishes events."""

    def __init__(
        self, connection: Connection, *, codec: PayloadCodec | None = None, settings: Settings | None = None
    ) -> None:
        self._connection = connection
        self._codec = codec or JsonCodec()
        self._settings = settings or Settings()
        self._heads: dict[str, tuple[str | int, ...]] = {}
        self._gate = Gate()
        self._under_way = 0

    async def publish(
        self,
        stream: str,
        payload: object,
        *,
        event_type: str | None = None,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> str:
        """Add one event to a stream, and return the entry id that Redis gave it.

        `event_type` defaults to the name of the payload's type; `dict`, `bytes` and the like have none of their
        own and need it. Calls of one task are in the stream in their order. Raises `InvalidEventError` before
        anything is sent; `RedisUnavailableError` when it was not sent or refused for `command_timeout` seconds;
        `UnansweredError` when it was sent and may or may not be in the stream; `ServerError`.
        """
        _, packed = self._compose(stream, payload, event_type=event_type, key=key, event_id=event_id, headers=headers)
        [answer] = await self._send([packed])
        if isinstance(answer, RedisStreamsError):
            raise _naming(answer, stream)
        return answer

    async def publish_many(
        self,
        stream: str,
        payloads: Iterable[object],
        *,
        event_type: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> list[str]:
        """Add events to a stream, in their order and together in few round trips; return their entry ids.

        All are checked before the first is sent. No transaction: other publishers' events may stand between.
        Raises as `publish` does, and `PartialPublishError` (with the ids of the others) when Redis refused some.
        """
        packed = [self._compose(stream, payload, event_type=event_type, headers=headers)[1] for payload in payloads]
        answers = await self._send(packed)
        failed = [answer for answer in answers if isinstance(answer, RedisStreamsError)]
        if len(failed) == len(answers) and failed:
            raise _naming(failed[0], stream)
        if failed:
            raise PartialPublishError(
                [None if isinstance(answer, RedisStreamsError) else answer for answer in answers], failed
            )
        return [answer for answer in answers if isinstance(answer, str)]

    def command(
        self,
        stream: str,
        payload: object,
        *,
        event_type: str | None = None,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Command:
        """The XADD of an event, for those who send it themselves. Raises `InvalidEventError`, as `publish` does."""
        return self._compose(stream, payload, event_type=event_type, key=key, event_id=event_id, headers=headers)[0]

    def _compose(
        self,
        stream: str,
        payload: object,
        *,
        event_type: str | None,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str],
    ) -> tuple[Command, bytes]:
        """The command, as it is and packed: only packing finds out whether all of it is text."""
        head = (self._heads.get(stream) if isinstance(stream, str) else None) or self._head(stream)
        name = type(payload).__name__ if event_type is None and not isinstance(payload, _NAMELESS) else event_type
        if not name or not isinstance(name, str):
            raise InvalidEventError(_event_type_problem(event_type, payload))
        body = self._codec.encode(payload)
        if len(body) > self._settings.max_payload_bytes:
            limit = self._settings.max_payload_bytes
            raise PayloadTooLargeError(
                f"payload: {len(body)} bytes encoded, the limit is {limit} (max_payload_bytes); "
                "publish a reference instead"
            )
        content_type = self._codec.content_type
        try:
            fields = entries.compose(name, body, content_type=content_type, key=key, event_id=event_id, headers=headers)
            command = (*head, *fields)
            return command, pack(command)
        except (TypeError, UnicodeEncodeError, AttributeError) as error:
            raise InvalidEventError(_attribute_problem(name, key, event_id, headers)) from error

    def _head(self, stream: str) -> tuple[str | int, ...]:
        """The command up to the fields, checked and made once for each stream."""
        if problem := naming.problem(stream):
            raise InvalidEventError(f"stream: the name {problem}")
        maxlen = self._settings.stream(stream).maxlen
        head = ("XADD", stream, "*") if maxlen is None else ("XADD", stream, "MAXLEN", "~", maxlen, "*")
        if len(self._heads) < _HEADS_KEPT:
            self._heads[stream] = head
        return head

    async def _send(self, packed: list[bytes]) -> list[str | RedisStreamsError]:
        """Send XADDs; those that Redis refuses for now are sent again, in order, until `command_timeout` is over.

        While Redis refuses, one call at a time asks, and the others wait (P16); each asks once before it gives up.
        """
        if not packed:
            return []
        link = self._connection.link("publish")
        now = asyncio.get_running_loop().time
        give_up = now() + self._settings.command_timeout
        answers: list[str | RedisStreamsError] = [_UNASKED] * len(packed)
        self._under_way += 1
        try:
            while True:
                wait = self._gate.wait(now())
                if wait:
                    await asyncio.sleep(min(wait, max(0.0, give_up - now())))
                    if now() < give_up:
                        continue
                await self._send_refused(link, packed, answers)
                if not any(isinstance(answer, RedisRefusedError) for answer in answers):
                    self._gate.passed()
                    return answers
                self._gate.refused(now())
                if now() >= give_up:
                    return answers
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._gate.passed()  # nobody waits: the next one may ask at once

    async def _send_refused(self, link: Link, packed: list[bytes], answers: list[str | RedisStreamsError]) -> None:
        """Send those that have no other answer than a refusal, and put the new answers in their places."""
        refused = [index for index, answer in enumerate(answers) if isinstance(answer, RedisRefusedError)]
        if len(refused) == 1:
            again = [_id_or_error(answer) for answer in await link.send(packed[refused[0]], 1)]
        else:
            again = await self._send_in_parts(link, [packed[index] for index in refused])
        for index, answer in zip(refused, again, strict=True):
            answers[index] = answer

    async def _send_in_parts(self, link: Link, packed: list[bytes]) -> list[str | RedisStreamsError]:
        """Send many, part after part, so that each stays within its time; once one is lost, the rest is not sent."""
        answers: list[str | RedisStreamsError] = []
        for start in range(0, len(packed), _PART):
            part = packed[start : start + _PART]
            try:
                answers += map(_id_or_error, await link.send(b"".join(part), len(part)))
                if isinstance(answers[-1], RedisRefusedError):  # the rest would be refused too, or overtake these
                    answers += [answers[-1]] * (len(packed) - len(answers))
                    break
            except RedisUnavailableError as error:
                rest = RedisUnavailableError(f"not sent, as those before it failed: {error}")
                answers += [error] * len(part) + [rest] * (len(packed) - start - len(part))
                break
        return answers


_HEADS_KEPT = 1024
_UNASKED = RedisRefusedError("not asked yet")
_PART = 1000


def _id_or_error(answer: Reply | RedisStreamsError) -> str | RedisStreamsError:
    return answer if isinstance(answer, RedisStreamsError) else replies.text(answer)


def _naming(error: RedisStreamsError, stream: str) -> RedisStreamsError:
    """An error about the stream with its name, which Redis leaves out."""
    if isinstance(error, StreamTypeError | PermissionDeniedError):
        return type(error)(f"stream {stream!r}: {error}")
    return error


def _event_type_problem(event_type: object, payload: object) -> str:
    if event_type is None:
        kind = type(payload).__name__
        return f"event_type: is needed for a payload of type {kind}, e.g. publish(..., event_type='OrderPlaced')"
    return f"event_type: expected text that is not empty, got {event_type!r:.80}"


def _attribute_problem(event_type: str, key: object, event_id: object, headers: object) -> str:
    if not isinstance(headers, Mapping):
        return f"headers: expected a mapping of text to text, got {type(headers).__name__}"
    options = {"event_type": event_type, "key": key, "event_id": event_id}
    texts = {field: value for field, value in options.items() if value is not None}
    for field, value in {**texts, **{f"headers[{name!r:.40}]": value for name, value in headers.items()}}.items():
        if not isinstance(value, str):
            return f"{field}: expected text, got {type(value).__name__}"
    return "event_type, key, event_id, headers: text that cannot be written as UTF-8"

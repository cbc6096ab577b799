"""`Composer` checks an event and packs the `XADD` that writes it.

Every mistake in an event is found here, before anything is sent. Streams and event types are checked once for each
stream, event type and type of payload, when the `Form` of such events is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic

from ..checks import names, values
from ..codecs import PayloadCodec
from ..config import Settings
from ..connection.packing import Command
from ..events.outgoing import NO_HEADERS, Outgoing
from ..exceptions import InvalidEventError
from .extras import Extras, extras
from .form import Form

_NAMELESS = (dict, bytes, bytearray, memoryview, str, int, float, list, tuple, bool, type(None))
"""Payload types whose names cannot be event types."""
_KEPT = 1024
"""The most forms that are kept."""
_LONGEST_TURN = 0.004
"""The longest time in seconds that packing many events holds the event loop."""
_SINGLE = (str, bytes, bytearray, memoryview, Mapping)
"""Iterable types that are a single payload."""


class Composer:
    """Checks and packs events. Its methods raise `InvalidEventError`."""

    def __init__(self, codec: PayloadCodec, settings: Settings) -> None:
        self._codec = codec
        self._settings = settings
        self._forms: dict[tuple[str, str | None, type[object], str | None], Form] = {}

    def command(self, event: Outgoing) -> Command:
        """Return the `XADD` of an event, not packed."""
        form = self._form(event.stream, event.event_type, type(event.payload))
        return form.command(event.payload, extras(event.key, event.event_id, event.headers))

    def pack_event(self, event: Outgoing) -> bytes:
        """Return the packed `XADD` of an event."""
        stream, payload, event_type = event.stream, event.payload, event.event_type
        return self.pack(stream, payload, event_type, key=event.key, event_id=event.event_id, headers=event.headers)

    def pack(
        self,
        stream: str,
        payload: object,
        event_type: str | None,
        *,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> bytes:
        """Return the packed `XADD` of an event."""
        known = (stream, event_type, type(payload), self._codec.content_type)
        try:
            form = self._forms[known]
        except (KeyError, TypeError):
            form = self._new_form(*known)
        if key is event_id is None and headers is NO_HEADERS:
            return form.pack(payload)
        return form.pack(payload, extras(key, event_id, headers))

    async def pack_many(
        self, stream: str, payloads: Iterable[object], event_type: str | None, headers: Mapping[str, str]
    ) -> list[bytes]:
        """Pack all payloads, and let other tasks run now and then.

        A collection is copied first, because other tasks may change it meanwhile.
        """
        payloads = several(payloads)
        if not isinstance(payloads, Iterator):
            payloads = tuple(payloads)
        packed: list[bytes] = []
        shared = extras(None, None, headers)
        kind: type[object] | None = None
        pack: Callable[[object, Extras], bytes]
        others_turn = monotonic() + _LONGEST_TURN
        for payload in payloads:
            if type(payload) is not kind:
                kind = type(payload)
                pack = self._form(stream, event_type, kind).pack
            packed.append(pack(payload, shared))
            if monotonic() > others_turn:
                await asyncio.sleep(0)
                others_turn = monotonic() + _LONGEST_TURN
        return packed

    def _form(self, stream: str, event_type: str | None, kind: type[object]) -> Form:
        """Return the form of such events, which is made for the first of them."""
        known = (stream, event_type, kind, self._codec.content_type)
        try:
            return self._forms[known]
        except (KeyError, TypeError):  # TypeError: not text, but something that has no hash
            return self._new_form(*known)

    def _new_form(self, stream: str, event_type: str | None, kind: type[object], content_type: str | None) -> Form:
        """Check stream and event type, and keep the form."""
        head = self._head(names.checked("stream", stream, InvalidEventError))
        form = Form(head, _event_type(event_type, kind), kind, self._codec, self._settings.max_payload_bytes)
        if len(self._forms) >= _KEPT:
            self._forms.clear()
        self._forms[stream, event_type, kind, content_type] = form
        return form

    def _head(self, stream: str) -> Command:
        """Return the command up to the fields."""
        retention = self._settings.stream(stream).retention
        if retention is None or retention.max_length is None:
            return ("XADD", stream, "*")
        return ("XADD", stream, "MAXLEN", "~", retention.max_length, "*")


def several(payloads: Iterable[object]) -> Iterable[object]:
    """Return the payloads. Raises `InvalidEventError` if this is a single one."""
    if isinstance(payloads, _SINGLE) or not isinstance(payloads, Iterable):
        raise InvalidEventError(f"payloads={values.shown(payloads)}: expected a list of payloads, or an iterator")
    return payloads


def _event_type(event_type: str | None, kind: type[object]) -> str:
    """Return the event type as it is written, by default the name of the payload's type."""
    if event_type is None:
        if issubclass(kind, _NAMELESS):
            raise InvalidEventError(
                f"event_type: is needed for a payload of type {kind.__name__}, e.g. publish(..., "
                "event_type='OrderPlaced')"
            )
        return kind.__name__
    if not isinstance(event_type, str) or not event_type:
        shown = values.shown(event_type)
        raise InvalidEventError(f"event_type={shown}: expected text that is not empty, e.g. 'OrderPlaced'")
    return event_type

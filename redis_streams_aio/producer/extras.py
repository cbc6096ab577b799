"""`Extras`: the key, the event id and the headers of an event, checked and packed before anything is sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from ..checks.names import exact
from ..checks.values import shown
from ..connection.packing import pack_part
from ..events import wire_format
from ..events.outgoing import NO_HEADERS
from ..exceptions import InvalidEventError

MOST_BYTES = 1024 * 1024
"""The largest size of event type, key, event id and headers together."""


class Extras(msgspec.Struct, frozen=True):
    """The fields of an entry that most events do not have."""

    fields: tuple[str | bytes, ...] = ()
    """Names and values in turn."""
    packed: bytes = b""


NO_EXTRAS = Extras()


def extras(key: str | None, event_id: str | None, headers: Mapping[str, str]) -> Extras:
    """Check and pack them. Raises `InvalidEventError`, which names what is wrong."""
    if key is event_id is None and headers is NO_HEADERS:
        return NO_EXTRAS
    fields = wire_format.extras(
        key=key if key is None or type(key) is str else checked_text("key", key),
        event_id=event_id if event_id is None or type(event_id) is str else checked_text("event_id", event_id),
        headers=headers if headers is NO_HEADERS else checked_headers(headers),
    )
    return Extras((*fields,), packed(fields))


def packed(fields: Sequence[str | bytes]) -> bytes:
    """Return the packed fields. Raises `InvalidEventError`, which names the one that cannot be written."""
    try:
        return pack_part((*fields,))
    except UnicodeEncodeError:
        raise InvalidEventError(unwritable(fields)) from None


def checked_text(what: str, value: str) -> str:
    """Return the text as a plain `str`. Raises `InvalidEventError` if it is not text."""
    if isinstance(value, str):
        return exact(value)
    raise InvalidEventError(f"{what}={shown(value)}: expected text, got {type(value).__name__}")


def checked_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers as plain text. Raises `InvalidEventError`, which names the wrong header."""
    if type(headers) is not dict and not isinstance(headers, Mapping):
        raise InvalidEventError(
            f"headers={shown(headers)}: expected a mapping of text to text, got {type(headers).__name__}"
        )
    for name, value in headers.items():
        if type(name) is not str or type(value) is not str:
            return dict(_plain(headers))
    return headers


def _plain(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if not isinstance(name, str):
            raise InvalidEventError(f"headers: the name {shown(name)}: expected text, got {type(name).__name__}")
        if not isinstance(value, str):
            raise InvalidEventError(
                f"headers[{shown(exact(name))}]={shown(value)}: expected text, got {type(value).__name__}"
            )
        yield exact(name), exact(value)


def unwritable(fields: Sequence[str | bytes]) -> str:
    """Return the error text about the field that cannot be written as UTF-8."""
    for index, text in enumerate(fields):
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                return f"{_named(fields, index)}: {shown(text)} cannot be written as UTF-8"
    return "text that cannot be written as UTF-8"


def too_large(fields: Sequence[str | bytes]) -> str:
    """Return the error text about attributes that are too large together; it names the largest."""
    texts = {index: len(text.encode()) for index, text in enumerate(fields) if isinstance(text, str)}
    largest = max(texts, key=lambda index: texts[index])
    return (
        f"event_type, key, event_id and headers: {sum(texts.values())} bytes together, the limit is {MOST_BYTES}; the "
        f"largest is {_named(fields, largest)}, {texts[largest]} bytes"
    )


def _named(fields: Sequence[str | bytes], index: int) -> str:
    """Return the field as users know it, such as `key` or `headers['trace']`.

    `index` is the place of the field's name or value in `fields`, where names and values alternate.
    """
    name = fields[index - index % 2]
    if isinstance(name, bytes):
        return name.decode()
    return "the name of a header" if index % 2 == 0 else f"headers[{shown(name.removeprefix('h:'))}]"

"""Decode payloads: bytes of an entry become a value of a handler's type.

The `content_type` of an entry decides how it is read: if it names JSON or MessagePack, the payload is decoded so, even
if the handler's codec writes another format. A publisher can therefore change the format while its consumers run. A
payload over the limit is refused before it is decoded.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar, Union, get_args, get_origin

import msgspec

from ..events.wire_format import CONTENT_TYPE, EVENT_TYPE, PAYLOAD, Fields, get, payload_of
from ..exceptions import DecodeError
from .payload_types import with_article

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

AS_IT_IS = "application/octet-stream"
"""The content type of a payload that was published as bytes."""


def too_large(what: str, size: int, limit: int) -> DecodeError:
    """Make the error for a payload or a field that is too large to be decoded."""
    return DecodeError(f"{what} has {size} bytes, the limit is {limit} (max_payload_bytes)")


def same(payload: bytes) -> bytes:
    """Return the payload as it is."""
    return payload


_TAKEN_AS_THEY_ARE: dict[object, Callable[[bytes], object]] = {
    bytes: same,
    bytearray: bytearray,
    memoryview: memoryview,
}
"""Types of handlers that get the payload undecoded, whatever its format."""


class _Decoder(Protocol[T_co]):
    def decode(self, buf: bytes, /) -> T_co: ...


def reader(decoder: Callable[[type[T]], _Decoder[T]], payload_type: type[T]) -> Callable[[bytes], object]:
    """Return the function that decodes bytes into `payload_type`. A handler of `bytes` gets them unchanged."""
    return as_it_is(payload_type) or decoder(payload_type).decode


def as_it_is(payload_type: object) -> Callable[[bytes], object] | None:
    """Return the function that passes the payload on undecoded; `None` if this type needs decoding."""
    return next((read for kind, read in _TAKEN_AS_THEY_ARE.items() if payload_type is kind), None)


def _takes_bytes(payload_type: object) -> bool:
    """Whether a type takes bytes beside other values: `bytes | None`, `object`."""
    if get_origin(payload_type) in (Union, types.UnionType):
        return any(map(_takes_bytes, get_args(payload_type)))
    return payload_type in (bytes, object, Any)


def payload_decoder(payload_type: type[T], default: Callable[[bytes], object], limit: int) -> PayloadDecoder[T]:
    """Return the function that turns an entry's fields into a `payload_type`.

    `default` reads the payload of an entry that names neither JSON nor MessagePack.
    """
    by_content_type: dict[bytes | None, Callable[[bytes], object]] = {
        b"application/json": reader(msgspec.json.Decoder, payload_type),
        b"application/msgpack": reader(msgspec.msgpack.Decoder, payload_type),
    }
    if _takes_bytes(payload_type):
        by_content_type[AS_IT_IS.encode()] = same
    return PayloadDecoder(payload_type, default, by_content_type, limit)


class PayloadDecoder(Generic[T]):
    """Turns an entry's fields into a value of a handler's type."""

    def __init__(
        self,
        payload_type: type[T],
        plain: Callable[[bytes], object],
        by_content_type: Mapping[bytes | None, Callable[[bytes], object]],
        limit: int,
    ) -> None:
        self._payload_type = payload_type
        self.plain: Callable[[bytes], object] = plain
        """Reads the payload of an entry that names no format. Raises errors of msgspec, or of the payload's type."""
        self._by_content_type = by_content_type
        self.limit: int = limit
        """The most bytes of a payload."""

    def __call__(self, fields: Fields) -> T:
        """Return the value. Raises `DecodeError`, and errors of the payload's type."""
        read = self.plain
        if len(fields) == 4 and fields[2] == PAYLOAD and fields[0] == EVENT_TYPE:  # our short form has no content type
            payload: bytes | None = fields[3]
        else:
            payload = payload_of(fields)
            if CONTENT_TYPE in fields:
                read = self._by_content_type.get(get(fields, CONTENT_TYPE), read)
        if payload is None:
            raise DecodeError("the entry has no field 'payload'; if another program writes it, use codec=FieldsCodec()")
        if len(payload) > self.limit:
            raise too_large("payload", len(payload), self.limit)
        try:
            return read(payload)  # type: ignore[return-value]  # msgspec decodes into payload_type
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"payload is not {with_article(self._payload_type)}: {error}") from error

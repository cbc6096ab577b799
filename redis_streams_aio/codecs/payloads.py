"""The codecs of payloads: JSON, MessagePack, and bytes as they are.

Decoding is typed, by msgspec: a handler's payload is a `Struct`, a dataclass, a `TypedDict`, a `dict`, or `bytes` (the
payload as it is). A payload that cannot be decoded raises `DecodeError`; one that cannot be encoded, `EncodeError`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

import msgspec

from ..checks.values import shown
from ..events.wire_format import Fields
from ..exceptions import EncodeError
from . import non_finite
from .decoding import AS_IT_IS, as_it_is, payload_decoder, reader, same, too_large
from .payload_types import checked, name_of
from .protocols import Codec, PayloadCodec

T = TypeVar("T")

_NO_LIMIT = sys.maxsize
BYTES = (bytes, bytearray, memoryview)
"""Payloads that are encoded already."""


def leaves_bytes(codec: PayloadCodec) -> bool:
    """Whether the codec publishes bytes as they are, so that their entry is to say `AS_IT_IS` in `content_type`."""
    return type(codec) in _OURS


class JsonCodec:
    """JSON, the default: readable in `XRANGE`, and by everyone. A payload of bytes is published as it is."""

    content_type: str | None = None

    def encode(self, payload: object) -> bytes:
        """The payload as JSON, bytes as they are.

        Raises `EncodeError`, also for NaN and infinity, which JSON has no words for.
        """
        if isinstance(payload, BYTES):
            return _as_bytes(payload)
        body = _encode(_json_encoder, payload, "JSON")
        if _null_in(body):
            _check_finite(payload)
        return body

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Reads JSON, or what `content_type` says, of at most `limit` bytes.

        Raises `TypeError` at once for a type that no payload can become.
        """
        return payload_decoder(payload_type, reader(msgspec.json.Decoder, checked(payload_type)), limit)


class MsgpackCodec:
    """MessagePack: smaller and a little faster than JSON, and carries bytes inside of a payload.

    A payload of bytes is published as it is.
    """

    content_type: str | None = "application/msgpack"

    def encode(self, payload: object) -> bytes:
        """The payload as MessagePack, bytes as they are; raises `EncodeError`."""
        if isinstance(payload, BYTES):
            return _as_bytes(payload)
        return _encode(_msgpack_encoder, payload, "MessagePack")

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Reads MessagePack, or what `content_type` says, of at most `limit` bytes.

        Raises `TypeError` at once for a type that no payload can become.
        """
        return payload_decoder(payload_type, reader(msgspec.msgpack.Decoder, checked(payload_type)), limit)


class RawCodec:
    """Bytes as they are, for payloads that are encoded already."""

    content_type: str | None = AS_IT_IS

    def encode(self, payload: object) -> bytes:
        """The payload itself; raises `EncodeError` for anything but `bytes`."""
        if isinstance(payload, BYTES):
            return _as_bytes(payload)
        raise EncodeError(
            f"payload: RawCodec takes bytes, not {type(payload).__name__}; encode it first, or use JsonCodec"
        )

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Hands over at most `limit` bytes as they are; raises `TypeError` at once for a handler of another type."""
        read = same if payload_type is Any else as_it_is(payload_type)
        if read is None:
            raise TypeError(f"RawCodec gives bytes, the handler takes {name_of(payload_type)}")
        return payload_decoder(payload_type, read, limit)


_OURS = (JsonCodec, MsgpackCodec, RawCodec)


def bounded(codec: Codec, payload_type: type[T], limit: int) -> Callable[[Fields], T]:
    """The codec's decoder, which refuses, undecoded, a payload of more than `limit` bytes.

    Of a codec that reads other fields than `payload`, as `FieldsCodec` and those of users may, every field counts.
    Raises `TypeError` for a type that the codec does not read.
    """
    if type(codec) in _OURS:
        return cast("JsonCodec", codec).decoder(payload_type, limit)
    decode_any = codec.decoder(payload_type)
    if not callable(decode_any):
        raise TypeError(
            f"{type(codec).__name__}.decoder({name_of(payload_type)}) gave {shown(decode_any)}, no function"
        )

    def decode(fields: Fields) -> T:
        longest = max(map(len, fields), default=0)
        if longest > limit:
            raise too_large("a field", longest, limit)
        return decode_any(fields)

    return decode


class _Encoder(Protocol):
    def encode(self, obj: object, /) -> bytes: ...


_json_encoder = msgspec.json.Encoder()
_null_in = re.compile(b"null").search
"""Twice as fast as `in`: every payload is searched."""
_msgpack_encoder = msgspec.msgpack.Encoder()


def _encode(encoder: _Encoder, payload: object, format_name: str) -> bytes:
    try:
        return encoder.encode(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"payload: {type(payload).__name__} cannot be encoded as {format_name}: {error}") from error


def _check_finite(payload: object) -> None:
    if place := non_finite.place_in(payload):
        raise EncodeError(
            f"payload: {place} and cannot be encoded as JSON, which has neither NaN nor infinity; send None, or use "
            "MsgpackCodec"
        )


def _as_bytes(payload: bytes | bytearray | memoryview) -> bytes:
    try:
        return bytes(payload)
    except ValueError as error:  # of a memoryview that was released
        raise EncodeError(f"payload: {type(payload).__name__} cannot be read: {error}") from error

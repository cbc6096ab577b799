"""The codecs for payloads: JSON, MessagePack, and bytes without encoding.

msgspec decodes into the handler's type: a `Struct`, a dataclass, a `TypedDict`, a `dict`, or `bytes` (the payload
undecoded). A payload that cannot be decoded raises `DecodeError`; a payload that cannot be encoded, `EncodeError`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec

from ..checks.functions import is_async, takes
from ..checks.values import shown
from ..events.wire_format import Fields
from ..exceptions import EncodeError
from . import non_finite
from .decoding import AS_IT_IS, as_it_is, payload_decoder, reader, same, too_large
from .payload_types import name_of
from .protocols import Codec, PayloadCodec

T = TypeVar("T")

_NO_LIMIT = sys.maxsize
BYTES = (bytes, bytearray, memoryview)
"""Payloads that are encoded already."""


def leaves_bytes(codec: PayloadCodec) -> bool:
    """Whether the codec publishes bytes without encoding, so that their entries get the content type `AS_IT_IS`."""
    return type(codec) in _OURS


class JsonCodec:
    """Writes and reads JSON, the default: people and other programs can read it. Bytes are published unchanged."""

    content_type: str | None = None

    def encode(self, payload: object) -> bytes:
        """Return the payload as JSON, or bytes unchanged.

        Raises `EncodeError`, also for NaN and infinity, which JSON cannot express.
        """
        return _as_bytes(payload) if isinstance(payload, BYTES) else _to_json(payload)

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Return the function that reads JSON, or the format named by `content_type`, of at most `limit` bytes.

        Raises `TypeError` for a type that no payload can be decoded into.
        """
        from .readable_types import checked  # noqa: PLC0415  # imports `msgspec.inspect`, for handlers only

        return payload_decoder(payload_type, reader(msgspec.json.Decoder, checked(payload_type)), limit)


class MsgpackCodec:
    """Writes and reads MessagePack: smaller and a little faster than JSON, and allows bytes inside a payload.

    A payload of bytes is published unchanged.
    """

    content_type: str | None = "application/msgpack"

    def encode(self, payload: object) -> bytes:
        """Return the payload as MessagePack, or bytes unchanged. Raises `EncodeError`."""
        return _as_bytes(payload) if isinstance(payload, BYTES) else _to_msgpack(payload)

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Return the function that reads MessagePack, or the format named by `content_type`, of at most `limit` bytes.

        Raises `TypeError` for a type that no payload can be decoded into.
        """
        from .readable_types import checked  # noqa: PLC0415  # imports `msgspec.inspect`, for handlers only

        return payload_decoder(payload_type, reader(msgspec.msgpack.Decoder, checked(payload_type)), limit)


class RawCodec:
    """Writes and reads bytes unchanged, for payloads that are encoded already."""

    content_type: str | None = AS_IT_IS

    def encode(self, payload: object) -> bytes:
        """Return the payload itself. Raises `EncodeError` if it is not `bytes`."""
        if isinstance(payload, BYTES):
            return _as_bytes(payload)
        raise EncodeError(
            f"payload: RawCodec takes bytes, not {type(payload).__name__}; encode it first, or use JsonCodec"
        )

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Return the function that passes at most `limit` bytes on. Raises `TypeError` if the type is not `bytes`."""
        read = same if payload_type is Any else as_it_is(payload_type)
        if read is None:
            raise TypeError(f"RawCodec gives bytes, the handler takes {name_of(payload_type)}")
        return payload_decoder(payload_type, read, limit)


_OURS = (JsonCodec, MsgpackCodec, RawCodec)
"""Codecs of this library whose `decoder` takes a limit, and whose `encode` publishes bytes unchanged.

Such a codec must be listed here. Otherwise the size limit holds for every field instead of the payload, and bytes get
the codec's content type instead of `AS_IT_IS`, so that readers decode them.
"""


def bounded(codec: Codec, payload_type: type[T], limit: int) -> Callable[[Fields], T]:
    """Return the codec's decoder with a limit: a payload of more than `limit` bytes is refused before it is decoded.

    `FieldsCodec` and users' codecs may read other fields than `payload`, so for them the limit holds for every field.
    Raises `TypeError` for a type that the codec does not read.
    """
    if type(codec) in _OURS:
        return cast("JsonCodec", codec).decoder(payload_type, limit)
    decode_any = codec.decoder(payload_type)
    if not callable(decode_any) or is_async(decode_any) or not takes(decode_any, 1):
        raise TypeError(
            f"{type(codec).__name__}.decoder({name_of(payload_type)}) gave {shown(decode_any)}, not a function of "
            "(fields) that is not async"
        )

    def decode(fields: Fields) -> T:
        longest = max(map(len, fields), default=0)
        if longest > limit:
            raise too_large("a field", longest, limit)
        return decode_any(fields)

    return decode


def encoder(codec: PayloadCodec, kind: type[object]) -> Callable[[object], bytes]:
    """Return `codec.encode` for payloads of exactly this type: codecs of this library do not look at it again."""
    if type(codec) in _OURS and issubclass(kind, BYTES):
        return _as_bytes  # type: ignore[return-value]  # takes payloads of this type
    return _ENCODERS.get(type(codec), codec.encode)


_encode_json = msgspec.json.Encoder().encode
_encode_msgpack = msgspec.msgpack.Encoder().encode
_ENCODING_FAILED = (TypeError, ValueError, OverflowError, RecursionError)


def _to_json(payload: object) -> bytes:
    try:
        body = _encode_json(payload)
    except _ENCODING_FAILED as error:
        raise _unencodable(payload, "JSON", error) from error
    if body.find(b"null") >= 0:  # far faster than `in`, which matters because every payload is searched
        _check_finite(payload)
    return body


def _to_msgpack(payload: object) -> bytes:
    try:
        return _encode_msgpack(payload)
    except _ENCODING_FAILED as error:
        raise _unencodable(payload, "MessagePack", error) from error


_ENCODERS: dict[type[object], Callable[[object], bytes]] = {JsonCodec: _to_json, MsgpackCodec: _to_msgpack}


def _unencodable(payload: object, format_name: str, error: Exception) -> EncodeError:
    return EncodeError(f"payload: {type(payload).__name__} cannot be encoded as {format_name}: {error}")


def _check_finite(payload: object) -> None:
    if place := non_finite.place_in(payload):
        raise EncodeError(
            f"payload: {place} and cannot be encoded as JSON, which has neither NaN nor infinity; send None, or use "
            "MsgpackCodec"
        )


def _as_bytes(payload: bytes | bytearray | memoryview) -> bytes:
    try:
        return bytes(payload)
    except ValueError as error:  # a memoryview that was released
        raise EncodeError(f"payload: {type(payload).__name__} cannot be read: {error}") from error

"""Codecs: a payload as bytes, and an entry's fields as a value of the handler's type.

Two protocols. A `Codec` reads: `decoder(type)` makes, once per handler, the function that turns an entry's fields
into a value. A `PayloadCodec` also writes. Reading follows the entry: where it names a `content_type` of ours,
that codec reads it, so a publisher may move from JSON to MessagePack without stopping its consumers. Decoding is
typed, by msgspec: `Struct`, dataclass, `TypedDict`, `dict`, or `bytes` (the payload as it is). What cannot be
decoded raises `DecodeError`, and so does, before it is decoded, what is larger than a limit (`bounded`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import msgspec

from .entries import CONTENT_TYPE, EVENT_TYPE, PAYLOAD, Fields, get, payload_of
from .exceptions import DecodeError, EncodeError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Codec(Protocol):
    """Reads entries."""

    def decoder(self, payload_type: type[T]) -> Callable[[Fields], T]:
        """The function that turns an entry's fields into a `payload_type`; it raises `DecodeError`."""
        ...


class PayloadCodec(Codec, Protocol):
    """Reads entries and writes payloads."""

    @property
    def content_type(self) -> str | None:
        """What entries say in `content_type`; `None`: nothing, the default."""
        ...

    def encode(self, payload: object) -> bytes:
        """The payload as bytes; raises `EncodeError`."""
        ...


_NO_LIMIT = sys.maxsize


class JsonCodec:
    """JSON, the default: readable in `XRANGE`, and by everyone."""

    content_type: str | None = None

    def encode(self, payload: object) -> bytes:
        """The payload as JSON; raises `EncodeError`."""
        return _encode(_json_encoder, payload, "JSON")

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Reads JSON, or what `content_type` says, of at most `limit` bytes."""
        return _payload_decoder(payload_type, _reader(msgspec.json.Decoder, payload_type), limit)


class MsgpackCodec:
    """MessagePack: smaller and a little faster than JSON, and carries `bytes`."""

    content_type: str | None = "application/msgpack"

    def encode(self, payload: object) -> bytes:
        """The payload as MessagePack; raises `EncodeError`."""
        return _encode(_msgpack_encoder, payload, "MessagePack")

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Reads MessagePack, or what `content_type` says, of at most `limit` bytes."""
        return _payload_decoder(payload_type, _reader(msgspec.msgpack.Decoder, payload_type), limit)


class RawCodec:
    """Bytes as they are, for payloads that are encoded already."""

    content_type: str | None = "application/octet-stream"

    def encode(self, payload: object) -> bytes:
        """The payload itself; raises `EncodeError` for anything but `bytes`."""
        if isinstance(payload, bytes | bytearray | memoryview):
            return bytes(payload)
        raise EncodeError(
            f"payload: RawCodec takes bytes, not {type(payload).__name__}; encode it first, or use JsonCodec"
        )

    def decoder(self, payload_type: type[T], limit: int = _NO_LIMIT) -> Callable[[Fields], T]:
        """Hands over at most `limit` bytes as they are; raises `TypeError` at once for a handler of another type."""
        if payload_type is not bytes:
            raise TypeError(f"RawCodec gives bytes, the handler takes {_name(payload_type)}")
        return _payload_decoder(payload_type, _same, limit)


class FieldsCodec:
    """Entries written by others: their flat fields are the payload (`XADD orders * order_id 1 total 9.5`).

    Values are text in Redis and are turned into the type's numbers, booleans and dates ("9.5" into 9.5). A handler
    of type `dict` gets text, one of type `bytes` is refused. Reads only.
    """

    def decoder(self, payload_type: type[T]) -> Callable[[Fields], T]:
        """Turns fields into the type; raises `TypeError` at once for `bytes`."""
        if payload_type is bytes:
            raise TypeError("FieldsCodec has no bytes to give; annotate a Struct, a dataclass, a TypedDict or dict")

        def decode(fields: Fields) -> T:
            try:
                named = {name.decode(): value.decode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
                return msgspec.convert(named, payload_type, strict=False)
            except (msgspec.ValidationError, ValueError) as error:
                raise DecodeError(f"fields are no {_name(payload_type)}: {error}") from error

        return decode


def bounded(codec: Codec, payload_type: type[T], limit: int) -> Callable[[Fields], T]:
    """The codec's decoder, which refuses, undecoded, a payload of more than `limit` bytes.

    Of a codec that reads other fields than `payload`, as `FieldsCodec` and those of users may, every field counts.
    Raises `TypeError` for a type that the codec does not read.
    """
    if type(codec) in (JsonCodec, MsgpackCodec, RawCodec):
        return cast("JsonCodec", codec).decoder(payload_type, limit)
    decode_any = codec.decoder(payload_type)

    def decode(fields: Fields) -> T:
        longest = max(map(len, fields), default=0)
        if longest > limit:
            raise _too_large("a field", longest, limit)
        return decode_any(fields)

    return decode


def _too_large(what: str, size: int, limit: int) -> DecodeError:
    return DecodeError(f"{what} has {size} bytes, the limit is {limit} (max_payload_bytes)")


class _Encoder(Protocol):
    def encode(self, obj: object, /) -> bytes: ...


_json_encoder = msgspec.json.Encoder()
_msgpack_encoder = msgspec.msgpack.Encoder()


def _encode(encoder: _Encoder, payload: object, format_name: str) -> bytes:
    try:
        return encoder.encode(payload)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise EncodeError(f"payload: {type(payload).__name__} cannot be encoded as {format_name}: {error}") from error


def _same(payload: bytes) -> bytes:
    return payload


class _Decoder(Protocol[T_co]):
    def decode(self, buf: bytes, /) -> T_co: ...


def _reader(decoder: Callable[[type[T]], _Decoder[T]], payload_type: type[T]) -> Callable[[bytes], object]:
    """Bytes to `payload_type`; a handler of `bytes` gets them as they are, whatever the format."""
    return _same if payload_type is bytes else decoder(payload_type).decode


def _payload_decoder(payload_type: type[T], default: Callable[[bytes], object], limit: int) -> Callable[[Fields], T]:
    by_content_type = {
        b"application/json": _reader(msgspec.json.Decoder, payload_type),
        b"application/msgpack": _reader(msgspec.msgpack.Decoder, payload_type),
    }

    def decode(fields: Fields) -> T:
        read = default
        if len(fields) == 4 and fields[2] == PAYLOAD and fields[0] == EVENT_TYPE:  # ours, the short form: no more in it
            payload: bytes | None = fields[3]
        else:
            payload = payload_of(fields)
            if CONTENT_TYPE in fields:
                read = by_content_type.get(get(fields, CONTENT_TYPE) or b"", default)
        if payload is None:
            raise DecodeError("the entry has no field 'payload'; if others write it, read it with codec=FieldsCodec()")
        if len(payload) > limit:
            raise _too_large("payload", len(payload), limit)
        try:
            return read(payload)  # type: ignore[return-value]  # msgspec decodes into payload_type
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"payload is no {_name(payload_type)}: {error}") from error

    return decode


def _name(payload_type: type[T]) -> str:
    return getattr(payload_type, "__name__", str(payload_type))

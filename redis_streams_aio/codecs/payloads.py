"""Codecs: a payload as bytes, and an entry's fields as a value of the handler's type.

Two protocols. A `Codec` reads: `decoder(type)` makes, once per handler, the function that turns an entry's fields
into a value. A `PayloadCodec` also writes. Reading follows the entry: where it names a `content_type` of ours,
that codec reads it, so a publisher may move from JSON to MessagePack without stopping its consumers. Decoding is
typed, by msgspec: `Struct`, dataclass, `TypedDict`, `dict`, or `bytes` (the payload as it is). What cannot be
decoded raises `DecodeError`, and so does, before it is decoded, what is larger than a limit (`bounded`).
"""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, Union, cast, get_args, get_origin

import msgspec

from ..checks.values import shown
from ..events.wire_format import CONTENT_TYPE, EVENT_TYPE, PAYLOAD, Fields, get, payload_of
from ..exceptions import ConfigError, DecodeError, EncodeError
from . import flat_fields, non_finite, payload_types

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


def payload_codec(codec: object) -> PayloadCodec:
    """A codec that reads and writes. Raises `ConfigError` for what is not one."""
    _check_codec(codec)
    if not callable(getattr(codec, "encode", None)):
        raise ConfigError(f"codec={shown(codec)}: reads only; expected one that writes too, e.g. JsonCodec()")
    content_type = getattr(codec, "content_type", "")
    if content_type is not None and (not isinstance(content_type, str) or not content_type):
        raise ConfigError(f"codec={shown(codec)}: its content_type={shown(content_type)}: expected text, or None")
    return cast("PayloadCodec", codec)


def reading_codec(codec: object) -> Codec:
    """A codec that reads. Raises `ConfigError` for what is not one."""
    _check_codec(codec)
    return cast("Codec", codec)


def _check_codec(codec: object) -> None:
    if isinstance(codec, type):
        raise ConfigError(f"codec={codec.__name__}: is a class; write {codec.__name__}() to make one")
    if not callable(getattr(codec, "decoder", None)):
        raise ConfigError(f"codec={shown(codec)}: expected a codec, e.g. JsonCodec()")


_NO_LIMIT = sys.maxsize
BYTES = (bytes, bytearray, memoryview)
"""Payloads that are encoded already."""
AS_IT_IS = "application/octet-stream"
"""The content type of a payload that was published as bytes."""


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
        return _payload_decoder(payload_type, _reader(msgspec.json.Decoder, _checked(payload_type)), limit)


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
        return _payload_decoder(payload_type, _reader(msgspec.msgpack.Decoder, _checked(payload_type)), limit)


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
        read = _same if payload_type is Any else _as_it_is(payload_type)
        if read is None:
            raise TypeError(f"RawCodec gives bytes, the handler takes {_name(payload_type)}")
        return _payload_decoder(payload_type, read, limit)


_OURS = (JsonCodec, MsgpackCodec, RawCodec)


class FieldsCodec:
    """Entries written by others: their flat fields are the payload (`XADD orders * order_id 1 total 9.5`).

    Values are text in Redis and are turned into the type's numbers, booleans and dates ("9.5" into 9.5); where the type
    wants an object or a list, the field holds JSON. An empty field that the type has no text for counts as left out. A
    handler of type `dict` gets text, one of type `bytes` is refused. Reads only.
    """

    def decoder(self, payload_type: type[T]) -> Callable[[Fields], T]:
        """Turns fields into the type; raises `TypeError` at once for `bytes`, and for what has no fields."""
        if payload_type is bytes:
            raise TypeError("FieldsCodec has no bytes to give; annotate a Struct, a dataclass, a TypedDict or dict")
        if not payload_types.is_of_fields(_checked(payload_type)):
            raise TypeError(
                f"FieldsCodec gives fields, and {_name(payload_type)} has none; annotate a Struct, a dataclass, a "
                "TypedDict or dict"
            )
        read = flat_fields.reader(payload_type)

        def decode(fields: Fields) -> T:
            try:
                named = {name.decode(): value.decode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
                return msgspec.convert(read(named), payload_type, strict=False)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise DecodeError(f"fields are not {_a(payload_type)}: {error}") from error

        return decode


def bounded(codec: Codec, payload_type: type[T], limit: int) -> Callable[[Fields], T]:
    """The codec's decoder, which refuses, undecoded, a payload of more than `limit` bytes.

    Of a codec that reads other fields than `payload`, as `FieldsCodec` and those of users may, every field counts.
    Raises `TypeError` for a type that the codec does not read.
    """
    if type(codec) in _OURS:
        return cast("JsonCodec", codec).decoder(payload_type, limit)
    decode_any = codec.decoder(payload_type)
    if not callable(decode_any):
        raise TypeError(f"{type(codec).__name__}.decoder({_name(payload_type)}) gave {shown(decode_any)}, no function")

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


def _checked(payload_type: type[T]) -> type[T]:
    """The type. Raises `TypeError` for one that no payload can become."""
    if problem := payload_types.problem(payload_type):
        raise TypeError(problem)
    return payload_type


def _same(payload: bytes) -> bytes:
    return payload


_TAKEN_AS_THEY_ARE: dict[object, Callable[[bytes], object]] = {
    bytes: _same,
    bytearray: bytearray,
    memoryview: memoryview,
}
"""What handlers may be annotated with to get the payload undecoded, whatever its format."""


class _Decoder(Protocol[T_co]):
    def decode(self, buf: bytes, /) -> T_co: ...


def _reader(decoder: Callable[[type[T]], _Decoder[T]], payload_type: type[T]) -> Callable[[bytes], object]:
    """Bytes to `payload_type`; a handler of `bytes` gets them as they are, whatever the format."""
    return _as_it_is(payload_type) or decoder(payload_type).decode


def _as_it_is(payload_type: object) -> Callable[[bytes], object] | None:
    """What gives a handler of this type the payload undecoded; `None`: it is to be decoded."""
    return next((read for kind, read in _TAKEN_AS_THEY_ARE.items() if payload_type is kind), None)


def _takes_bytes(payload_type: object) -> bool:
    """Whether bytes are one of the things that it may be: `bytes | None`, `object`."""
    if get_origin(payload_type) in (Union, types.UnionType):
        return any(map(_takes_bytes, get_args(payload_type)))
    return payload_type in (bytes, object, Any)


def _payload_decoder(payload_type: type[T], default: Callable[[bytes], object], limit: int) -> Callable[[Fields], T]:
    by_content_type = {
        b"application/json": _reader(msgspec.json.Decoder, payload_type),
        b"application/msgpack": _reader(msgspec.msgpack.Decoder, payload_type),
    }
    if _takes_bytes(payload_type):
        by_content_type[AS_IT_IS.encode()] = _same

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
            raise DecodeError(f"payload is not {_a(payload_type)}: {error}") from error

    return decode


def _a(payload_type: type[T]) -> str:
    """The type's name with its article: `an Order`."""
    name = _name(payload_type)
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"


_name = payload_types.name_of

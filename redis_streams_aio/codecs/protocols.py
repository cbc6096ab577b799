"""The two protocols of codecs, and the check of the argument `codec=`.

A `Codec` reads: `decoder(type)` returns the function that turns an entry's fields into a value of the handler's type;
it is called once for each handler. A `PayloadCodec` also writes: `encode(payload)` returns the bytes to publish.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from ..checks.functions import is_async, takes
from ..checks.values import shown
from ..events.wire_format import Fields
from ..exceptions import ConfigError

T = TypeVar("T")


class Codec(Protocol):
    """Reads entries. A handler's `codec=` takes such an object."""

    def decoder(self, payload_type: type[T]) -> Callable[[Fields], T]:
        """Return a function that turns an entry's fields into a value of `payload_type`.

        The fields are names and values in turn; `payload_of(fields)` of `events.wire_format` returns the payload. The
        function raises `DecodeError` for fields that it cannot decode. `decoder` itself raises `TypeError` for a type
        that the codec cannot read.
        """
        ...


class PayloadCodec(Codec, Protocol):
    """Reads entries and writes payloads. The `codec=` of a broker or a producer takes such an object."""

    @property
    def content_type(self) -> str | None:
        """The `content_type` that is written into entries; `None` if none is written, as for JSON."""
        ...

    def encode(self, payload: object) -> bytes:
        """Return the payload as bytes. Raises `EncodeError`."""
        ...


def payload_codec(codec: object) -> PayloadCodec:
    """Return the codec. Raises `ConfigError` if it does not read and write."""
    _check_codec(codec)
    if not callable(getattr(codec, "encode", None)):
        raise ConfigError(f"codec={shown(codec)}: reads only; expected one that writes too, e.g. JsonCodec()")
    _check_method(codec, "encode", "payload")
    content_type = getattr(codec, "content_type", "")
    if content_type is not None and (not isinstance(content_type, str) or not content_type):
        raise ConfigError(f"codec={shown(codec)}: its content_type={shown(content_type)}: expected text, or None")
    return cast("PayloadCodec", codec)


def reading_codec(codec: object) -> Codec:
    """Return the codec. Raises `ConfigError` if it does not read."""
    _check_codec(codec)
    return cast("Codec", codec)


def _check_codec(codec: object) -> None:
    if isinstance(codec, type):
        raise ConfigError(f"codec={codec.__name__}: is a class; write {codec.__name__}() to make one")
    if not callable(getattr(codec, "decoder", None)):
        raise ConfigError(f"codec={shown(codec)}: expected a codec, e.g. JsonCodec()")
    _check_method(codec, "decoder", "payload_type")


def _check_method(codec: object, name: str, argument: str) -> None:
    """Raise `ConfigError` for a method that is async, or does not take its one argument."""
    method = getattr(codec, name)
    if is_async(method) or not takes(method, 1):
        raise ConfigError(f"codec={shown(codec)}: expected a method {name}({argument}), not async")

"""The two protocols of codecs, and the check of an object that is given as `codec=`.

A `Codec` reads: `decoder(type)` makes, once for each handler, the function that turns an entry's fields into a value
of the handler's type. A `PayloadCodec` also writes: `encode(payload)` gives the bytes that are published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast

from ..checks.values import shown
from ..events.wire_format import Fields
from ..exceptions import ConfigError

T = TypeVar("T")


class Codec(Protocol):
    """Reads entries: what `codec=` of a handler takes."""

    def decoder(self, payload_type: type[T]) -> Callable[[Fields], T]:
        """The function that turns an entry's fields into a `payload_type`; it raises `DecodeError`."""
        ...


class PayloadCodec(Codec, Protocol):
    """Reads entries and writes payloads: what `codec=` of a broker or a producer takes."""

    @property
    def content_type(self) -> str | None:
        """The `content_type` that entries name; `None`, the default: none."""
        ...

    def encode(self, payload: object) -> bytes:
        """The payload as bytes; raises `EncodeError`."""
        ...


def payload_codec(codec: object) -> PayloadCodec:
    """Return a codec that reads and writes. Raises `ConfigError` for any other value."""
    _check_codec(codec)
    if not callable(getattr(codec, "encode", None)):
        raise ConfigError(f"codec={shown(codec)}: reads only; expected one that writes too, e.g. JsonCodec()")
    content_type = getattr(codec, "content_type", "")
    if content_type is not None and (not isinstance(content_type, str) or not content_type):
        raise ConfigError(f"codec={shown(codec)}: its content_type={shown(content_type)}: expected text, or None")
    return cast("PayloadCodec", codec)


def reading_codec(codec: object) -> Codec:
    """Return a codec that reads. Raises `ConfigError` for any other value."""
    _check_codec(codec)
    return cast("Codec", codec)


def _check_codec(codec: object) -> None:
    if isinstance(codec, type):
        raise ConfigError(f"codec={codec.__name__}: is a class; write {codec.__name__}() to make one")
    if not callable(getattr(codec, "decoder", None)):
        raise ConfigError(f"codec={shown(codec)}: expected a codec, e.g. JsonCodec()")

"""The arguments of a `StreamConsumer` that are checked when it is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..checks import names, values
from ..codecs import Codec, JsonCodec, bounded, reading_codec
from ..events.wire_format import Fields
from ..exceptions import ConfigError

T = TypeVar("T")


def decoder(codec: Codec | None, payload_type: type[T], limit: int) -> Callable[[Fields], T]:
    """Return the function that decodes the payload of an entry. Raises `ConfigError`."""
    try:
        return bounded(JsonCodec() if codec is None else reading_codec(codec), payload_type, limit)
    except TypeError as error:
        raise ConfigError(f"payload_type={values.shown(payload_type)}: {error}") from None


def dead_letters(stream: str, dead_letter: str) -> str:
    """Return the name of the stream of dead letters. Raises `ConfigError`."""
    if (name := names.checked("dead_letter", dead_letter)) == stream:
        raise ConfigError(
            f"dead_letter={values.shown(name)}: is the stream itself; undecodable entries would come again forever"
        )
    return name

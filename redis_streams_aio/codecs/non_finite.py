"""Find NaN and infinity in a payload: JSON cannot express them, and msgspec writes `null`, which comes back as `None`.

JSON without `null` contains none, so for most payloads a search through the bytes is enough. For the others the
payload is encoded as MessagePack, which keeps such numbers in bytes that hardly occur elsewhere; only if these bytes
are there, the payload is walked through. Keys need no check: they are text in JSON, and `"nan"` can be read as a
number again. Pure.
"""

from __future__ import annotations

import math
import re

import msgspec

_SIGNS = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""The first bytes of NaN and infinity in MessagePack. Text and other numbers may contain the same bytes."""
_encoder = msgspec.msgpack.Encoder()


def place_in(payload: object) -> str | None:
    """Say where a payload has NaN or infinity, e.g. `$.value is nan`; `None` if it has neither."""
    try:
        if not _SIGNS.search(_encoder.encode(payload)):
            return None
    except (
        OverflowError,
        TypeError,
        ValueError,
    ):  # e.g. an integer of more than 64 bits, which JSON can express and MessagePack cannot
        pass
    try:
        return _walk(msgspec.to_builtins(payload, builtin_types=(bytes, bytearray, memoryview), order=None))
    except (TypeError, ValueError, RecursionError):  # the payload contains `msgspec.Raw`, which is JSON already
        return None


def _walk(payload: object) -> str | None:
    """Search a payload that consists of dicts, lists and scalars."""
    left: list[tuple[str, object]] = [("$", payload)]
    while left:
        path, value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            return f"{path} is {value}"
        if isinstance(value, dict):
            left += [(f"{path}.{key}", inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple | set | frozenset):
            left += [(f"{path}[{index}]", inner) for index, inner in enumerate(value)]
    return None

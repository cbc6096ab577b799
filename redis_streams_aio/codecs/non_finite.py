"""NaN and infinity in a payload: JSON has no words for them, and msgspec writes `null`, which comes back as `None`.

A JSON text without `null` has none, so most payloads cost a search through their bytes. For the others MessagePack
tells: it keeps such numbers, in bytes that hardly anything else begins with. Only then is the payload walked through.
Keys are text in JSON: `"nan"` is a number again for whoever annotates it so. Pure.
"""

from __future__ import annotations

import math
import re

import msgspec

_SIGNS = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""How MessagePack begins a float that is NaN or infinite; the same bytes may stand in text or in a number."""
_encoder = msgspec.msgpack.Encoder()


def place_in(payload: object) -> str | None:
    """Where in a payload such a number is: `$.value is nan`; `None` where there is none."""
    try:
        if not _SIGNS.search(_encoder.encode(payload)):
            return None
    except (OverflowError, TypeError, ValueError):  # an integer of more than 64 bits: JSON has it, MessagePack has not
        pass
    try:
        return _walk(msgspec.to_builtins(payload, builtin_types=(bytes, bytearray, memoryview), order=None))
    except (TypeError, ValueError, RecursionError):  # `msgspec.Raw` inside: it is JSON already
        return None


def _walk(payload: object) -> str | None:
    """The place in what is made of dicts, lists and scalars."""
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

"""NaN and infinity in a payload: JSON has no words for them, and msgspec writes `null`, which comes back as `None`.

A JSON text without `null` (and without a key `nan` or `inf`) has none, so most payloads cost a search through their
bytes. For the others MessagePack tells: it keeps such numbers, in bytes that hardly anything else begins with. Only
then is the payload walked through. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import msgspec
from msgspec import inspect

_SIGNS = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
"""How MessagePack begins a float that is NaN or infinite; the same bytes may stand in text or in a number."""
_encoder = msgspec.msgpack.Encoder()


class KeyTypes(dict[type[object], bool]):
    """Whether payloads of a type may have numbers for keys somewhere, by type: found out when it is first asked."""

    def __missing__(self, kind: type[object]) -> bool:
        """As its annotations say: of a `dict`, a `list` and whatever says nothing, it is not known."""
        try:
            found = any(map(_has_such_keys, _inner(inspect.type_info(kind), set())))
        except Exception:  # noqa: BLE001  # annotations may be anything, a name that is not there yet too
            found = True
        if len(self) < _MOST_TYPES:
            self[kind] = found
        return found


_MOST_TYPES = 1024


def _has_such_keys(info: inspect.Type) -> bool:
    if isinstance(info, inspect.DictType):
        return not isinstance(info.key_type, inspect.StrType | inspect.IntType)
    return isinstance(info, inspect.AnyType | inspect.CustomType)


def _inner(info: object, seen: set[object]) -> Iterator[inspect.Type]:
    """A type, and all that it is made of."""
    if isinstance(info, inspect.Type):
        kind = getattr(info, "cls", None)
        if kind is not None and kind in seen:
            return
        seen.add(kind)
        yield info
    if isinstance(info, inspect.Type | inspect.Field):
        for name in info.__struct_fields__:
            yield from _inner(getattr(info, name), seen)
    elif isinstance(info, tuple):
        for each in info:
            yield from _inner(each, seen)


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
            for key, inner in value.items():
                if isinstance(key, float) and not math.isfinite(key):
                    return f"{path} has the key {key}"
                left.append((f"{path}.{key}", inner))
        elif isinstance(value, list | tuple | set | frozenset):
            left += [(f"{path}[{index}]", inner) for index, inner in enumerate(value)]
    return None

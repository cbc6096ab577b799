"""Lanes of keys: entries with equal keys are handled one after another. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from types import CoroutineType, NoneType


def lanes_of(keys: Sequence[object]) -> Sequence[Hashable]:
    """Return the lane of each key. Raises `TypeError`."""
    if {NoneType, CoroutineType}.isdisjoint(map(type, keys)):
        return list(map(hash, keys))
    return [lane_of(key) for key in keys]


def lane_of(key: object) -> Hashable:
    """Return the hash of a key, because the key itself may change or be slow to compare. Raises `TypeError`."""
    if key is None:
        return None
    if type(key) is CoroutineType:
        key.close()
        raise TypeError("the key function returned a coroutine; write it without async, for the payload alone")
    try:
        return hash(key)
    except TypeError as error:
        raise TypeError(
            f"the key function returned a {type(key).__name__}, which cannot be a key ({error}); return text, a "
            "number, or a tuple of them"
        ) from error

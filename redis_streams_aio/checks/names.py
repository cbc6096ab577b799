"""Check names of streams, groups and consumers. Pure except for `consumer_name`."""

from __future__ import annotations

import os
import re
import socket
from typing import cast

from ..exceptions import ConfigError, RedisStreamsError
from . import templates
from .values import shown

_BAD = re.compile(r"[\s\x00-\x1f\x7f]")
_NO_UTF_8 = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs: Python makes them from bytes that are not UTF-8."""
_LONGEST = 512
OURS = "redis_streams_aio"
"""The library's own names begin or end with this word."""


def problem(name: object) -> str | None:
    """Say what is wrong with the name of a stream, group or consumer; `None` if it is valid."""
    if not isinstance(name, str):
        return f"{shown(name)} is not text"
    name = exact(name)
    return _unwritable(name) or _not_a_name(name)


def _unwritable(name: str) -> str | None:
    if not name:
        return "is empty"
    if len(name) > _LONGEST:
        return f"has {len(name)} characters, at most {_LONGEST} are allowed"
    if _BAD.search(name):
        return f"{name!r} has white space or control characters"
    if _NO_UTF_8.search(name):
        return f"{name!r} cannot be written as UTF-8"
    return None


def _not_a_name(name: str) -> str | None:
    if blank := templates.blank(name):
        return f"{name!r} is an unfilled template: replace {blank!r} with a value"
    if name == OURS or name.startswith(f"{OURS}:") or name.endswith(f":{OURS}"):
        return f"{name!r} is reserved: names that begin or end with {OURS!r} belong to the library"
    return None


def exact(text: str) -> str:
    """Return the text as a plain `str`: the value of a `(str, Enum)` member, for which `str()` returns the name."""
    return text if type(text) is str else str.__str__(text)


def checked(what: str, name: object, error: type[RedisStreamsError] = ConfigError) -> str:
    """Return the name as a plain `str`. Raises `error` if the name is not valid; `what` is e.g. `stream` or `group`."""
    if wrong := problem(name):
        raise error(f"{what}: the name {wrong}")
    return exact(cast("str", name))


def consumer_name() -> str:
    """Make a consumer name that no other consumer has: `host-pid-random`."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"

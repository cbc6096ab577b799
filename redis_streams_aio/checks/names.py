"""Names that users give: which ones Redis keys, groups and consumers may have. Pure but for `consumer_name`."""

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
"""Halves of surrogate pairs, which Python makes of bytes that are no text."""
_LONGEST = 512
OURS = "redis_streams_aio"
"""What the library's own names begin or end with."""


def problem(name: object) -> str | None:
    """What is wrong with a stream, group or consumer name; `None` when it is fine."""
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
        return f"{name!r} is a template that nobody filled in: {blank!r} stands for something else"
    if name == OURS or name.startswith(f"{OURS}:") or name.endswith(f":{OURS}"):
        return f"{name!r} is reserved: names with {OURS!r} at an end are the library's own"
    return None


def exact(text: str) -> str:
    """The text itself: of a `(str, Enum)` member its value, where `str()` and f-strings give the member's name."""
    return text if type(text) is str else str.__str__(text)


def checked(what: str, name: object, error: type[RedisStreamsError] = ConfigError) -> str:
    """The name as plain text. Raises `error`, which says what it names (`stream`, `group`), where it cannot be used."""
    if wrong := problem(name):
        raise error(f"{what}: the name {wrong}")
    return exact(cast("str", name))


def consumer_name() -> str:
    """A name that no other consumer has: `host-pid-random`."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"

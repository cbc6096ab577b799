"""Names.

Which ones Redis keys and consumers may have, what ours are called, and how a consumer names itself. Pure but for
`consumer_name`.
"""

from __future__ import annotations

import os
import re
import socket
from typing import cast

from . import templates
from .checks import shown
from .exceptions import ConfigError, RedisStreamsError

_BAD = re.compile(r"[\s\x00-\x1f\x7f]")
_NO_UTF_8 = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs, which Python makes of bytes that are no text."""
_LONGEST = 512


_OURS = "redis_streams_aio"
RELEASED = f"{_OURS}:released"
"""The consumer that holds what draining consumers gave back, until another one takes it over."""


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
    if name == _OURS or name.startswith(f"{_OURS}:") or name.endswith(f":{_OURS}"):
        return f"{name!r} is reserved: names with {_OURS!r} at an end are the library's own"
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


def sibling(stream: str, *parts: str) -> str:
    """A key beside the stream, on the same Cluster slot: `{orders}:billing:dead`.

    A stream that has a hash tag of its own keeps it: `{eu}orders:billing:dead`. One that is nothing but a hash tag,
    `{orders}`, is on the slot of `orders` too, and has keys of its own: `{orders}:redis_streams_aio:billing:dead`.
    (No key can be beside a stream that has a `}` and no hash tag; such names are fine anywhere but on a Cluster.)
    Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    tag = _hash_tag(stream)
    beside = "{" + stream + "}" if tag == stream else stream
    ours = (_OURS,) if stream == "{" + tag + "}" else ()
    return ":".join((beside, *ours, *parts))


def on_one_slot(first: str, second: str) -> bool:
    """Whether two keys are on the same slot of any Cluster, because Redis hashes the same part of both."""
    return _hash_tag(first) == _hash_tag(second)


def _hash_tag(key: str) -> str:
    opening = key.find("{")
    closing = key.find("}", opening + 1)
    return key[opening + 1 : closing] if 0 <= opening < closing - 1 else key


def dead_letters(stream: str, group: str) -> str:
    """The stream of the group's dead letters."""
    return sibling(stream, group, "dead")


def failures(stream: str, group: str) -> str:
    """The hash of failure records of entries waiting for their retry, by entry id."""
    return sibling(stream, group, "failures")


def done(stream: str, group: str, event_id: bytes) -> bytes:
    """The key that says how far the event of this id has come (`deduplicate`)."""
    return sibling(stream, group, "done:").encode() + event_id


def releases(stream: str, group: str) -> str:
    """The key that counts how often entries were given back to the group."""
    return sibling(stream, group, "released")


def leases(stream: str, group: str) -> str:
    """The hash of the leases of the group's consumers, in milliseconds by name."""
    return sibling(stream, group, "leases")


def deleted(stream: str, group: str) -> str:
    """The key that says that the group was deleted on purpose, until it is made again."""
    return sibling(stream, group, "deleted")


def checkpoint(stream: str, group: str) -> str:
    """The key that holds the group's checkpoint."""
    return sibling(stream, group, "checkpoint")

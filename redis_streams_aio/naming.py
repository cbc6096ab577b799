"""Names.

Which ones Redis keys and consumers may have, what ours are called, and how a consumer names itself. Pure but for
`consumer_name`.
"""

from __future__ import annotations

import os
import re
import socket

_BAD = re.compile(r"[\s\x00-\x1f\x7f]")
_NO_UTF_8 = re.compile("[\ud800-\udfff]")
"""Halves of surrogate pairs, which Python makes of bytes that are no text."""
_LONGEST = 512


RELEASED = "redis_streams_aio:released"
"""The consumer that holds what draining consumers gave back, until another one takes it over."""


def problem(name: object) -> str | None:
    """What is wrong with a stream, group or consumer name; `None` when it is fine."""
    if not isinstance(name, str):
        return f"expected text, got {type(name).__name__}"
    if not name:
        return "is empty"
    if len(name) > _LONGEST:
        return f"has {len(name)} characters, at most {_LONGEST} are allowed"
    if _BAD.search(name):
        return f"{name!r} has white space or control characters"
    if _NO_UTF_8.search(name):
        return f"{name!r} cannot be written as UTF-8"
    return None


def consumer_name() -> str:
    """A name that no other consumer has: `host-pid-random`."""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"


def sibling(stream: str, *parts: str) -> str:
    """A key beside the stream, on the same Cluster slot: `{orders}:billing:dead`.

    A stream that has a hash tag of its own keeps it: `{eu}orders:billing:dead`. (No key can be beside a stream that has
    a `}` and no hash tag; such names are fine anywhere but on a Cluster.)
    Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    return ":".join((f"{{{stream}}}" if _hash_tag(stream) == stream else stream, *parts))


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

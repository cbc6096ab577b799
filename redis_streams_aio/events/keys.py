"""Keys beside a stream: what each is called, and what it holds. Pure."""

from __future__ import annotations

from ..checks.names import OURS

RELEASED = f"{OURS}:released"
"""The consumer that holds what draining consumers released, until another one takes it over."""


def sibling(stream: str, *parts: str) -> str:
    """A key beside the stream, on the same Cluster slot: `{orders}:billing:dead`.

    A stream that has a hash tag of its own keeps it: `{eu}orders:billing:dead`. One that is nothing but a hash tag,
    `{orders}`, is on the slot of `orders` too, and has keys of its own: `{orders}:redis_streams_aio:billing:dead`.
    (No key can be beside a stream that has a `}` and no hash tag; such names are fine anywhere but on a Cluster.)
    Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    tag = _hash_tag(stream)
    beside = "{" + stream + "}" if tag == stream else stream
    ours = (OURS,) if stream == "{" + tag + "}" else ()
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

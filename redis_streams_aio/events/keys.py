"""Names of the keys beside a stream, and their contents. Pure."""

from __future__ import annotations

from ..checks.names import OURS

RELEASED = f"{OURS}:released"
"""The reserved consumer name that holds released entries until another consumer takes them over."""

PARKED = f"{OURS}:parked"
"""The reserved consumer name that holds entries which wait in Redis until they are due."""


def sibling(stream: str, *parts: str) -> str:
    """Return a key beside the stream, on the same Cluster slot: `{orders}:billing:dead`.

    A stream with its own hash tag keeps it: `{eu}orders:billing:dead`. A stream that is only a hash tag, `{orders}`, is
    on the slot of `orders` too, so its keys have another name: `{orders}:redis_streams_aio:billing:dead`. (A stream
    with a `}` and no hash tag cannot have keys on its slot; such names work everywhere except on a Cluster.) Source:
    https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
    """
    tag = _hash_tag(stream)
    beside = "{" + stream + "}" if tag == stream else stream
    ours = (OURS,) if stream == "{" + tag + "}" else ()
    return ":".join((beside, *ours, *parts))


def on_one_slot(first: str, second: str) -> bool:
    """Whether two keys are on the same slot of every Cluster, because Redis hashes the same part of both."""
    return _hash_tag(first) == _hash_tag(second)


def refused_on_a_cluster(stream: str, other: str | None = None) -> str:
    """Say why a stream cannot be consumed on a Cluster, with a name that would work; `""` if it can.

    `other` is another stream to which its entries are moved in one step. Two names that only happen to be on one slot
    are refused too: that they are cannot be seen.
    """
    if not on_one_slot(stream, sibling(stream, "")):
        named = "".join(char for char in stream if char not in "{}") or "orders"
        return (
            f"stream {stream!r}: because of its braces no other key can be on its Cluster slot, so it cannot have a "
            f"group; name it e.g. {named!r}"
        )
    if other is not None and not on_one_slot(stream, other):
        return (
            f"{other!r} is on another Cluster slot than {stream!r}, so no entry can be moved between the two in one "
            f"step; name it e.g. {sibling(stream, other)!r}"
        )
    return ""


def _hash_tag(key: str) -> str:
    opening = key.find("{")
    closing = key.find("}", opening + 1)
    return key[opening + 1 : closing] if 0 <= opening < closing - 1 else key


def dead_letters(stream: str, group: str) -> str:
    """Return the stream of the group's dead letters."""
    return sibling(stream, group, "dead")


def failures(stream: str, group: str) -> str:
    """Return the hash with the failure records of entries that wait for a retry, by entry id."""
    return sibling(stream, group, "failures")


def done(stream: str, group: str, event_id: bytes) -> bytes:
    """Return the key that marks the event of this id as handled or in work (`deduplicate`)."""
    return sibling(stream, group, "done:").encode() + event_id


def releases(stream: str, group: str) -> str:
    """Return the key that counts how often entries were released to the group."""
    return sibling(stream, group, "released")


def leases(stream: str, group: str) -> str:
    """Return the hash with the leases of the group's consumers, in milliseconds by name."""
    return sibling(stream, group, "leases")


def parked(stream: str, group: str) -> str:
    """Return the sorted set of the group's parked entries, by the time when they are due."""
    return sibling(stream, group, "parked")


def controls(stream: str, group: str) -> str:
    """Return the hash with what somebody has told all consumers of the group: to pause, for example."""
    return sibling(stream, group, "controls")


def deleted(stream: str, group: str) -> str:
    """Return the key that marks a group as deleted on purpose, until it is recreated."""
    return sibling(stream, group, "deleted")


def checkpoint(stream: str, group: str) -> str:
    """Return the key that contains the group's checkpoint."""
    return sibling(stream, group, "checkpoint")


def retention(stream: str, group: str = "") -> str:  # noqa: ARG001  # all other keys have a group
    """Return the hash in which the sweeps of a stream remember how far its groups were, and whose turn it is."""
    return sibling(stream, OURS, "retention")

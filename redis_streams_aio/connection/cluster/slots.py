"""Slots: which one a key belongs to, and the reply that says which node has which. Pure."""

from __future__ import annotations

from binascii import crc_hqx
from typing import NamedTuple

from ..hosts import Host
from ..packing import Argument
from ..replies import Reply, integer, reads, rows, text

SLOTS = 16384


class Range(NamedTuple):
    """Slots that one primary has."""

    first: int
    last: int
    owner: Host


def slot_of(key: Argument) -> int:
    """Return the slot of a key: of the part in its first braces, if there is one that is not empty.

    Source: the Redis Cluster specification; compared with `redis.crc.key_slot` by a test.
    """
    raw = key if isinstance(key, bytes) else str(key).encode()
    begin = raw.find(b"{")
    end = raw.find(b"}", begin + 1)
    if -1 < begin < end - 1:
        raw = raw[begin + 1 : end]
    return crc_hqx(raw, 0) % SLOTS


@reads
def ranges(reply: Reply, asked: Host) -> list[Range]:
    """`CLUSTER SLOTS`, as the node at `asked` answers: a node that does not know its own address leaves it empty."""
    return [_range(each, asked) for each in map(rows, rows(reply))]


def _range(row: list[Reply], asked: Host) -> Range:
    first, last, owner = integer(row[0]), integer(row[1]), rows(row[2])
    if not 0 <= first <= last < SLOTS:
        raise ValueError
    host = "" if owner[0] is None else text(owner[0])
    return Range(first, last, Host(asked.host if host in ("", "?") else host, integer(owner[1])))

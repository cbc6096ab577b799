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


@reads
def replicas(reply: Reply, asked: Host) -> list[Host]:
    """`CLUSTER SLOTS`: the nodes that follow the owners. They know the map too, and may be owners next."""
    return list(dict.fromkeys(_host(rows(each), asked) for row in map(rows, rows(reply)) for each in row[3:]))


def _range(row: list[Reply], asked: Host) -> Range:
    first, last = integer(row[0]), integer(row[1])
    if not 0 <= first <= last < SLOTS:
        raise ValueError
    return Range(first, last, _host(rows(row[2]), asked))


def _host(node: list[Reply], asked: Host) -> Host:
    host = "" if node[0] is None else text(node[0])
    return Host(asked.host if host in ("", "?") else host, integer(node[1]))

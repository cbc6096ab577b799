"""Losses: a broker says once, at opening, in which cases its servers would lose what it promises to keep.

One line in the log for each: keys that a full Redis deletes, no persistence, too few replicas or no append-only file
for the durability of a stream. The lines come from `INFO`, and nothing waits for its answer; where it is not permitted,
nothing is told. Whether snapshots are configured stands only in `CONFIG`, so a line tells that none was made for hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ..config import Settings, StreamSettings
from ..connection import Connection, replies
from ..connection.node import Node
from ..exceptions import RedisStreamsError
from ..telemetry.logs import log

_SECTIONS = ("memory", "persistence", "replication", "server")
_LONG = 2 * 3_600
"""Seconds: Redis makes a snapshot each hour in which something has changed, if it is not told otherwise."""


async def tell_losses(connection: Connection, settings: Settings, streams: Iterable[str]) -> None:
    """Log what the servers of these streams would lose, each line once. Does not raise errors of Redis."""
    by_node: dict[Node, list[str]] = {}
    for stream in dict.fromkeys((*streams, *settings.streams)):
        by_node.setdefault(connection.node_of(stream), []).append(stream)
    told: dict[str, None] = {}
    for there in by_node.values():
        try:
            said = replies.text(await connection.link("control", there[0]).call("INFO", *_SECTIONS))
        except RedisStreamsError:
            continue
        told |= dict.fromkeys(losses(known(said), {stream: settings.stream(stream) for stream in there}))
    for line in told:
        log.warning("Redis may lose events: %s", line)


def known(said: str) -> dict[str, str]:
    """Return what a reply to `INFO` says, by name."""
    pairs = (line.partition(":") for line in said.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}


def losses(info: Mapping[str, str], streams: Mapping[str, StreamSettings]) -> Iterator[str]:
    """Yield what a server would lose, by its `INFO` and the streams that it has."""
    yield from _by_eviction(info)
    yield from _by_a_crash(info)
    yield from _by_missing_copies(info, streams)


def _by_eviction(info: Mapping[str, str]) -> Iterator[str]:
    policy = info.get("maxmemory_policy", "")
    if _number(info, "maxmemory") == 0:
        return
    if policy.startswith("allkeys"):
        yield f"maxmemory-policy is {policy}: when it is full it deletes streams with all their events; set noeviction"
    elif policy.startswith("volatile"):
        yield (
            f"maxmemory-policy is {policy}: when it is full it deletes the marks of handled events (deduplicate); "
            "set noeviction"
        )


def _by_a_crash(info: Mapping[str, str]) -> Iterator[str]:
    hours = _number(info, "uptime_in_seconds") // 3_600
    is_kept = info.get("aof_enabled") != "0" or info.get("rdb_saves", "") != "0"
    if not is_kept and hours * 3_600 >= _LONG and _number(info, "rdb_changes_since_last_save") > 0:
        yield (
            f"it has no append-only file, and has made no snapshot in {hours} hours: a crash loses all events; "
            "set appendonly yes"
        )


def _by_missing_copies(info: Mapping[str, str], streams: Mapping[str, StreamSettings]) -> Iterator[str]:
    replicas = _number(info, "connected_slaves")
    for name, stream in streams.items():
        if stream.durability == "replicated" and replicas < stream.replicas:
            yield f"stream {name!r}: durability asks for {stream.replicas} of its replicas, and it has {replicas}"
        elif stream.durability == "disk" and info.get("aof_enabled") == "0":
            yield f"stream {name!r}: durability asks for an append-only file, and it has none; set appendonly yes"


def _number(info: Mapping[str, str], name: str) -> int:
    value = info.get(name, "")
    return int(value) if value.isdecimal() else 0

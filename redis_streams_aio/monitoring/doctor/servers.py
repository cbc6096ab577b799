"""Judge a server by its `INFO` and its configuration. Pure.

Each check yields findings. `config` has the values of `CONFIG GET`, and is empty where the user may not ask, or where a
managed service has no `CONFIG`: then a check goes by `INFO` alone, or says that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from .findings import CRITICAL, HINT, OK, UNKNOWN, WARNING, Finding, finding

_FULL, _ALMOST_FULL = 0.95, 0.8
_CROWDED = 0.8
"""The share of `maxclients` from which on it is a warning."""
_LATE = 2.0
"""Seconds by which two clocks may differ."""
_SHORTEST_TIMEOUT = 120
"""Seconds: the library keeps connections that are idle for a minute or so, e.g. for publishing."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it was asked."""

    where: str
    info: Mapping[str, str]
    config: Mapping[str, str]
    capabilities: frozenset[str]
    clock_is_ahead: float
    """Seconds by which its clock is ahead of this machine's."""


def judge(server: Server) -> Iterator[Finding]:
    """Yield what is found of a server."""
    for check in _CHECKS:
        yield from check(server)


def _version(server: Server) -> Iterator[Finding]:
    name = "valkey" if "valkey_version" in server.info else "redis"
    version = server.info.get(f"{name}_version", "")
    known = f"{name} {version}"
    newer = f"newer commands in use: {', '.join(sorted(server.capabilities)) or 'none'}"
    if name == "redis" and version.startswith("7.0."):
        advice = "use Redis 7.2 or later, or Valkey: 7.0 cannot tell a consumer that waits from one that is gone"
        yield finding(HINT, "version", server.where, f"{known}; {newer}", advice)
    elif version:
        yield finding(OK, "version", server.where, f"{known}; {newer}")
    else:
        yield finding(UNKNOWN, "version", server.where, "INFO does not say which server it is", _PERMIT_INFO)


def _eviction(server: Server) -> Iterator[Finding]:
    policy = server.info.get("maxmemory_policy") or server.config.get("maxmemory-policy")
    if policy is None:
        yield finding(UNKNOWN, "eviction", server.where, "maxmemory-policy is not known", _PERMIT_INFO)
        return
    advice = "CONFIG SET maxmemory-policy noeviction, and in its configuration file"
    if policy.startswith("allkeys"):
        told = f"maxmemory-policy is {policy}: a full Redis deletes streams with all their events"
        yield finding(CRITICAL, "eviction", server.where, told, advice)
    elif policy.startswith("volatile"):
        told = f"maxmemory-policy is {policy}: a full Redis forgets which events were handled (deduplicate)"
        yield finding(WARNING, "eviction", server.where, told, advice)
    else:
        yield finding(OK, "eviction", server.where, f"maxmemory-policy is {policy}: a full Redis refuses new events")


def _memory(server: Server) -> Iterator[Finding]:
    used, most = _number(server.info, "used_memory"), _number(server.info, "maxmemory")
    if used is None or most is None:
        return
    if most == 0:
        advice = "set it below the machine's memory: a full Redis refuses new events, one that is killed loses some"
        yield finding(HINT, "memory", server.where, "maxmemory is not set", advice)
        return
    share = used / most
    told = f"{share:.0%} of maxmemory is used"
    if share >= _ALMOST_FULL:
        advice = "see what grows with `streams --sort memory`, and bound it; or raise maxmemory. Do not stop consumers"
        level = CRITICAL if share >= _FULL else WARNING
        yield finding(level, "memory", server.where, f"{told}: a full Redis refuses new events", advice)
    else:
        yield finding(OK, "memory", server.where, told)


def _persistence(server: Server) -> Iterator[Finding]:
    aof = server.info.get("aof_enabled")
    saves = server.config.get("save")
    advice = "CONFIG SET appendonly yes, and in its configuration file"
    if aof is None:
        yield finding(UNKNOWN, "persistence", server.where, "whether events are on disk is not known", _PERMIT_INFO)
    elif aof == "1":
        yield from _append_only(server)
    elif saves == "":
        told = "neither an append-only file nor snapshots: a crash or a restart loses all events"
        yield finding(CRITICAL, "persistence", server.where, told, advice)
    else:
        told = "snapshots only: a crash loses the events since the last one"
        yield finding(WARNING, "persistence", server.where, told, advice)
    for name, what in (("aof_last_write_status", "append-only file"), ("rdb_last_bgsave_status", "snapshot")):
        if server.info.get(name, "ok") != "ok":
            told = f"the last write of the {what} failed"
            advice = "look into the server's log, at its disk and its rights; Redis may refuse writes until it works"
            yield finding(CRITICAL, "persistence", server.where, told, advice)


def _append_only(server: Server) -> Iterator[Finding]:
    fsync = server.config.get("appendfsync", "everysec")
    if fsync == "no":
        told = "an append-only file with appendfsync no: a crash of the machine loses what its system has not written"
        yield finding(WARNING, "persistence", server.where, told, "CONFIG SET appendfsync everysec")
    else:
        yield finding(OK, "persistence", server.where, f"an append-only file, appendfsync {fsync}")


def _timeouts(server: Server) -> Iterator[Finding]:
    if not server.config:
        advice = "permit +config|get, or look at it where the service is configured"
        yield finding(UNKNOWN, "timeouts", server.where, "CONFIG GET is not permitted, or is not there", advice)
        return
    idle = _number(server.config, "timeout") or 0
    if 0 < idle < _SHORTEST_TIMEOUT:
        told = f"timeout is {idle} s: connections that wait are closed and reopened all the time"
        yield finding(WARNING, "timeouts", server.where, told, "CONFIG SET timeout 0; tcp-keepalive finds dead clients")
    elif _number(server.config, "tcp-keepalive") == 0:
        told = "tcp-keepalive is 0: connections of machines that vanished are kept for ever"
        yield finding(HINT, "timeouts", server.where, told, "CONFIG SET tcp-keepalive 300")
    else:
        yield finding(OK, "timeouts", server.where, "idle clients are not cut off, dead ones are found")


def _clients(server: Server) -> Iterator[Finding]:
    there, most = _number(server.info, "connected_clients"), _number(server.info, "maxclients")
    if there is not None and most and there >= _CROWDED * most:
        advice = "raise maxclients, or look for clients that are not closed (CLIENT LIST)"
        yield finding(WARNING, "clients", server.where, f"{there:,} of {most:,} clients are connected", advice)


def _copies(server: Server) -> Iterator[Finding]:
    replicas = _number(server.info, "connected_slaves")
    if replicas == 0:
        told = "it has no replica: if its machine is lost, so are its events"
        yield finding(HINT, "replication", server.where, told, "add a replica, and Sentinels that promote it")
    elif replicas is not None:
        least = _number(server.config, "min-replicas-to-write") or 0
        if server.config and least == 0:
            told = f"{replicas} replicas, min-replicas-to-write 0: a primary that is cut off takes events that are lost"
            yield finding(HINT, "replication", server.where, told, "CONFIG SET min-replicas-to-write 1, or durability=")
        else:
            yield finding(OK, "replication", server.where, f"{replicas} replicas follow it")


def _clock(server: Server) -> Iterator[Finding]:
    ahead = server.clock_is_ahead
    if abs(ahead) >= _LATE:
        told = f"its clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
        advice = "let NTP set both: entry ids and --since are times of these clocks"
        yield finding(HINT, "clock", server.where, told, advice)


_PERMIT_INFO = "permit +info"
_CHECKS: tuple[Callable[[Server], Iterator[Finding]], ...] = (
    _version,
    _eviction,
    _memory,
    _persistence,
    _copies,
    _timeouts,
    _clients,
    _clock,
)


def _number(known: Mapping[str, str], name: str) -> int | None:
    value = known.get(name, "")
    return int(value) if value.isdecimal() else None

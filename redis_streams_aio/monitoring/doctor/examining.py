"""Ask the servers and the groups, and judge what they say."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import time

from ...config import Settings
from ...connection import Connection, replies
from ...connection.link import Link
from ...connection.node import Node
from ...connection.replies import Answer
from ...connection.steps import controls
from ...connection.steps.consumer import Consumer
from ...connection.steps.describing import describe_consumers
from ...connection.steps.leases import known_leases
from ...events import keys
from ...exceptions import RedisStreamsError, StreamNotFoundError
from ...models import GroupInfo, LagReport
from ..finding import FoundStream, find_streams, stream_names
from ..lag import LagWatcher
from .findings import UNKNOWN, Finding, by_severity, finding
from .groups import Group, all_well, judge_group, judge_stream, missing_streams
from .permissions import judge_permissions
from .servers import Server, judge

_CONFIG = (
    *("appendfsync", "maxmemory-policy", "min-replicas-to-write", "save", "tcp-keepalive", "timeout"),
    *("appendonly", "maxmemory"),
)
_EXAMPLE = ("orders", "billing")
"""Names that permissions are asked for where there is no group yet."""


async def examine(connection: Connection, settings: Settings) -> list[Finding]:
    """Return all findings, the worst first. Raises `RedisUnavailableError`."""
    links = connection.links_to_all("control")
    found = [each for node, link in links.items() for each in judge(await _server(node, link))]
    try:
        names = await stream_names(connection)
    except RedisStreamsError as error:
        advice = "permit +scan, or look at single streams with `groups STREAM`"
        found.append(finding(UNKNOWN, "groups", connection.shown, f"streams cannot be found: {error}", advice))
        names = []
    streams = await find_streams(connection, names)
    for each in streams:
        found += judge_stream(each, settings.stream(each.info.name).retention)
    groups = await _groups(connection, streams)
    found += missing_streams(settings.streams, names)
    of_groups = [each for group in groups for each in judge_group(group)]
    found += [*of_groups, *all_well(groups, of_groups)]
    first = (groups[0].stream.info.name, groups[0].info.name) if groups else _EXAMPLE
    found += await judge_permissions(connection, *first)
    return sorted(found, key=by_severity, reverse=True)


async def _server(node: Node, link: Link) -> Server:
    began = time()
    clock = replies.clock(await link.call("TIME"))
    return Server(
        where=node.where,
        info=await _info(link),
        config=await _config(link),
        capabilities=node.capabilities,
        clock_is_ahead=clock - (began + time()) / 2,
    )


async def _info(link: Link) -> dict[str, str]:
    """Return what `INFO` says, by name; nothing where it is not permitted."""
    try:
        said = replies.text(await link.call("INFO"))
    except RedisStreamsError:
        return {}
    pairs = (line.partition(":") for line in said.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}


async def _config(link: Link) -> dict[str, str]:
    """Return the configuration that is looked at; nothing where `CONFIG` is not permitted, or not there."""
    try:
        reply = await link.call("CONFIG", "GET", *_CONFIG)
    except RedisStreamsError:
        return {}
    return {name: replies.text(value) for name, value in replies.mapping(reply).items()}


async def _groups(connection: Connection, streams: list[FoundStream]) -> list[Group]:
    pairs = [(stream, group) for stream in streams for group in stream.groups]
    watcher = LagWatcher(connection, [(stream.info.name, group.name) for stream, group in pairs])
    await watcher.run_once()
    letters = await connection.call_many(
        [("XLEN", keys.dead_letters(stream.info.name, group.name)) for stream, group in pairs]
    )
    told = await connection.call_many([controls.reading(stream.info.name, group.name) for stream, group in pairs])
    found = []
    for (stream, group), count, answer in zip(pairs, letters, told, strict=True):
        report = watcher.reports.get((stream.info.name, group.name))
        with suppress(StreamNotFoundError):  # deleted meanwhile
            found.append(await _group(connection, stream, group, report, (count, answer)))
    return found


async def _group(
    connection: Connection, stream: FoundStream, group: GroupInfo, report: LagReport | None, told: tuple[Answer, Answer]
) -> Group:
    """Return a group with its consumers; `told` are the answers about dead letters and controls."""
    name = (stream.info.name, group.name)
    consumers, leases = await asyncio.gather(
        describe_consumers(connection, *name), _leases(connection, Consumer(*name, ""))
    )
    letters, control = told
    return Group(
        stream=stream,
        info=group,
        consumers=consumers,
        leases=leases,
        report=report,
        dead_letters=0 if isinstance(letters, RedisStreamsError) else replies.integer(letters),
        pause=None if isinstance(control, RedisStreamsError) else controls.controls(control).paused,
    )


async def _leases(connection: Connection, who: Consumer) -> dict[str, float]:
    try:
        return await known_leases(connection, who)
    except RedisStreamsError:
        return {}

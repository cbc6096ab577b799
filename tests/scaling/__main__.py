"""`python -m tests.scaling [--page docs/scaling.md]`: publish and handle events on 1 to 6 nodes, with 1 to 64 streams.

It counts what hardly depends on how busy the machine is: processor time, commands and connections, not events a second.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import NamedTuple

from redis_streams_aio import Broker, Settings
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

NODES, STREAMS = (1, 3, 6), (1, 8, 64)
EVENTS, CALL, RUNS = 64_000, 100, 3
HEAD = (
    "| nodes | streams | process, µs an event | servers, µs an event | commands for 1000 events | connections |",
    "|-:|-:|-:|-:|-:|-:|",
)


class Row(NamedTuple):
    """What one number of nodes and streams costs."""

    nodes: int
    streams: int
    process: float
    """Microseconds of the process for an event."""
    servers: float
    """Microseconds of all servers together for an event."""
    commands: float
    """Commands for a thousand events."""
    connections: int
    """Connections of the process to all nodes, at the end."""

    def __str__(self) -> str:
        figures = f"{self.process:.1f} | {self.servers:.1f} | {self.commands:.0f} | {self.connections}"
        return f"| {self.nodes} | {self.streams} | {figures} |"


@contextmanager
def place(nodes: int) -> Iterator[tuple[str, list[Server]]]:
    """One server, or a Cluster of so many primaries without replicas."""
    made = Server() if nodes == 1 else Cluster(primaries=nodes, replicas=0)
    try:
        made.start()
        yield made.url, [made] if isinstance(made, Server) else made.nodes
    finally:
        made.remove()


def told(node: Server, section: str) -> dict[str, str]:
    """A section of what a node tells of itself."""
    lines = str(ask(node, "INFO", section)).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def spent(nodes: Sequence[Server]) -> float:
    """Seconds of the processor that the nodes have had."""
    return sum(float(value) for node in nodes for name, value in told(node, "cpu").items() if name in _OF_MAIN)


def commands(nodes: Sequence[Server]) -> int:
    """How many commands the nodes have had."""
    return sum(int(told(node, "stats")["total_commands_processed"]) for node in nodes)


_OF_MAIN = ("used_cpu_user", "used_cpu_sys")


async def measure(url: str, nodes: Sequence[Server], streams: int) -> Row:
    """Publish `EVENTS` events, `CALL` in each call, and handle them beside it."""
    handled = 0
    broker = Broker(url, group="g", settings=Settings(lag_interval=3600))
    names = [f"stream-{number}" for number in range(streams)]
    for name in names:

        @broker.handler(name, concurrency=8)
        async def handle(order: Order) -> None:
            nonlocal handled
            handled += 1

    async with broker:
        await asyncio.gather(*(broker.publish(name, Order(0)) for name in names))
        await until(lambda: handled == streams, 60)
        before = process_time(), spent(nodes), commands(nodes)
        orders, calls = [Order(1)] * CALL, EVENTS // CALL // streams

        async def publish(name: str) -> None:
            for _ in range(calls):
                await broker.publish_many(name, orders)

        await asyncio.gather(*map(publish, names))
        events = calls * CALL * streams
        await until(lambda: handled == streams + events, 300)
        after = process_time(), spent(nodes), commands(nodes)
        connections = sum(int(told(node, "clients")["connected_clients"]) - 1 for node in nodes)
    process, servers, asked = (later - earlier for earlier, later in zip(before, after, strict=True))
    own = 3 * len(nodes)  # the questions of this script
    return Row(
        len(nodes), streams, process / events * 1e6, servers / events * 1e6, (asked - own) / events * 1000, connections
    )


def run(nodes: int, streams: int) -> Row:
    """Measure once, on new servers."""
    with place(nodes) as (url, servers):
        return asyncio.run(measure(url, servers, streams))


def least(rows: Sequence[Row]) -> Row:
    """Return the least of each figure: other work on the machine only adds."""
    return Row(*map(min, zip(*rows, strict=True)))  # type: ignore[arg-type]


def main() -> None:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.scaling", description=__doc__)
    parser.add_argument("--page", type=Path, help="write the table into this page, in place of the last one")
    page: Path | None = parser.parse_args().page
    rows = []
    for nodes in NODES:
        for streams in STREAMS:
            rows.append(least([run(nodes, streams) for _ in range(RUNS)]))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    if page is not None:
        write(page, rows)


def write(page: Path, rows: Sequence[Row]) -> None:
    """Replace the table below the heading."""
    text = page.read_text(encoding="utf-8")
    table = "".join(f"{row}\n" for row in (*HEAD, *rows))
    page.write_text(re.sub(rf"{re.escape(HEAD[0])}\n(\|.*\n)+", table, text), encoding="utf-8")


if __name__ == "__main__":
    main()

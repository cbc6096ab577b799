"""Leading: from the places of a URL to the nodes that are there. Their watch ends with the connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from .dial import first_contact
from .node import Dialled
from .places import Places
from .topology import OneNode, Topology


@asynccontextmanager
async def open_topology(
    places: Places,
    dial: Callable[[], Awaitable[Dialled]],
    patience: float,
    connect_timeout: float | None,
    where: str,
) -> AsyncIterator[Topology]:
    """The topology of what is there; `dial` connects to the one place, where there is only one.

    Raises what opening a `Connection` raises.
    """
    if places.kind == "one":
        yield OneNode(dial, where)
    elif places.kind == "sentinel":
        from .sentinel.watched import WatchedNode  # noqa: PLC0415  # few programs need it

        async with WatchedNode(places, patience, where).listening() as watched:
            yield watched
    else:
        from .cluster.nodes import ClusterNodes  # noqa: PLC0415  # few programs need it

        nodes = ClusterNodes(places, patience, where)
        await first_contact(nodes.learn, connect_timeout, where)
        async with nodes.watching():
            yield nodes

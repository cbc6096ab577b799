"""`Links`: the links of one event loop, told apart by purpose and node, each made when it is first needed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Literal

from .node import Node
from .topology import Topology
from .verdicts import Move

if TYPE_CHECKING:
    from .link import Link
    from .redirects import Post

Purpose = Literal["publish", "durable", "settle", "control"]


class Links:
    """The links to the nodes of a topology."""

    def __init__(self, topology: Topology, timeout: float) -> None:
        self._topology = topology
        self._timeout = timeout
        self._of: defaultdict[Node, dict[Purpose, Link]] = defaultdict(dict)
        self.only: dict[Purpose, Link] | None = None if topology.only is None else self._of[topology.only]
        """The links where there is one node: a hot path does not look it up."""

    def __iter__(self) -> Iterator[Link]:
        return iter([link for links in self._of.values() for link in links.values()])

    def of(self, purpose: Purpose, node: Node) -> Link:
        """Return the link to a node."""
        links = self._of[node]
        if (link := links.get(purpose)) is None:
            from .link import Link  # noqa: PLC0415  # not needed by programs that only import us

            # a WAIT counts for its own connection: their publisher sends events that must wait again with it
            follows = self._topology.only is None and purpose != "durable"
            post_to = partial(self._post_to, purpose) if follows else None
            link = links[purpose] = Link(node, timeout=self._timeout, post_to=post_to)
        return link

    def _post_to(self, purpose: Purpose, move: Move) -> Post:
        """Return what sends commands to the node that a redirect names."""
        return self.of(purpose, self._topology.target(move)).post

"""`Topology`: which nodes there are, where a key lives, and what an error reply means there.

Everything that talks to Redis asks the topology of its `Connection`, and nothing else knows how many nodes there are:

* A caller that has a key gets the link to `node_of(key)`, for each command and for each repetition of a command: the
  key may have moved.
* A node knows how to `dial`, and looks each time where its server is now: that may have changed.
* Links and readers tell their node each `WrongNodeError`; the node asks `after` what to do about it. A topology of many
  nodes notes there where a key has moved, so that `node_of` knows it when the caller repeats its command.

When things fail: a node whose server nobody knows raises `RedisUnavailableError` when it is dialled, and its backoff
counts that as for a server that does not answer. `node_of` and `after` never fail, and never wait.

`OneNode` is one address; behind a name, its server changes. Behind Sentinels there is one node too
(sentinel/watched.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ..exceptions import WrongNodeError
from .node import Dialled, Node
from .packing import Argument
from .verdicts import REDIAL, Move, Verdict, verdict


class Topology(Protocol):
    """The nodes that a connection leads to."""

    @property
    def only(self) -> Node | None:
        """The node, where there is one for all keys."""

    @property
    def nodes(self) -> Sequence[Node]:
        """All nodes that have keys, each once."""

    def node_of(self, key: Argument | None = None) -> Node:
        """Return the node where a key lives; without a key any node, and the same each time."""

    def after(self, error: WrongNodeError) -> Verdict | Move:
        """Return what an error means for the connection that it came on."""

    def target(self, move: Move) -> Node:
        """Return the node that a redirect names."""

    async def refresh(self) -> int:
        """Look now at which node has what, and return the version of that map. Raises `RedisUnavailableError`."""


class OneNode:
    """One address, where all keys live."""

    def __init__(self, dial: Callable[[], Awaitable[Dialled]], where: str) -> None:
        self.only: Node = Node(dial, self.after, where)

    @property
    def nodes(self) -> Sequence[Node]:
        """The node."""
        return (self.only,)

    def node_of(self, key: Argument | None = None) -> Node:  # noqa: ARG002  # all keys live there
        """Return the node."""
        return self.only

    def after(self, error: WrongNodeError) -> Verdict | Move:
        """Return what an error means; the address may lead elsewhere by now."""
        return here_or_redial(error)

    def target(self, move: Move) -> Node:  # noqa: ARG002  # there is no other one
        """Return the node."""
        return self.only

    async def refresh(self) -> int:
        """Return 0: all keys live in one place."""
        return 0


def here_or_redial(error: WrongNodeError) -> Verdict:
    """Return what an error means where there is one node: no other one to move to, but another server may be there."""
    said = verdict(error)
    return REDIAL if isinstance(said, Move) else said

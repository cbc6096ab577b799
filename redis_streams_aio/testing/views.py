"""Read how a node of a Cluster sees itself and the others."""

from __future__ import annotations

from typing import NamedTuple

import hiredis

from .asking import ask
from .servers import Server


class Seen(NamedTuple):
    """A node, as another one sees it."""

    id: str
    port: int
    flags: tuple[str, ...]
    primary: str
    """The id of its primary; `-`: it is one."""
    epoch: int
    connected: bool
    slots: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Whether it is reachable, and its name and address are known."""
        return self.connected and not {"fail", "fail?", "handshake", "noaddr"} & set(self.flags)

    def owns(self, slot: int) -> bool:
        """Whether it is said to own a slot."""
        return any(_covers(part, slot) for part in self.slots)


def seen_by(node: Server) -> list[Seen]:
    """Return the nodes that this one knows, itself among them."""
    return [_seen(line) for line in ask(node, "CLUSTER", "NODES").splitlines()]


def _seen(line: str) -> Seen:
    known, address, flags, primary, _, _, epoch, link, *slots = line.split(" ")
    port = int(address.partition("@")[0].rpartition(":")[2])
    return Seen(known, port, tuple(flags.split(",")), primary, int(epoch), link == "connected", tuple(slots))


def _covers(part: str, slot: int) -> bool:
    """Whether a word of `CLUSTER NODES` such as `0-5460` or `7` has a slot in it; `[7->-...` is one on its way."""
    if part.startswith("["):
        return False
    first, _, last = part.partition("-")
    return int(first) <= slot <= int(last or first)


def id_of(node: Server) -> str:
    """Return the id by which the nodes know this one."""
    return str(ask(node, "CLUSTER", "MYID"))


def agree(views: list[list[Seen]]) -> bool:
    """Whether nodes see the same owners and followers, and no slot on its way."""
    return len({frozenset((one.id, one.primary, one.slots) for one in view) for view in views}) == 1 and not any(
        "[" in slot for view in views for one in view for slot in one.slots
    )


def owner_in(view: list[Seen], slot: int) -> str | None:
    """Return the id of the node that owns a slot, by what one node sees."""
    return next((one.id for one in view if one.owns(slot)), None)


def epoch_of_claim(node: Server, slot: int) -> int:
    """Return the epoch of a node that says of itself that it owns a slot; -1 when it does not say so."""
    return next((one.epoch for one in seen_by(node) if "myself" in one.flags and one.owns(slot)), -1)


def answers(node: Server) -> bool:
    """Whether it answers at all, within half a second."""
    try:
        return bool(ask(node, "PING", seconds=0.5))
    except (OSError, hiredis.ReplyError):
        return False


def state_of(node: Server) -> str:
    """Return the state of the cluster, as a node sees it: `ok` or `fail`."""
    return _field(ask(node, "CLUSTER", "INFO"), "cluster_state")


def is_in_step(node: Server) -> bool:
    """Whether it is a primary, or a replica that is linked to its primary and has its data."""
    return _field(ask(node, "INFO", "replication"), "master_link_status") in ("", "up")


def _field(info: str, name: str) -> str:
    return next((line.partition(":")[2] for line in info.splitlines() if line.startswith(f"{name}:")), "")

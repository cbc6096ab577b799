"""`Cluster`: a real Redis Cluster on free ports of this machine, to fail over, kill, reshard and move about in tests.

Each method blocks until the cluster has done what it says: call it with `asyncio.to_thread` where an event loop runs.
Roles change in a life, so nodes are asked for by what they do now: `primaries`, `owner_of("orders")`, `replica_of`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from .asking import ask, until
from .migration import Migration
from .ports import free_port
from .servers import Server
from .views import agree, answers, epoch_of_claim, id_of, is_in_step, owner_in, seen_by, state_of

SLOTS = 16384


class Cluster:
    """Some primaries that share all slots evenly, each with as many replicas. `options` are those of all nodes.

    `node_timeout`, in seconds, decides how long a failover takes that nobody orders: about 1.6 times as long.
    A primary that is killed forgets what it had in memory: it must not come back before a replica is promoted.
    """

    def __init__(
        self, kind: str | None = None, *options: str, primaries: int = 3, replicas: int = 1, node_timeout: float = 2.0
    ) -> None:
        self._options = (*_OPTIONS, "--cluster-node-timeout", str(round(node_timeout * 1000)), *options)
        self._kind = kind
        self._shards = primaries
        self._announced: dict[int, Server] = {}
        self.nodes: list[Server] = [self._node() for _ in range(primaries * (1 + replicas))]

    def _node(self) -> Server:
        node = Server(kind=self._kind)
        self._settle_on_ports(node)
        return node

    def _settle_on_ports(self, node: Server) -> None:
        node.port = free_port()
        node.options = (*self._options, "--cluster-port", str(free_port()))

    @property
    def kind(self) -> str:
        """The kind of its servers."""
        return self.nodes[0].kind

    @property
    def url(self) -> str:
        """Where it is, by all its nodes."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def start(self) -> Cluster:
        """Start the nodes, make a cluster of them, and wait until all say that it is well; takes about 2.5 s."""
        try:
            _each(self.nodes, lambda node: ask(node.start(), "FLUSHALL"))
            self._share_slots()
            for node in self.nodes[1:]:
                self._meet(node)
            until(lambda: all(self._sees_all(node) for node in self.nodes), "all nodes know each other")
            for number, replica in enumerate(self.nodes[self._shards :]):
                ask(replica, "CLUSTER", "REPLICATE", id_of(self.nodes[number % self._shards]))
            self.until_well()
        except BaseException:
            self.remove()
            raise
        return self

    def _share_slots(self) -> None:
        for number, node in enumerate(self.nodes):
            ask(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < self._shards:
                first, after = (SLOTS * each // self._shards for each in (number, number + 1))
                ask(node, "CLUSTER", "ADDSLOTSRANGE", first, after - 1)

    def _meet(self, node: Server) -> None:
        ask(self.nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, node.options[-1])

    def _sees_all(self, node: Server) -> bool:
        seen = seen_by(node)
        return {self._at(one.port) for one in seen} == set(self.nodes) and all(one.healthy for one in seen)

    def remove(self) -> None:
        """Kill the nodes, and delete their data."""
        for node in self.nodes:
            node.remove()

    # -- who is what ------------------------------------------------------------------------------------------

    @property
    def running(self) -> list[Server]:
        """The nodes that answer."""
        return [node for node in self.nodes if node.runs and answers(node)]

    @property
    def primaries(self) -> list[Server]:
        """The nodes that own slots, by those that answer."""
        return list({self.owner_of_slot(first) for first, *_ in self._ranges()})

    def _ranges(self) -> list[list[object]]:
        reply: list[list[object]] = ask(self.running[0], "CLUSTER", "SLOTS")
        return reply

    def slot_of(self, key: str) -> int:
        """Return the slot of a key."""
        return int(ask(self.running[0], "CLUSTER", "KEYSLOT", key))

    def owner_of(self, key: str) -> Server:
        """Return the primary that has a key. Raises `LookupError` when its slot has no owner that answers."""
        return self.owner_of_slot(self.slot_of(key))

    def owner_of_slot(self, slot: object) -> Server:
        """Return the primary that says of itself that it owns a slot; of two, the one that was promoted last."""
        claims = [(epoch_of_claim(node, int(str(slot))), node) for node in self.running]
        epoch, owner = max(claims, key=lambda claim: claim[0])
        if epoch < 0:
            raise LookupError(f"no node that answers owns slot {slot}")
        return owner

    def replica_of(self, primary: Server) -> Server:
        """Return a replica of a primary that is in step with it. Raises `LookupError` when there is none."""
        for seen in seen_by(primary):
            if seen.primary == id_of(primary) and seen.healthy and is_in_step(self._at(seen.port)):
                return self._at(seen.port)
        raise LookupError(f"{primary} has no replica that is in step with it")

    def _at(self, port: int) -> Server:
        return self._announced.get(port) or next(node for node in self.nodes if node.port == port)

    def is_well(self) -> bool:
        """Whether all run and agree on who owns what and follows whom, no slot is on its way, replicas are in step."""
        return (
            all(node.runs and state_of(node) == "ok" for node in self.nodes)
            and all(map(self._sees_all, self.nodes))
            and agree([seen_by(node) for node in self.nodes])
            and all(map(is_in_step, self.nodes))
        )

    def until_well(self, seconds: float = 30.0) -> None:
        """Wait until `is_well`. Raises `TimeoutError`."""
        until(self.is_well, f"the cluster of {self.nodes} is well", seconds)

    def empty(self) -> None:
        """Delete all keys."""
        for primary in self.primaries:
            ask(primary, "FLUSHALL")

    # -- faults and changes -----------------------------------------------------------------------------------

    def failover(self, key: str) -> Server:
        """Order a failover of the shard that has a key; return the new primary, when all nodes know it."""
        primary = self.owner_of(key)
        promoted = self.replica_of(primary)
        ask(promoted, "CLUSTER", "FAILOVER")
        self._until_primary(promoted, self.slot_of(key))
        return promoted

    def _until_primary(self, promoted: Server, slot: int) -> None:
        known = id_of(promoted)

        def all_know() -> bool:
            return all(owner_in(seen_by(node), slot) == known for node in self.running)

        until(all_know, f"all nodes know {promoted} as the owner of slot {slot}")

    def kill(self, key: str) -> Server:
        """Kill the primary that has a key, and return it: it is down at once, and nobody has replaced it yet."""
        primary = self.owner_of(key)
        primary.stop(signal.SIGKILL)
        return primary

    def freeze(self, key: str) -> Server:
        """Stop the process of the primary that has a key, and return it: it keeps connections, and answers nothing."""
        primary = self.owner_of(key)
        primary.freeze()
        return primary

    def until_promoted(self, key: str, instead_of: Server) -> Server:
        """Wait until another node than the one that failed owns a key, and return it."""
        slot = self.slot_of(key)
        until(lambda: self.owner_of_slot(slot) is not instead_of, f"{instead_of} is replaced")
        return self.owner_of_slot(slot)

    def revive(self, node: Server) -> None:
        """Start or thaw a node again, and wait until the cluster is well."""
        if node.runs:
            node.thaw()
        else:
            node.start()
        self.until_well()

    def announce(self, node: Server, port: int) -> None:
        """Have a node send all, replicas too, to another port that leads to it: that of a proxy which is to fail.

        The node says so after restarts too, until it moves to a new port.
        """
        self._announced[port] = node
        node.options = ("--cluster-announce-port", str(port), *node.options)
        ask(node, "CONFIG", "SET", "cluster-announce-port", port)
        until(lambda: all(port in {one.port for one in seen_by(each)} for each in self.running), f"all know {port}")

    def migration(self, slot: int, to: Server) -> Migration:
        """Return the migration of a slot, to be gone through step by step."""
        return Migration(slot, self.owner_of_slot(slot), to, self.nodes)

    def migrate(self, slot: int, to: Server) -> None:
        """Migrate a slot with its keys, one key after the other."""
        self.migration(slot, to).run()

    def migrate_at_once(self, slot: int, to: Server) -> None:
        """Migrate a slot as a whole, where the server can: Valkey 9 and later (`CLUSTER MIGRATESLOTS`)."""
        source = self.owner_of_slot(slot)
        ask(source, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", id_of(to))
        self._until_primary(to, slot)

    def add_node(self) -> Server:
        """Start one more primary, without slots, and wait until all know it."""
        node = self._node()
        self.nodes.append(node)
        node.start()
        self._meet(node)
        self.until_well()
        return node

    def move_to_new_ports(self) -> None:
        """Move all nodes to new ports one by one, as operators do: primaries when a replica has taken over."""
        for node in list(self.nodes):
            self.move_to_new_port(node)

    def move_to_new_port(self, node: Server) -> None:
        """Fail over from a node, if it is a primary with a replica; start it again on another port."""
        for seen in seen_by(node):
            if "myself" in seen.flags and seen.slots:
                replica = self.replica_of(node)
                ask(replica, "CLUSTER", "FAILOVER")
                self._until_primary(replica, int(seen.slots[0].split("-")[0]))
        node.stop()
        self._settle_on_ports(node)
        node.start()
        self.until_well()


_OPTIONS = (
    *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"),
    *("--cluster-require-full-coverage", "no", "--cluster-allow-replica-migration", "no"),
    *("--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"),
)


def _each(nodes: Iterable[Server], what: Callable[[Server], object]) -> None:
    with ThreadPoolExecutor() as threads:
        list(threads.map(what, nodes))

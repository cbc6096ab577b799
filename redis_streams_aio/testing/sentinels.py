"""`SentinelSet`: a real primary with replicas, and the Sentinels that watch it, on free ports of this machine.

Each method blocks until the set has done what it says: call it with `asyncio.to_thread` where an event loop runs.
Roles change in a life: `primary` is the server that the Sentinels name now.
"""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

from .asking import ask, until
from .servers import Server

SERVICE = "events"


class SentinelSet:
    """One primary, `replicas` replicas and `sentinels` Sentinels. `options` are those of primary and replicas.

    `down_after`, in seconds, is how long a primary may be silent before it counts as down; a failover that nobody
    orders takes a second or two more. A primary that is killed forgets what it had in memory.
    """

    def __init__(
        self, kind: str | None = None, *options: str, replicas: int = 2, sentinels: int = 3, down_after: float = 1.0
    ) -> None:
        self.servers: list[Server] = [Server(*_OPTIONS, *options, kind=kind) for _ in range(1 + replicas)]
        self.sentinels: list[Server] = [
            Server("--sentinel", kind=kind, config=self._config(sentinels // 2 + 1, round(down_after * 1000)))
            for _ in range(sentinels)
        ]

    def _config(self, quorum: int, down_after_ms: int) -> str:
        return (
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} {quorum}\n"
            f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}\n"
            f"sentinel failover-timeout {SERVICE} 4000\n"
            f"sentinel parallel-syncs {SERVICE} 2\n"
        )

    @property
    def kind(self) -> str:
        """The kind of its servers."""
        return self.servers[0].kind

    @property
    def service(self) -> str:
        """The name by which the Sentinels know the primary."""
        return SERVICE

    @property
    def url(self) -> str:
        """Where it is, by all its Sentinels."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def start(self) -> SentinelSet:
        """Start all, and wait until the Sentinels know the replicas and each other."""
        try:
            with ThreadPoolExecutor() as threads:
                list(threads.map(Server.start, [*self.servers, *self.sentinels]))
            for replica in self.servers[1:]:
                ask(replica, "REPLICAOF", "127.0.0.1", self.servers[0].port)
            for sentinel in self.sentinels:
                ask(sentinel, "SENTINEL", "DEBUG", *_HASTE)
            self.until_well()
        except BaseException:
            self.remove()
            raise
        return self

    def remove(self) -> None:
        """Kill all, and delete their data."""
        for server in (*self.sentinels, *self.servers):
            server.remove()

    # -- who is what ------------------------------------------------------------------------------------------

    @property
    def primary(self) -> Server:
        """The server that most Sentinels name as the primary. Raises `LookupError` while they do not agree."""
        named = [port for sentinel in self.sentinels if sentinel.runs and (port := _named(sentinel))]
        for server in self.servers:
            if named.count(server.port) > len(self.sentinels) // 2:
                return server
        raise LookupError(f"the Sentinels do not agree on a primary: {named}")

    @property
    def replicas(self) -> list[Server]:
        """The other servers."""
        return [server for server in self.servers if server is not self.primary]

    def is_well(self) -> bool:
        """Whether all run, the Sentinels agree and see all, and the replicas are in step with the primary."""
        if not all(server.runs for server in (*self.servers, *self.sentinels)):
            return False
        primary, replicas = self.primary, self.replicas
        return (
            _followers(primary) == {replica.port for replica in replicas}
            and all(_follows(replica, primary) for replica in replicas)
            and all(self._sees_all(sentinel, primary) for sentinel in self.sentinels)
        )

    def _sees_all(self, sentinel: Server, primary: Server) -> bool:
        state = _pairs(ask(sentinel, "SENTINEL", "MASTER", SERVICE))
        expected = ("master", str(primary.port), str(len(self.sentinels) - 1))
        if (state["flags"], state["port"], state["num-other-sentinels"]) != expected:
            return False
        seen = [_pairs(one) for one in ask(sentinel, "SENTINEL", "REPLICAS", SERVICE)]
        return {one["port"] for one in seen if _is_in_step(one, primary)} == {
            str(server.port) for server in self.servers if server is not primary
        }

    def until_well(self, seconds: float = 30.0) -> None:
        """Wait until `is_well`. Raises `TimeoutError`."""
        until(self.is_well, f"{self.servers} and their Sentinels are well", seconds)

    def empty(self) -> None:
        """Delete all keys."""
        ask(self.primary, "FLUSHALL")

    # -- faults and changes -----------------------------------------------------------------------------------

    def failover(self) -> Server:
        """Order a failover; return the new primary, when most Sentinels name it and it says so too."""
        before = self.primary
        until(lambda: ask(self.sentinels[0], "SENTINEL", "FAILOVER", SERVICE) == "OK", "a failover has begun")
        return self.until_promoted(before)

    def kill(self) -> Server:
        """Kill the primary with SIGKILL, and return it: it is down at once, and nobody has replaced it."""
        primary = self.primary
        primary.stop(signal.SIGKILL)
        return primary

    def freeze(self) -> Server:
        """Stop the process of the primary, and return it: it keeps its connections, and answers nothing."""
        primary = self.primary
        primary.freeze()
        return primary

    def until_promoted(self, instead_of: Server) -> Server:
        """Wait until the Sentinels name another primary than the one that failed, and return it."""
        until(lambda: self.primary is not instead_of and _is_primary(self.primary), f"{instead_of} is replaced")
        return self.primary

    def revive(self, server: Server) -> None:
        """Start or thaw a server again, and wait until it follows the primary, and all is well.

        A server that was killed has nothing to tell it that it is a replica now. So it is told, before the Sentinels
        find out: until then, it would be a second primary.
        """
        if server.runs:
            server.thaw()
        else:
            server.start()
            if (primary := self.primary) is not server:
                ask(server, "REPLICAOF", "127.0.0.1", primary.port)
        self.until_well()


_OPTIONS = ("--repl-diskless-sync-delay", "0")
_HASTE = ("INFO-PERIOD", "500", "PUBLISH-PERIOD", "200", "PING-PERIOD", "200", "ASK-PERIOD", "200")
"""Milliseconds: Sentinels look for replicas every 10 s, and for each other every 2 s, unless they are told."""


def _named(sentinel: Server) -> int | None:
    try:
        reply = ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE, seconds=0.5)
    except OSError:
        return None
    return int(reply[1]) if reply else None


def _is_primary(server: Server) -> bool:
    return bool(ask(server, "ROLE")[0] == "master")


def _followers(server: Server) -> set[int]:
    """Return the ports of its replicas; none when it is a replica itself."""
    role, _, linked, *_ = ask(server, "ROLE")
    return {int(port) for _, port, _ in linked} if role == "master" else set()


def _is_in_step(replica: dict[str, str], primary: Server) -> bool:
    """Whether a Sentinel says so of a replica."""
    followed = (replica["flags"], replica["master-port"], replica["master-link-status"])
    return followed == ("slave", str(primary.port), "ok")


def _follows(replica: Server, primary: Server) -> bool:
    role, _, port, state, *_ = ask(replica, "ROLE")
    return bool(role == "slave" and port == primary.port and state == "connected")


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))

"""The nemesis: carries a schedule out, and notes each fault with its true beginning and end, and what it took away.

Faults of one room (a process, its wire, the server) come one after another; those of different rooms overlap. Before
entries are taken away, and in the same transaction, it notes which of them were not done with: these, and no others,
may be missing in the end.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING

from redis_streams_aio.connection import Connection
from redis_streams_aio.consumer import ConsumerGroupManager
from redis_streams_aio.exceptions import StreamNotFoundError
from redis_streams_aio.testing.proxy import Proxy
from redis_streams_aio.testing.servers import Server
from tests.chaos import look
from tests.chaos.client import client, send, together
from tests.chaos.look import Seen
from tests.chaos.schedule import ALL, Fault
from tests.chaos.sets import SetFaults
from tests.chaos.stage import Actor, Stage
from tests.chaos.workload import LINES, PROCESSES

if TYPE_CHECKING:
    from redis.asyncio import Redis

DROP = 64
"""Bytes."""
LATENCY = 0.2
KEPT = 5
"""Entries that XTRIM leaves."""
_LONGER_THAN_IT_TAKES_MS = 60_000

Step = Callable[[Fault], Awaitable[None]]


class Nemesis:
    """Harms processes, connections and the server, one fault after another."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._steps: dict[str, Step] = {
            "kill": self._kill,
            "kill_producer": self._kill,
            "drain": self._drain,
            "freeze": self._freeze,
            "block": self._block,
            "clock_jump": self._clock_jump,
            "client_kill": self._client_kill,
            "restart": self._restart,
            "wipe": self._wipe,
            "stop_server": self._stop_server,
            "flushall": self._flushall,
            "trim": self._trim,
            "remove_consumers": self._remove_consumers,
        }
        self.sets: SetFaults | None = None
        if not isinstance(stage.where, Server):
            self.sets = SetFaults(stage.where, stage, self._note_taken)
            self._steps.update(self.sets.steps)

    async def run(self, faults: Sequence[Fault]) -> None:
        """All faults in their time; returns when the last is over."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for fault in faults:
                await asyncio.sleep(max(0.0, began + fault.at - time.monotonic()))
                tasks.create_task(self._carry_out(fault))

    async def _carry_out(self, fault: Fault) -> None:
        async with AsyncExitStack() as rooms:
            for target in _touched(fault):
                await rooms.enter_async_context(self._locks[f"{fault.room} {target}"])
            began = time.monotonic()
            await self._steps.get(fault.kind, self._wire)(fault)
            self._stage.history.note("fault", name=fault.kind, detail=fault.target, at=began, until=time.monotonic())

    # -- processes --------------------------------------------------------------------------------------------

    def _actor(self, fault: Fault) -> Actor:
        return self._stage.actors[fault.target]

    async def _kill(self, fault: Fault) -> None:
        await self._actor(fault).kill()
        await asyncio.sleep(fault.length)
        await self._actor(fault).start()

    async def _drain(self, fault: Fault) -> None:
        await self._stage.drain((fault.target,))
        await asyncio.sleep(fault.length)
        await self._actor(fault).start()

    async def _freeze(self, fault: Fault) -> None:
        self._actor(fault).signal(signal.SIGSTOP)
        await asyncio.sleep(fault.length)
        self._actor(fault).signal(signal.SIGCONT)

    async def _block(self, fault: Fault) -> None:
        self._actor(fault).tell(f"block {fault.length}")
        await asyncio.sleep(fault.length)

    async def _clock_jump(self, fault: Fault) -> None:
        self._actor(fault).tell(f"jump {fault.length}")

    # -- wires ------------------------------------------------------------------------------------------------

    async def _wire(self, fault: Fault) -> None:
        networks = [self._stage.networks[target] for target in _touched(fault)]
        for network in networks:
            _HARMS[fault.kind](network, fault.length)
        if fault.kind not in ("cut", "cut_reply"):
            await asyncio.sleep(fault.length)
            for network in networks:
                await network.heal()

    # -- the server -------------------------------------------------------------------------------------------

    async def _client_kill(self, _fault: Fault) -> None:
        async with self._client() as redis:
            await send(redis, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def _restart(self, fault: Fault) -> None:
        await asyncio.to_thread(self._stage.server.stop, signal.SIGKILL)
        await asyncio.sleep(fault.length)
        await asyncio.to_thread(self._stage.server.start)

    async def _wipe(self, fault: Fault) -> None:
        """Killed and started without its file; while it is looked at, nothing is written."""
        server = self._stage.server
        async with self._client() as redis:
            await send(redis, "CLIENT", "PAUSE", _LONGER_THAN_IT_TAKES_MS, "WRITE")
            seen = look.parse(await send(redis, "EVAL_RO", *_LOOK[1:]))
            await asyncio.to_thread(server.stop, signal.SIGKILL)
        self._note_taken(seen)
        server.wipe()
        await asyncio.sleep(fault.length)
        await asyncio.to_thread(server.start)

    async def _stop_server(self, fault: Fault) -> None:
        self._stage.server.freeze()
        await asyncio.sleep(fault.length)
        self._stage.server.thaw()

    async def _flushall(self, _fault: Fault) -> None:
        async with self._client() as redis:
            reply, *_ = await together(redis, _LOOK, ("FLUSHALL",))
        self._note_taken(look.parse(reply))

    async def _trim(self, fault: Fault) -> None:
        async with self._client() as redis:
            trim = ("XTRIM", LINES[fault.target].stream, "MAXLEN", KEPT)
            before, _, after = await together(redis, _LOOK, trim, _LOOK)
        self._note_taken({fault.target: look.parse(before)[fault.target]}, look.parse(after))

    async def _remove_consumers(self, _fault: Fault) -> None:
        """What an operator does who finds too many names: each is to go, also of those that run."""
        async with Connection(self._stage.where.url) as connection:
            groups = ConsumerGroupManager(connection)
            for line in LINES.values():
                try:
                    for consumer in await groups.list_consumers(line.stream, line.group):
                        await groups.delete_consumer(line.stream, line.group, consumer.name)
                except StreamNotFoundError:
                    continue  # a line that is not there just now

    def _note_taken(self, seen: dict[str, Seen], left: dict[str, Seen] | None = None) -> None:
        """What was there and is not any more; and the dead letters there were, as they may go too."""
        for name, one in seen.items():
            kept = left[name].open if left else {}
            for entry_id in one.open.keys() - kept.keys():
                self._stage.history.note("taken", line=name, id=entry_id, name=one.open[entry_id])
        self.note_dead(seen)

    def note_dead(self, seen: dict[str, Seen]) -> None:
        """Dead letters, as they are in Redis."""
        for name, one in seen.items():
            for letter_id, (entry_id, event) in one.dead.items():
                self._stage.history.note("dead", line=name, id=entry_id, name=event, detail=letter_id)

    async def look(self) -> dict[str, Seen]:
        """What Redis has now."""
        if self.sets is not None:
            return await self.sets.look()
        async with self._client() as redis:
            return look.parse(await send(redis, *_LOOK))

    def _client(self) -> AbstractAsyncContextManager[Redis]:
        return client(self._stage.server.url)


_LOOK = look.command()


def _touched(fault: Fault) -> Sequence[str]:
    if fault.room == "server":
        return ("server",)
    return PROCESSES if fault.target == ALL else (fault.target,)


_HARMS: dict[str, Callable[[Proxy, float], None]] = {
    "latency": lambda network, _: network.delay(LATENCY),
    "partition": lambda network, _: network.partition(),
    "no_requests": lambda network, _: network.partition("requests"),
    "no_replies": lambda network, _: network.partition("replies"),
    "half_open": lambda network, _: network.black_hole(),
    "refuse": lambda network, _: network.refuse(),
    "cut": lambda network, _: network.cut(),
    "cut_reply": lambda network, nbytes: network.cut_reply_after(round(nbytes)),
    "drip": lambda network, _: network.drip_slowly(DROP),
}

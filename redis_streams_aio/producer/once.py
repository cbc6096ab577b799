"""Send an event with an event id, and send it again if Redis did not answer, where that cannot make a second entry.

That is so only where the server recognises the repetition (`XADD IDMP`, Redis 8.6.2 and later). There each event gets
an identity of its own, and the answer to its repetition is the id of the entry that the first one made. The event id is
not that identity: two calls with one event id are two entries, on every server, and consumers drop the second.

An event is repeated while all of this holds, and otherwise fails with `UnansweredError`, as on other servers:

* Its `command_timeout` is not over.
* The stream remembers an identity for longer than any repetition may take, and for each producer name at least as many
  identities as we give it (`XINFO STREAM` says both; both can be configured). A deleted stream has forgotten nothing.
* No more than `_NAMES * _OF_EACH` later events were published. Redis remembers the newest 100 of each producer, so the
  events of a link go by several producer names in turn.

When the repetition fails in another way, the error is that of the first try: that one may have been executed. A server
that refuses an identity executes nothing; the event is sent without, and the node is known to lack the capability.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from ..connection import Connection
from ..connection.backoff import delays
from ..connection.capabilities import IDMP
from ..connection.replies import Answer
from ..connection.steps.once import Identity, Memory, identified, memory_of
from ..exceptions import RedisStreamsError, RedisUnavailableError, ServerError, StreamNotFoundError, UnansweredError

if TYPE_CHECKING:
    from ..connection.link import Link

Resend = Callable[[bytes], Awaitable[Answer]]
"""Sends a packed command to the stream, and again while Redis refuses it, until the call gives up."""

_OF_EACH = 100
"""The number of events that go by one producer name in turn: as many as a stream remembers by default."""
_NAMES = 32
"""The number of producer names of a link. An identity takes 41 bytes in Redis: 130 KB for each stream at most."""

_KNOWN_FOR = 1.0
"""Seconds for which the memory of a stream is not asked for again."""


class Numbers:
    """Identities of the events of one link. Another process, or another opening, has another link."""

    def __init__(self) -> None:
        self._producer = os.urandom(8).hex().encode()
        self._count = 0

    def next(self) -> int:
        """Return the number of the next event."""
        self._count += 1
        return self._count

    def identity(self, number: int) -> Identity:
        """Return the identity of an event."""
        name = number // _OF_EACH % _NAMES
        return Identity(b"%b-%d" % (self._producer, name), b"%d" % number)

    def is_recent(self, number: int) -> bool:
        """Whether no later event has begun to use the producer name of this event again."""
        return self._count // _OF_EACH - number // _OF_EACH < _NAMES


class Memories:
    """Asks streams for their memory. Callers that lost their answers together ask once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._asking = asyncio.Lock()
        self._known = ("", Memory(0, 0), 0.0)

    async def of(self, stream: str) -> Memory:
        """Return the memory of a stream. Raises the errors of `memory_of`."""
        async with self._asking:
            known, memory, asked_at = self._known
            if known != stream or monotonic() - asked_at > _KNOWN_FOR:
                memory = await memory_of(self._connection, stream)
                self._known = (stream, memory, monotonic())
            return memory


class Once:
    """Sends events with identities for one publisher."""

    def __init__(self, connection: Connection, command_timeout: float) -> None:
        self._connection = connection
        self._command_timeout = command_timeout
        self._by_link: WeakKeyDictionary[Link, tuple[Numbers, Memories]] = WeakKeyDictionary()

    def is_possible(self, stream: str) -> bool:
        """Whether the server of a stream recognises repetitions, as far as it is known."""
        return IDMP in self._connection.node_of(stream).capabilities

    async def send(self, resend: Resend, packed: bytes, stream: str, give_up: float) -> Answer:
        """Send an event, and again while it is unanswered. Raises `NotOpenError`."""
        link = self._connection.link("publish", stream)
        if (of_link := self._by_link.get(link)) is None:
            of_link = self._by_link[link] = (Numbers(), Memories(self._connection))
        numbers, memories = of_link
        number = numbers.next()
        named = identified(packed, numbers.identity(number))
        answer = await resend(named)
        if type(answer) is ServerError:
            return await self._without(resend, packed, stream)
        waits = delays()
        while isinstance(answer, UnansweredError) and await self._may_repeat(memories, stream, give_up, waits):
            if not numbers.is_recent(number):
                break
            again = await resend(named)
            if not isinstance(again, UnansweredError):
                return again if isinstance(again, bytes) else answer
        return answer

    async def _without(self, resend: Resend, packed: bytes, stream: str) -> Answer:
        """Send an event without an identity, to a server that refused one."""
        answer = await resend(packed)
        if isinstance(answer, bytes):
            self._connection.node_of(stream).lacks(IDMP)
        return answer

    async def _may_repeat(self, memories: Memories, stream: str, give_up: float, waits: Iterator[float]) -> bool:
        """Wait a moment, and whether the stream still knows an event that was sent in this call."""
        for wait in waits:
            if monotonic() + wait >= give_up:
                return False
            await asyncio.sleep(wait)
            try:
                async with asyncio.timeout(give_up - monotonic()):
                    return self._suffices(await memories.of(stream))
            except StreamNotFoundError:
                return True
            except RedisUnavailableError:
                continue
            except (RedisStreamsError, TimeoutError):
                return False
        return False

    def _suffices(self, memory: Memory) -> bool:
        """Whether an event is remembered until its last repetition has left, which may wait for as long as its call."""
        return memory.seconds > 2 * self._command_timeout and memory.identities >= _OF_EACH

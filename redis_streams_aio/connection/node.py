"""`Node`: one server that connections lead to, and what they learn of it together.

Redis does not close the connections to a primary that is demoted. One of them is told so when it writes or reads new
entries; others may go on asking a replica that is behind, and believe that what they hold is not theirs. So what one of
them learns is true for all that were made before: each connection has the `turn` of its node at which it was made, and
one of an older turn is not used again.

All connections to a node share one backoff:

* *open*: nobody failed lately. Every link and reader connects at once.
* *shut* until a time, because connecting failed. Then the first one that asks has the turn and connects, while the
  others wait for what becomes of it: a thousand readers cost an absent Redis no more than one. When a connection comes
  about, the node is open for all.
* *shut* until a time, because new connections lead to the wrong node. Then it is open for all: connecting
  alone does not show whether the address leads elsewhere by now.

Used by the threads of a process at once: all that is stored are numbers, and an error to show.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from time import monotonic

from ..exceptions import RedisUnavailableError, WrongNodeError
from . import capabilities
from .backoff import jittered, longer
from .home import Socket
from .replies import Server
from .verdicts import REDIAL, Move, Verdict

FIRST = 0.4
"""Seconds, half of it at random: a failover takes longer, and to connect costs several commands."""
STEADY = 5.0
"""Seconds without such a refusal after which the backoff starts from the beginning."""
LOOK = 0.25
"""Seconds between two looks at whether another connection has come about."""
PATIENCE = 0.5
"""Seconds that a reader waits for its turn before it says why there is no connection."""

SILENCE = 0.5
"""Seconds without an answer after which it is asked whether a node still has its keys, where there are others."""

Dialled = tuple[Socket, Server]
"""An open connection that is authenticated and checked, and the server that it leads to."""


class Node:
    """One server, as the connections of this process know it.

    `dial` connects to where it is now, `after` says what an error means there, and `where` names it in errors.
    """

    def __init__(
        self,
        dial: Callable[[], Awaitable[Dialled]],
        after: Callable[[WrongNodeError], Verdict | Move],
        where: str,
        *,
        silent: Callable[[], None] | None = None,
    ) -> None:
        self._dial = dial
        self._after = after
        self.silent: Callable[[], None] = silent or _nothing
        """Called when a command is not answered for `longest_silence`: another node may have its keys by now."""
        self.longest_silence: float = math.inf if silent is None else SILENCE
        self.where: str = where
        self.turn: int = 0
        """How often connections turned out to lead to the wrong server."""
        self.capabilities: frozenset[str] = frozenset()
        """The newer commands that the server has, as far as they are known: none before the first connection."""
        self.server: tuple[str, str] = ("", "")
        """Name and version of the server, as far as they are known."""
        self._reason: RedisUnavailableError = RedisUnavailableError(f"{where}: no connection yet")
        self._not_before = 0.0
        self._away = 0.0
        """The pause after the last failure; 0: the last connection came about."""
        self._failed_at = 0.0
        self._wrong = 0.0
        """The pause after the last connection that led to the wrong server."""
        self._wrong_until = 0.0

    async def dial(self) -> Dialled:
        """Connect; all others learn whether that worked. Ask `wait` before. Raises the errors of `dial.dial`."""
        began = monotonic()
        try:
            dialled = await self._dial()
        except RedisUnavailableError as error:
            self._note_failure(error, began)
            raise
        if self._away:
            self._away = 0.0
            self._not_before = self._wrong_until
        self._note_server(dialled[1])
        return dialled

    def _note_server(self, server: Server) -> None:
        """Learn what the server can, unless it is the one of before, which may have been found to lack something."""
        if self.server != (server.name, server.version):
            self.server = (server.name, server.version)
            self.capabilities = capabilities.found(server)

    def lacks(self, capability: str) -> None:
        """Learn that the server refused what it should be capable of."""
        self.capabilities -= {capability}

    def _note_failure(self, error: RedisUnavailableError, began: float) -> None:
        """Shut the node. Connections that were begun before another one failed count with that one."""
        self._reason = error
        if began >= self._failed_at:
            self._failed_at = monotonic()
            self._away = longer(self._away)
            self._not_before = max(self._wrong_until, self._failed_at + jittered(self._away))

    def heard(self, turn: int, error: WrongNodeError) -> None:
        """Learn what a connection of that turn was answered. The first to say so counts, others only repeat it."""
        if turn != self.turn or self._after(error) is not REDIAL:
            return
        now = monotonic()
        self._wrong = longer(0 if now > self._wrong_until + STEADY else self._wrong, FIRST)
        self._wrong_until = self._not_before = now + jittered(self._wrong)
        self._reason = error
        self.turn += 1

    def moved(self) -> None:
        """Learn that another server is the node now: connections are of an older turn, and the next need not wait."""
        self._away = self._wrong = self._not_before = self._wrong_until = 0.0
        self.turn += 1

    def wait(self) -> float:
        """Return 0 when the caller is to connect now, else the seconds until it should ask again."""
        now = monotonic()
        if now < self._not_before:
            return min(self._not_before - now, LOOK)
        if self._away:  # the caller has the turn, and the others wait for what becomes of it
            self._not_before = now + jittered(longer(self._away))
        return 0.0

    async def until_open(self) -> None:
        """Wait until the caller is to connect. Raises the reason when that takes long."""
        give_up = monotonic() + PATIENCE
        while wait := self.wait():
            if monotonic() >= give_up:
                raise self.reason()
            await asyncio.sleep(wait)

    def reason(self) -> RedisUnavailableError:
        """Return the error for those who wait: why there is no connection."""
        return type(self._reason)(*self._reason.args)  # one of the caller's own, because it is raised


def _nothing() -> None:
    """There is no other node to ask."""

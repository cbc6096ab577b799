"""Durable publishing: a call returns when enough copies of its events are confirmed (`durability`).

| `durability` | returns when | by |
|---|---|---|
| `memory` (default) | the primary has the event in its memory | the reply to `XADD` |
| `replicated` | that many replicas (`replicas` of the stream, 1 by default) have it in their memories | `WAIT` |
| `disk` | the primary has written it to its disk | `WAITAOF` |

The events are added first, and consumers may handle them at once; then the copies are counted. The count is compared
with the count asked for.

When things fail:

* Too few copies after half of `command_timeout`, or a server that refuses the question: `NotDurableError`, with the ids
  of the events, which are there. Later events of the same call are still published, and not waited for.
* The server cannot be asked (no `WAITAOF`): `UnsupportedServerError`, before anything is sent.
* An event with an event id was sent again because its answer was lost (`once`): Redis recognised it, and wrote nothing
  on that connection whose copies could be counted. That is told as `NotDurableError` too.
"""

from __future__ import annotations

from typing import get_args

from ..checks import values
from ..config import Settings
from ..connection import Connection
from ..connection.replies import Answer
from ..connection.steps.copies import Copies, confirmed
from ..events.outgoing import Durability
from ..exceptions import InvalidEventError, NotDurableError, RedisStreamsError, UnansweredError, UnsupportedServerError
from .resending import Ask
from .rounds import Rounds

_KNOWN = get_args(Durability)


class Durably:
    """Knows which streams of a publisher ask for copies, and has the rounds that count them."""

    def __init__(self, connection: Connection, settings: Settings, plain: Ask) -> None:
        self._connection = connection
        self._settings = settings
        self._plain = plain
        self._patience = settings.command_timeout / 2
        self._rounds = Rounds(connection, max(1, round(self._patience * 1000)))
        self.streams: frozenset[str] = frozenset(
            name for name, each in settings.streams.items() if each.durability != "memory"
        )
        """The streams whose events are published durably by default."""

    def confirming(self, stream: str, durability: Durability | None) -> Confirming | None:
        """Return the means to publish durably; `None` where the reply to `XADD` is enough.

        Raises `InvalidEventError`, `UnsupportedServerError`.
        """
        options = self._settings.stream(stream)
        kind = options.durability if durability is None else durability
        if kind not in _KNOWN:
            raise InvalidEventError(f"durability={values.shown(kind)}: expected one of {', '.join(map(repr, _KNOWN))}")
        if kind == "memory":
            return None
        copies = Copies(kind, options.replicas if kind == "replicated" else 1)
        if lacking := copies.lacking(*self._connection.node_of(stream).server):
            raise UnsupportedServerError(f"stream {stream!r}: {lacking}")
        return Confirming(self._rounds, copies, self._plain, self._patience)


class Confirming:
    """Sends the events of one call with their question, and remembers whether a count was too small."""

    def __init__(self, rounds: Rounds, copies: Copies, plain: Ask, patience: float) -> None:
        self._rounds = rounds
        self._copies = copies
        self._plain = plain
        self._patience = patience
        self._unanswered = False
        self._missed: tuple[int, str] | None = None
        """How many copies there were at least, and why that is not enough."""

    async def ask(self, packed: list[bytes], stream: str) -> list[Answer]:
        """Send events with the question; without it once that was missed. The same as `Publisher` sends them else."""
        if self._missed is not None:
            return await self._plain(packed, stream)
        answers, count = await self._rounds.send(packed, stream, self._copies)
        if any(isinstance(answer, bytes) for answer in answers):
            self._missed = self._missing(count)
        self._unanswered = any(isinstance(answer, UnansweredError) for answer in answers)
        return answers

    def _missing(self, answer: Answer) -> tuple[int, str] | None:
        asked, name = self._copies.number, str(self._copies.question(0)[0])
        if self._unanswered:
            return 0, "an answer was lost and the event was sent again, so its copies cannot be counted"
        if isinstance(answer, RedisStreamsError):
            return 0, f"{name} was refused: {answer}"
        try:
            reached = confirmed(self._copies, answer)
        except RedisStreamsError as error:
            return 0, str(error)
        if reached >= asked:
            return None
        return reached, f"{reached} of {asked} {self._copies.where} confirmed in {self._patience:g} s"

    def check(self, ids: list[str], stream: str) -> None:
        """Raise `NotDurableError` if not all of these events have the copies asked for."""
        if self._missed is not None:
            reached, why = self._missed
            raise NotDurableError(ids, f"stream {stream!r}: {why}", reached, self._copies.number)

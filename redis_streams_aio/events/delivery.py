"""`Delivery`: one entry in the hands of this process, what a handler is told about it, and what it may say of it.

A delivery is born when Redis hands the entry to this consumer, and ends when it is settled (acknowledged,
dead-lettered, released) or lost to another consumer. It is the one mutable word of the library: `failures` grows,
`lost` may become true, and a handler may leave instructions (`ack`, `retry`, `reject`, `publish`). These are carried
out when it has ended; nothing is sent while it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from ..exceptions import InvalidEventError, Reject, RetryLater, SettledError
from ..models import EventMessage, History
from .keys import on_one_slot, sibling
from .wire_format import Fields, attributes

_MOST_ARGUMENTS = 7000
"""What a Lua script can pass on to one command."""
_NO_HEADERS: Mapping[str, str] = {}
Command = tuple[str | bytes | float, ...]
Compose = Callable[..., Command]
"""Makes the XADD of an event, with the options of `Broker.publish`. Raises `InvalidEventError`."""


class FollowUp(msgspec.Struct, frozen=True):
    """An event that a handler publishes together with its own event's acknowledgement."""

    command: Command
    """The whole XADD."""
    atomic: bool


class Instructions:
    """What a handler has told its delivery."""

    __slots__ = ("decided", "error", "follow_ups")

    def __init__(self) -> None:
        self.decided: bool = False
        """Whether it said `ack`, `retry` or `reject`; an error that it raises then decides nothing."""
        self.error: BaseException | None = None
        """To be decided on as if the handler had raised it; `None`: acknowledge."""
        self.follow_ups: list[FollowUp] = []


class Origin:
    """What all deliveries of a subscription share."""

    __slots__ = ("compose", "stream")

    def __init__(self, stream: str, compose: Compose | None = None) -> None:
        self.stream: str = stream
        self.compose: Compose | None = compose


class Delivery:
    """What a handler may ask for beside the payload: `async def bill(order: OrderPlaced, delivery: Delivery)`."""

    __slots__ = (
        "deliveries",
        "due",
        "failing_since",
        "failures",
        "fate",
        "fields",
        "first_failure",
        "history",
        "instructions",
        "lane",
        "lost",
        "origin",
        "payload",
        "prepared",
        "raw_id",
        "recorded",
        "refusal",
        "settled",
    )

    def __init__(self, origin: Origin, raw_id: bytes, fields: Fields, deliveries: int = 1) -> None:
        self.origin: Origin = origin
        self.raw_id: bytes = raw_id
        """The entry id as Redis sent it."""
        self.fields: Fields = fields
        """The entry's field names and values in turn, as they are in Redis."""
        self.deliveries: int = deliveries
        """How often Redis has handed the entry out, this time included."""
        self.failures: int = 0
        """How often a handler has raised on it, over all consumers and restarts; from 0 again after a replay."""
        self.first_failure: float = 0.0
        """When a handler first raised on it, in epoch seconds of Redis's clock; 0 before that."""
        self.failing_since: float = 0.0
        """The same moment on the event loop's clock."""
        self.history: History | None = None
        """What became of it before it was replayed from the dead letters; `None`: it never was."""
        self.recorded: bool = False
        """Whether Redis has a failure record of it."""
        self.due: float = 0.0
        """When it is to be looked at again: its retry, its copy, its unwritten fate; on the event loop's clock, which
        is `time.monotonic`; 0: at once."""
        self.fate: object = None
        """What was decided on it and Redis could not take yet (`retry.Outcome`)."""
        self.lost: bool = False
        """True once the lease was lost: another consumer may be handling this event now."""
        self.settled: bool = False
        """True while the write that ends it is under way, and after it; false again where Redis refuses that write."""
        self.lane: object = None
        """Deliveries of one lane are handled one after another; `None` waits for no other (see `consumer.schedule`)."""
        self.prepared: bool = False
        """Whether it was decoded: `payload` or `refusal` is set."""
        self.payload: object = None
        """The decoded payload."""
        self.refusal: BaseException | None = None
        """Why it could not be decoded, or what its key function raised."""
        self.instructions: Instructions | None = None
        """What the handler has told it; `None`: nothing."""

    @property
    def id(self) -> str:
        """The entry id."""
        return self.raw_id.decode()

    @property
    def stream(self) -> str:
        """The stream it came from."""
        return self.origin.stream

    @property
    def event(self) -> EventMessage[object]:
        """The event: id, type, headers, key, payload. Made when it is asked for."""
        known = attributes(self.fields)
        return EventMessage(
            id=self.id,
            stream=self.stream,
            event_type=known.event_type,
            payload=self.payload,
            key=known.key,
            event_id=known.event_id,
            headers=known.headers,
        )

    # -- what a handler may say of it -------------------------------------------------------------------------

    def ack(self) -> None:
        """Acknowledge it when the handler has ended, also if it ends by raising. Raises `SettledError`."""
        self._decide(None)

    def retry(self, delay: float) -> None:
        """Have it handled again, not before `delay` seconds after the handler has ended; no failure is counted.

        The same as raising `RetryLater`, for handlers that want to go on. Raises `SettledError`, `ValueError`.
        """
        self._decide(RetryLater(delay))

    def reject(self, reason: str) -> None:
        """Move it to the dead letters when the handler has ended, as raising `Reject` does. Raises `SettledError`."""
        self._decide(Reject(reason))

    def fail(self, error: Exception) -> None:
        """Have the retry policy decide when the handler has ended, as if it raised `error`. Raises `SettledError`."""
        if not isinstance(error, BaseException):
            raise TypeError(f"fail(error): expected an exception, such as ValueError('...'), not {error!r:.80}")
        self._decide(error)

    def publish(
        self,
        stream: str,
        payload: object,
        *,
        event_type: str | None = None,
        key: str | None = None,
        event_id: str | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        atomic: bool = True,
    ) -> None:
        """Publish an event in one atomic step with this event's acknowledgement: both happen, or neither.

        Nothing is sent before the handler has ended, and nothing at all when it fails: a retry publishes anew. What
        is sent is sent once for each entry, whoever handles it. The options are those of `Broker.publish`.

        Atomic is only what is on one slot of a Cluster, so `stream` must have the same hash tag as the handler's
        stream (`{orders}:invoices` beside `orders`), also where there is no Cluster yet. `atomic=False` has the event
        sent to any stream before the acknowledgement, at least once: a crash in between, or an answer that is lost,
        sends it again. Raises `SettledError`, `InvalidEventError` and what `Broker.publish` raises before the network.
        """
        if self.origin.compose is None:
            raise InvalidEventError(f"{self}: was not read by a broker, which alone can publish with it")
        command = self.origin.compose(
            stream, payload, event_type=event_type, key=key, event_id=event_id, headers=headers
        )
        if atomic and not on_one_slot(stream, self.stream):
            raise InvalidEventError(
                f"stream: {stream!r} is on another Cluster slot than {self.stream!r}, so the two cannot be written in "
                f"one step; name it e.g. {sibling(self.stream, stream)!r}, or say atomic=False to have the event sent "
                "before the acknowledgement"
            )
        if atomic and len(command) > _MOST_ARGUMENTS:
            raise InvalidEventError(
                f"headers: {len(headers)} are more than Redis writes in one step; atomic=False sends them before it"
            )
        self._instructions().follow_ups.append(FollowUp(command, atomic))

    def _decide(self, error: BaseException | None) -> None:
        instructions = self._instructions()
        instructions.decided = True
        instructions.error = error

    def _instructions(self) -> Instructions:
        if self.settled or self.fate is not None or self.due > time.monotonic():
            raise SettledError(f"{self}: its fate is decided; say what becomes of it before the handler returns")
        if self.instructions is None:
            self.instructions = Instructions()
        return self.instructions

    def __repr__(self) -> str:
        lost = ", lost" if self.lost else ""
        return f"<Delivery {self.stream} {self.id}: delivery {self.deliveries}, {self.failures} failures{lost}>"

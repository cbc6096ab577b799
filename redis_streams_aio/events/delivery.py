"""`Delivery`: one entry that this process holds, with the methods by which a handler decides its fate.

A delivery begins when Redis delivers the entry to this consumer. It ends when the entry is settled (acknowledged or
dead-lettered), released, or lost to another consumer. A delivery is mutable: `failures` grows, `lost` may become true,
and a handler may leave instructions (`ack`, `retry`, `reject`, `fail`, `publish`). Instructions take effect when the
handler has ended; nothing is sent while it runs.
"""

from __future__ import annotations

import msgspec

from ..checks.signatures import taking
from ..exceptions import InvalidEventError, Reject, RetryLater, SettledError
from ..models import EventMessage, History
from .keys import on_one_slot, sibling
from .outgoing import Command, Compose, Outgoing
from .wire_format import Fields, attributes

_MOST_ARGUMENTS = 7000
"""The most arguments that a Lua script can pass to one command."""


class FollowUp(msgspec.Struct, frozen=True):
    """An event that a handler publishes together with its own event's acknowledgement."""

    command: Command
    """The complete `XADD`."""
    atomic: bool


class WithAcknowledgement(Outgoing, frozen=True, kw_only=True):
    """Publish an event in one atomic step with this event's acknowledgement: both happen, or neither.

    The event is sent when the handler has ended. If the handler fails, the event is not sent; a retry calls `publish`
    again. Each entry sends its events once, even if two consumers handle it. `event_type`, `key`, `event_id` and
    `headers` are those of `Broker.publish`.

    `atomic`: one atomic step can only write to one slot of a Cluster. So `stream` must have the same hash tag as the
    handler's stream (`{orders}:invoices` beside `orders`), even if there is no Cluster yet. With `atomic=False` the
    event can go to any stream; it is sent before the acknowledgement, at least once: after a crash in between, or a
    lost answer, it is sent again.

    Raises `SettledError`, `InvalidEventError`, and the errors that `Broker.publish` raises before sending.
    """

    atomic: bool = True


class Instructions:
    """The instructions that a handler has left on its delivery."""

    __slots__ = ("decided", "error", "follow_ups")

    def __init__(self) -> None:
        self.decided: bool = False
        """Whether the handler has decided the fate; an error that it raises then changes nothing."""
        self.error: BaseException | None = None
        """The error to decide on, as if the handler had raised it; `None` to acknowledge."""
        self.follow_ups: list[FollowUp] = []


class Origin:
    """The values that all deliveries of a subscription share."""

    __slots__ = ("compose", "stream")

    def __init__(self, stream: str, compose: Compose | None = None) -> None:
        self.stream: str = stream
        self.compose: Compose | None = compose


class Delivery:
    """The second parameter of a handler: `async def bill(order: OrderPlaced, delivery: Delivery)`."""

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
        """How often Redis has delivered the entry, this time included."""
        self.failures: int = 0
        """How often handlers failed on the event, over all consumers and restarts; 0 again after a replay."""
        self.first_failure: float = 0.0
        """When a handler first failed on the event, in epoch seconds of Redis's clock; 0 if none did."""
        self.failing_since: float = 0.0
        """The same moment on the broker's clock; 0 before that."""
        self.history: History | None = None
        """The event's history before it was replayed from the dead letters; `None` if it was not replayed."""
        self.recorded: bool = False
        """Whether Redis has a failure record of the entry."""
        self.due: float = 0.0
        """When the delivery is due again: its retry, its copy or its unwritten fate, on the broker's clock; 0: now."""
        self.fate: object = None
        """The fate that could not be written to Redis yet (`fates.Fate`)."""
        self.lost: bool = False
        """Whether the lease was lost: another consumer may be handling this event now."""
        self.settled: bool = False
        """Whether its fate is being written or is written; false again if Redis refuses the write."""
        self.lane: object = None
        """Deliveries of one lane are handled one after another; with `None` it waits for no other delivery."""
        self.prepared: bool = False
        """Whether decoding was tried: then `payload` or `refusal` is set."""
        self.payload: object = None
        """The decoded payload."""
        self.refusal: BaseException | None = None
        """The error of the decoder or of the key function."""
        self.instructions: Instructions | None = None
        """The handler's instructions; `None` if there are none."""

    @property
    def id(self) -> str:
        """The entry id."""
        return self.raw_id.decode()

    @property
    def stream(self) -> str:
        """The name of the stream that the entry is in."""
        return self.origin.stream

    @property
    def event(self) -> EventMessage[object]:
        """The event with id, type, headers, key and payload. Created at each access."""
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

    # -- what a handler may decide ----------------------------------------------------------------------------

    def ack(self) -> None:
        """Acknowledge the event when the handler has ended, even if it raises. Raises `SettledError`."""
        self._decide(None)

    def retry(self, delay: float) -> None:
        """Retry the event, not before `delay` seconds after the handler has ended. This is not counted as a failure.

        It has the same effect as raising `RetryLater`, but the handler can continue. Raises `SettledError`, and
        `ConfigError` for a wrong delay.
        """
        self._decide(RetryLater(delay))

    def reject(self, reason: str) -> None:
        """Move the event to the dead letters when the handler has ended, like `Reject`. Raises `SettledError`."""
        self._decide(Reject(reason))

    def fail(self, error: Exception) -> None:
        """Let the retry policy decide when the handler has ended, as if it had raised `error`.

        Raises `SettledError`.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"fail(error): expected an exception, e.g. ValueError('...'), not {error!r:.80}")
        self._decide(error)

    @taking(WithAcknowledgement)
    def publish(self, *event: object, **options: object) -> None:
        """Keep an event for the handler's end. Users see the docstring of `WithAcknowledgement`."""
        following = WithAcknowledgement(*event, **options)  # type: ignore[arg-type]  # the signature checks them
        if self.origin.compose is None:
            raise InvalidEventError(f"{self}: was not read by a broker; only a broker's deliveries can publish")
        command = self.origin.compose(following)
        if following.atomic:
            self._check_atomic(following, command)
        self._instructions().follow_ups.append(FollowUp(command, following.atomic))

    def _check_atomic(self, event: Outgoing, command: Command) -> None:
        """Raise `InvalidEventError` for an event that cannot be written in one step with the acknowledgement."""
        if not on_one_slot(event.stream, self.stream):
            raise InvalidEventError(
                f"stream: {event.stream!r} is on another Cluster slot than {self.stream!r}, so the two cannot be "
                f"written in one step; name it e.g. {sibling(self.stream, event.stream)!r}, or set atomic=False to "
                "send the event before the acknowledgement"
            )
        if len(command) > _MOST_ARGUMENTS:
            count = len(event.headers)
            raise InvalidEventError(f"headers: {count} are more than Redis writes in one step; set atomic=False")

    def _decide(self, error: BaseException | None) -> None:
        instructions = self._instructions()
        instructions.decided = True
        instructions.error = error

    def _instructions(self) -> Instructions:
        if self.settled or self.fate is not None or self.due:
            raise SettledError(f"{self}: its fate is already decided; call this before the handler returns")
        if self.instructions is None:
            self.instructions = Instructions()
        return self.instructions

    def __repr__(self) -> str:
        lost = ", lost" if self.lost else ""
        return f"<Delivery {self.stream} {self.id}: delivery {self.deliveries}, {self.failures} failures{lost}>"

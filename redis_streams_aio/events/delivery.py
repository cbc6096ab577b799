"""`Delivery`: one entry as its handler sees it, with the methods by which the handler decides its fate.

A delivery is made for one attempt, and only for a handler or a middleware that takes it. The engine's own record of the
entry is behind it (`consumer.entry`), and changes while the handler runs: `lost` may become true. The handler may leave
instructions (`ack`, `retry`, `reject`, `fail`, `publish`). They take effect when the handler has ended; nothing is sent
while it runs. From then on the delivery is closed, and refuses further instructions.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from ..checks.signatures import taking
from ..exceptions import InvalidEventError, Reject, RetryLater, SettledError
from ..models import EventMessage, History
from .follow_ups import FollowUp, WithAcknowledgement
from .keys import on_one_slot, sibling
from .outgoing import Command, Compose, Outgoing, Through
from .wire_format import Fields, attributes

_MOST_ARGUMENTS = 7000
"""The most arguments that a Lua script can pass to one command."""


class HandlerInstructions:
    """The instructions that a handler has left on its delivery."""

    __slots__ = ("decided", "error", "follow_ups")

    def __init__(self) -> None:
        self.decided: bool = False
        """Whether the handler has decided the fate; an error that it raises then changes nothing."""
        self.error: BaseException | None = None
        """The error to decide on, as if the handler had raised it; `None` to acknowledge."""
        self.follow_ups: list[FollowUp] = []


class Held(Protocol):
    """The part of the engine's record of an entry that a delivery shows."""

    @property
    def raw_id(self) -> bytes:
        """The entry id as Redis sent it."""
        ...

    @property
    def fields(self) -> Fields:
        """The entry's field names and values in turn."""
        ...

    @property
    def payload(self) -> object:
        """The decoded payload."""
        ...

    @property
    def deliveries(self) -> int:
        """How often Redis has delivered the entry, this time included."""
        ...

    @property
    def failures(self) -> int:
        """How often handlers failed on the event."""
        ...

    @property
    def first_failure(self) -> float:
        """When a handler first failed on the event, in epoch seconds; 0 if none did."""
        ...

    @property
    def history(self) -> History | None:
        """The event's history before it was replayed; `None` if it was not replayed."""
        ...

    @property
    def settled(self) -> bool:
        """Whether the fate of the entry is being written, or is written."""
        ...

    @property
    def lost(self) -> bool:
        """Whether the lease was lost."""
        ...


class Receiver(NamedTuple):
    """Who handles an entry: all deliveries of one handler in one subscription share it."""

    stream: str
    group: str
    consumer: str
    handler: str
    compose: Compose | None = None
    """Makes the command of an event that a handler publishes; `None`: there is no producer, and handlers cannot."""


def event_of(entry: Held, stream: str) -> EventMessage[object]:
    """Return the event in an entry of a stream."""
    known = attributes(entry.fields)
    return EventMessage(
        id=entry.raw_id.decode(),
        stream=stream,
        event_type=known.event_type,
        payload=entry.payload,
        key=known.key,
        event_id=known.event_id,
        headers=known.headers,
    )


class Delivery:
    """The second parameter of a handler: `async def bill(order: OrderPlaced, delivery: Delivery)`."""

    __slots__ = ("_closed", "_entry", "_instructions", "_receiver")

    def __init__(self, entry: Held, receiver: Receiver) -> None:
        self._entry = entry
        self._receiver = receiver
        self._instructions: HandlerInstructions | None = None
        self._closed = False

    @property
    def id(self) -> str:
        """The entry id."""
        return self._entry.raw_id.decode()

    @property
    def stream(self) -> str:
        """The name of the stream that the entry is in."""
        return self._receiver.stream

    @property
    def group(self) -> str:
        """The name of the group that handles the entry."""
        return self._receiver.group

    @property
    def consumer(self) -> str:
        """The name of this process's consumer in the group."""
        return self._receiver.consumer

    @property
    def handler(self) -> str:
        """The name of the handler."""
        return self._receiver.handler

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1: one more than the failures so far. `RetryLater` does not count."""
        return self._entry.failures + 1

    @property
    def deliveries(self) -> int:
        """How often Redis has delivered the entry, this time included."""
        return self._entry.deliveries

    @property
    def failures(self) -> int:
        """How often handlers failed on the event, over all consumers and restarts; 0 again after a replay."""
        return self._entry.failures

    @property
    def first_failure(self) -> float:
        """When a handler first failed on the event, in epoch seconds of Redis's clock; 0 if none did."""
        return self._entry.first_failure

    @property
    def history(self) -> History | None:
        """The event's history before it was replayed from the dead letters; `None` if it was not replayed."""
        return self._entry.history

    @property
    def settled(self) -> bool:
        """Whether the fate of the event is decided, and is being written or is written."""
        return self._entry.settled

    @property
    def lost(self) -> bool:
        """Whether the lease was lost: another consumer may be handling this event now."""
        return self._entry.lost

    @property
    def payload(self) -> object:
        """The decoded payload of the event."""
        return self._entry.payload

    @property
    def event(self) -> EventMessage[object]:
        """The event with id, type, headers, key and payload. Created at each access."""
        return event_of(self._entry, self.stream)

    # -- decisions of the handler -----------------------------------------------------------------------------

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
        command = self._composed(following, atomic=following.atomic)
        self._instructed().follow_ups.append(FollowUp(command, following.atomic, following))

    def _composed(self, following: Outgoing, *, atomic: bool) -> Command:
        if self._receiver.compose is None:
            raise InvalidEventError(f"{self}: was not read by a broker; only a broker's deliveries can publish")
        command = self._receiver.compose(following)
        if atomic:
            self._check_atomic(following, command)
        return command

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
        instructions = self._instructed()
        instructions.decided = True
        instructions.error = error

    def _instructed(self) -> HandlerInstructions:
        if self._closed:
            raise SettledError(f"{self}: its fate is already decided; call this before the handler returns")
        if self._instructions is None:
            self._instructions = HandlerInstructions()
        return self._instructions

    def __repr__(self) -> str:
        lost = ", lost" if self.lost else ""
        return f"<Delivery {self.stream} {self.id}: delivery {self.deliveries}, {self.failures} failures{lost}>"


def instructions_of(delivery: Delivery | None) -> HandlerInstructions | None:
    """Return the instructions that a handler has left so far; `None` if there are none."""
    return None if delivery is None else delivery._instructions  # noqa: SLF001  # hidden from handlers only


def close(delivery: Delivery | None) -> HandlerInstructions | None:
    """Refuse further instructions, because the handler has ended, and return those that it has left."""
    if delivery is None:
        return None
    delivery._closed = True  # noqa: SLF001  # hidden from handlers only
    return delivery._instructions  # noqa: SLF001


async def pass_on(delivery: Delivery, through: Through) -> None:
    """Let the follow-ups that a handler has left go through the publish middleware, each once. Raises its errors."""
    told = delivery._instructions  # noqa: SLF001  # hidden from handlers only
    for place, each in enumerate(() if told is None else told.follow_ups):
        if told is not None and each.event is not None:
            passed = await through(each.event)
            command = delivery._composed(passed, atomic=each.atomic)  # noqa: SLF001  # see above
            told.follow_ups[place] = FollowUp(command, each.atomic)

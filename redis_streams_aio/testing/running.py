"""`Harness`: a broker that runs in a test, and what the test can do to it and learn of it.

The broker runs as it is, handlers, middleware, retries and all. A recorder has every call of a handler and every fact,
and the test has powers that tests do not have otherwise: it knows when everything is settled, lets time pass, and does
what networks, deploys and crashes do (`faults`).

Time: retries, leases and the marks of `deduplicate` go by a clock that the test moves. `settled()` moves it by itself
when all that is left waits for its time; `advance()` moves it by hand. What handlers do themselves (`asyncio.sleep`,
`timeout=`) takes the time it takes.
"""

from __future__ import annotations

import asyncio
import math
from typing import TypeVar

from ..broker import Broker
from ..connection import Connection, replies
from ..consumer.subscription import Subscription
from ..models import DeadLetterMessage
from ..monitoring.dead_letters import DeadLetters
from ..producer.producer import publish, publish_many
from ..producer.publisher import Publisher
from ..telemetry import DeadLettered, Fact
from . import faults, passing, progress
from .movable_clock import MovableClock
from .recorder import Call, F, Handler, Recorder, is_of

T = TypeVar("T")


class Harness:
    """A broker that runs in a test; made by `harness`."""

    def __init__(self, broker: Broker, connection: Connection, recorder: Recorder, clock: MovableClock) -> None:
        self.broker: Broker = broker
        self.connection: Connection = connection
        """A connection of the test's own, for the parts: `StreamManager(h.connection)`."""
        self._recorder = recorder
        self._clock = clock

    # -- what happens -----------------------------------------------------------------------------------------

    publish = publish
    publish_many = publish_many

    @property
    def _publisher(self) -> Publisher:
        return self.broker._publisher  # noqa: SLF001  # the test publishes as its broker does

    async def settled(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109  # it says what was not settled
        """Wait until every event in every stream that the broker handles is settled: acknowledged, or a dead letter.

        Nobody waits for a retry's delay, a batch that is not full, or the lease of a process that crashed: when
        nothing else is left to do, time passes by itself. `timeout`: seconds; then `AssertionError` says what is left.
        """
        try:
            async with asyncio.timeout(timeout):
                await progress.until_settled(self.connection, self._subscriptions, self._clock, self.advance)
        except TimeoutError:
            raise AssertionError(await self._unsettled(f"not settled within {timeout:g} s")) from None

    async def idle(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109  # it says what still runs
        """Wait until nothing is left to do now: every event is settled, or waits for its time.

        `timeout`: seconds; then `AssertionError` says what still runs.
        """
        try:
            async with asyncio.timeout(timeout):
                await progress.until_idle(self.connection, self._subscriptions, self._clock)
        except TimeoutError:
            raise AssertionError(await self._unsettled(f"not idle within {timeout:g} s")) from None

    async def called(
        self,
        handler: Handler = None,
        *,
        times: int = 1,
        timeout: float = 5.0,  # noqa: ASYNC109  # it says what was called
    ) -> None:
        """Wait until a handler, or any, was called so often; it need not have come to its end.

        `timeout`: seconds; then `AssertionError` says what was called.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while (seen := sum(is_of(handler, call.handler, call.function) for call in self.calls)) < times:
            if asyncio.get_running_loop().time() > deadline:
                within = f"was called {_times(seen)} within {timeout:g} s, not {_times(times)}"
                raise AssertionError(f"{_name(handler)} {within}; {self._recorder.story()}")
            await asyncio.sleep(progress.LOOK_AGAIN)

    async def advance(self, seconds: float) -> None:
        """Let time pass: retries fall due, leases of consumers that are gone run out, marks of `deduplicate` expire.

        What is due then is handled as soon as a handler is free: `await h.idle()` waits for that. What the broker
        itself holds it goes on holding: it would have renewed its leases. Raises `ValueError` for less than 0 seconds.
        """
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds: time passes forward, not by {seconds!r}")
        await passing.advance(
            self.connection, self._subscriptions(), self._recorder.deduplicating, self._clock, seconds
        )

    # -- what goes wrong --------------------------------------------------------------------------------------

    def fail_next(
        self,
        times: int = 1,
        error: BaseException | None = None,
        *,
        handler: Handler = None,
        stream: str | None = None,
    ) -> None:
        """Have the next `times` calls raise `error` in place of running; of one handler, or one stream's, or any.

        The retry policy decides what becomes of the events, as if the handler had raised. Calls add up. Raises
        `ValueError` for a handler or a stream that the broker has not.
        """
        self._recorder.order_failures(times, error or RuntimeError("failed by fail_next()"), handler, stream)

    async def crash(self) -> None:
        """Have the process die, as with SIGKILL, and another one start.

        From one moment to the next nothing is sent to Redis: handlers are cut off where they are (in a test they see
        a cancellation), what they had done is not acknowledged, nothing is given back. What the dead one held comes
        again when its lease has run out (`advance`; `settled` does it by itself), or at once if `settings.consumer`
        gives consumers a lasting name. Raises `RuntimeError` in a handler, which would be cut off in the middle of it.
        """
        await faults.crash(self.broker)

    async def redeliver(self, *ids: str) -> int:
        """Have Redis hand out events again that were handled, as it does when an acknowledgement did not arrive.

        By default every event that a handler returned on; `ids` are entry ids. How many. What is pending anyway is left
        alone, and so are dead letters, which are written and acknowledged in one step.
        """
        return sum(
            [await faults.redeliver(self.connection, each, self._recorder, ids) for each in self._subscriptions()]
        )

    async def lose_lease(self) -> int:
        """Have another consumer take over all that the broker holds, as after a process was frozen for too long.

        The broker finds out at once: `delivery.lost` is true, handlers are cancelled (`on_lost`), and what they do
        counts no more. How many leases were lost. The other consumer dies with them: they come again when its lease
        has run out.
        """
        return sum([await faults.lose_lease(self.connection, each) for each in self._subscriptions()])

    # -- what happened ----------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[Call]:
        """Calls of handlers, in the order they began."""
        return self._recorder.calls

    @property
    def facts(self) -> list[Fact]:
        """Facts of `redis_streams_aio.telemetry`, in order."""
        return self._recorder.facts(Fact)

    def facts_of(self, kind: type[F]) -> list[F]:
        """Facts of one kind: `h.facts_of(telemetry.LeaseLost)`."""
        return self._recorder.facts(kind)

    def handled(self, stream: str | None = None, *, handler: Handler = None) -> list[object]:
        """Payloads that handlers returned on, in the order their calls began; all, or of one stream or handler."""
        return [
            call.payload
            for call in self.calls
            if call.returned and stream in (None, call.stream) and is_of(handler, call.handler, call.function)
        ]

    async def published(self, stream: str, payload_type: type[T]) -> list[T]:
        """The payloads of all entries of a stream, decoded. Raises `DecodeError`."""
        decode = self.broker._parts.codec.decoder(payload_type)  # noqa: SLF001  # ours too
        found = replies.entries(await self.connection.call("XRANGE", stream, "-", "+"))
        return [decode(entry.fields) for entry in found if entry.fields is not None]

    async def dead_letters(self, stream: str | None = None) -> list[DeadLetterMessage]:
        """The dead letters of the broker's groups, of all streams or of one."""
        return [
            letter
            for subscription in self._subscriptions()
            if stream in (None, subscription.options.stream)
            for letter in await DeadLetters(
                self.connection,
                subscription.options.stream,
                subscription.options.group,
                dead_letter=subscription.options.dead_letter,
            ).list(count=1_000_000)
        ]

    def assert_handled(self, payload: object, *, times: int = 1, handler: Handler = None) -> None:
        """That a handler returned on this payload, exactly `times` times. Raises `AssertionError` with the story."""
        seen = sum(one == payload for one in self.handled(handler=handler))
        if seen != times:
            raise AssertionError(
                f"{payload!r} was handled {_times(seen)}, not {_times(times)}; {self._recorder.story()}"
            )

    def assert_not_handled(self, payload: object) -> None:
        """That no handler returned on this payload. Raises `AssertionError` with the story."""
        self.assert_handled(payload, times=0)

    def assert_dead_letter(self, payload: object, reason: str | None = None) -> None:
        """That an event with this payload became a dead letter, for this `reason` if one is given.

        Reasons are those of `DeadLetterMessage.reason`. What could not be decoded has no payload: ask `dead_letters()`.
        Raises `AssertionError` with the story.
        """
        ids = {(call.stream, call.group, call.event.id) for call in self.calls if call.payload == payload}
        letters = [fact for fact in self.facts_of(DeadLettered) if (fact.stream, fact.group, fact.id) in ids]
        if not any(reason in (None, letter.reason) for letter in letters):
            wanted = f" ({reason})" if reason else ""
            raise AssertionError(f"{payload!r} is no dead letter{wanted}; {self._recorder.story()}")

    # -- inside -----------------------------------------------------------------------------------------------

    def _subscriptions(self) -> list[Subscription]:
        supervisor = self.broker._supervisor  # noqa: SLF001  # ours too
        return [] if supervisor is None else supervisor.subscriptions

    async def _unsettled(self, what: str) -> str:
        left = [f"  {await progress.told(self.connection, subscription)}" for subscription in self._subscriptions()]
        return "\n".join([f"{what}:", *left, self._recorder.story()])

    def __repr__(self) -> str:
        return f"<Harness of {self.broker!r}: {len(self.calls)} calls>"


def _name(handler: Handler) -> str:
    if handler is None or isinstance(handler, str):
        return handler or "a handler"
    return getattr(handler, "__name__", repr(handler))


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")

"""`Harness`: a broker that runs in a test, with methods to control it and to check what happened.

The broker runs unchanged, with handlers, middleware and retries. A recorder has every call of a handler and every fact.
The test knows when everything is settled, lets time pass, and causes crashes and other faults (`faults`).

Time: the test moves the clock of retries, leases and the marks of `deduplicate`. `settled()` moves it when all
remaining events wait for their time; `advance()` moves it on request. Waits in handlers (`asyncio.sleep`, `timeout=`)
take real time.
"""

from __future__ import annotations

import asyncio
from typing import TypeVar

from ..broker import Broker
from ..checks.times import is_number
from ..checks.values import shown
from ..connection import Connection, replies
from ..consumer.subscription import Subscription
from ..models import DeadLetterMessage
from ..monitoring.dead_letters import DeadLetters
from ..producer.producer import publish, publish_many, wait_for_capacity
from ..producer.publisher import Publisher
from ..telemetry import DeadLettered, Fact
from . import faults, passing, progress
from .movable_clock import MovableClock
from .recorder import Call, F, Handler, Recorder, is_of

T = TypeVar("T")


class Harness:
    """A broker that runs in a test; created by `harness`."""

    def __init__(self, broker: Broker, connection: Connection, recorder: Recorder, clock: MovableClock) -> None:
        self.broker: Broker = broker
        self.connection: Connection = connection
        """A separate connection for the test, for the parts: `StreamManager(h.connection)`."""
        self._recorder = recorder
        self._clock = clock

    # -- what happens -----------------------------------------------------------------------------------------

    publish = publish
    publish_many = publish_many
    wait_for_capacity = wait_for_capacity

    @property
    def _publisher(self) -> Publisher:
        return self.broker._publisher  # noqa: SLF001  # the test publishes as its broker does

    async def settled(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109  # it says what was not settled
        """Wait until every event in every stream that the broker handles is settled: acknowledged, or a dead letter.

        The test does not wait for a retry's delay, a batch that is not full, or the lease of a crashed process: when
        nothing else is left to do, time passes by itself. After `timeout` seconds, `AssertionError` says what is left.
        """
        try:
            async with asyncio.timeout(timeout):
                await progress.until_settled(self.connection, self._subscriptions, self._clock, self.advance)
        except TimeoutError:
            raise AssertionError(await self._unsettled(f"not settled within {timeout:g} s")) from None

    async def idle(self, timeout: float = 5.0) -> None:  # noqa: ASYNC109  # it says what still runs
        """Wait until nothing is left to do now: every event is settled, or waits for its time.

        After `timeout` seconds, `AssertionError` says what still runs.
        """
        try:
            async with asyncio.timeout(timeout):
                await progress.until_idle(self.connection, self._subscriptions, self._clock, self.advance)
        except TimeoutError:
            raise AssertionError(await self._unsettled(f"not idle within {timeout:g} s")) from None

    async def called(
        self,
        handler: Handler = None,
        *,
        times: int = 1,
        timeout: float = 5.0,  # noqa: ASYNC109  # it says what was called
    ) -> None:
        """Wait until a handler, or any handler, was called `times` times; the last call may still run.

        After `timeout` seconds, `AssertionError` says what was called.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while (seen := sum(is_of(handler, call.handler, call.function) for call in self.calls)) < times:
            if asyncio.get_running_loop().time() > deadline:
                within = f"was called {_times(seen)} within {timeout:g} s, not {_times(times)}"
                raise AssertionError(f"{_name(handler)} {within}; {self._recorder.story()}")
            await asyncio.sleep(progress.LOOK_AGAIN)

    async def advance(self, seconds: float) -> None:
        """Let time pass: retries become due, leases of consumers that are gone expire, marks of `deduplicate` expire.

        Due events are handled as soon as a handler is free: `await h.idle()` waits for that. The broker keeps the
        deliveries that it holds, because it would have renewed their leases. Raises `ValueError` for less than 0
        seconds, and for what is not a number.
        """
        if not is_number(seconds, 0):
            raise ValueError(f"seconds={shown(seconds)}: expected a number of seconds, 0 or more; time passes forward")
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
        """Let the next `times` calls raise `error` instead of running: of one handler, of one stream, or of any.

        The retry policy decides on the events, as if the handler had raised. Calls of this method add up. Raises
        `ValueError` for a handler or a stream that the broker does not have, and for `times` below 0 or not a whole
        number.
        """
        if not (is_number(times, 0) and isinstance(times, int)):
            raise ValueError(f"times={shown(times)}: expected a whole number, 0 or more")
        self._recorder.order_failures(times, error or RuntimeError("failed by fail_next()"), handler, stream)

    async def crash(self) -> None:
        """Let the process die, as with SIGKILL, and another one start.

        Nothing more is sent to Redis: handlers are cut off (in a test they see a cancellation), their work is not
        acknowledged, and no entry is released. The entries of the dead process come again when its lease expires
        (`advance`; `settled` does it by itself), or at once if `settings.consumer` gives a stable name. Raises
        `RuntimeError` in a handler, because the call would cut off the handler itself.
        """
        await faults.crash(self.broker)

    async def redeliver(self, *ids: str) -> int:
        """Let Redis deliver handled events again, as after a lost acknowledgement, and return their number.

        By default all handled events; `ids` are entry ids. Pending entries are skipped, and so are dead letters,
        because these are written and acknowledged in one step.
        """
        return sum(
            [await faults.redeliver(self.connection, each, self._recorder, ids) for each in self._subscriptions()]
        )

    async def lose_lease(self) -> int:
        """Let another consumer take over all deliveries, as after a process was frozen for too long; return their
        number.

        The broker notices at once: `delivery.lost` is true, handlers are cancelled (`on_lost`), and their results no
        longer count. The other consumer then dies, so the events come again when its lease expires.
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
        """Return the payloads of calls that returned, in the order of the calls; all, or of one stream or handler."""
        return [
            call.payload
            for call in self.calls
            if call.returned and stream in (None, call.stream) and is_of(handler, call.handler, call.function)
        ]

    async def published(self, stream: str, payload_type: type[T]) -> list[T]:
        """Return the payloads of all entries of a stream, decoded. Raises `DecodeError`."""
        decode = self.broker._parts.codec.decoder(payload_type)  # noqa: SLF001  # ours too
        found = replies.entries(await self.connection.call("XRANGE", stream, "-", "+"))
        return [decode(entry.fields) for entry in found if entry.fields is not None]

    async def dead_letters(self, stream: str | None = None) -> list[DeadLetterMessage]:
        """Return the dead letters of the broker's groups, of all streams or of one."""
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
        """Check that calls with this payload returned exactly `times` times.

        Raises `AssertionError` with all that happened.
        """
        seen = sum(one == payload for one in self.handled(handler=handler))
        if seen != times:
            raise AssertionError(
                f"{payload!r} was handled {_times(seen)}, not {_times(times)}; {self._recorder.story()}"
            )

    def assert_not_handled(self, payload: object) -> None:
        """Check that no call with this payload returned. Raises `AssertionError` with all that happened."""
        self.assert_handled(payload, times=0)

    def assert_dead_letter(self, payload: object, reason: str | None = None) -> None:
        """Check that an event with this payload became a dead letter, optionally with this `reason`.

        For reasons see `DeadLetterMessage.reason`. Undecodable events have no payload: use `dead_letters()`. Raises
        `AssertionError` with all that happened.
        """
        ids = {(call.stream, call.group, call.event.id) for call in self.calls if call.payload == payload}
        letters = [fact for fact in self.facts_of(DeadLettered) if (fact.stream, fact.group, fact.id) in ids]
        if not any(reason in (None, letter.reason) for letter in letters):
            wanted = f" ({reason})" if reason else ""
            raise AssertionError(f"{payload!r} is not a dead letter{wanted}; {self._recorder.story()}")

    # -- inside -----------------------------------------------------------------------------------------------

    def _subscriptions(self) -> list[Subscription]:
        supervisor = self.broker._supervisor  # noqa: SLF001  # ours too
        return [] if supervisor is None else supervisor.subscriptions

    async def _unsettled(self, what: str) -> str:
        left = [f"  {await progress.in_words(self.connection, subscription)}" for subscription in self._subscriptions()]
        return "\n".join([f"{what}:", *left, self._recorder.story()])

    def __repr__(self) -> str:
        return f"<Harness of {self.broker!r}: {len(self.calls)} calls>"


def _name(handler: Handler) -> str:
    if handler is None or isinstance(handler, str):
        return handler or "a handler"
    return getattr(handler, "__name__", repr(handler))


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")

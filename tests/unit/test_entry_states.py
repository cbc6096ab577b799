"""The states of an entry: its table, walked pair by pair and at random; and what a delivery shows of it to handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redis_streams_aio import BatchDelivery, Delivery, SettledError
from redis_streams_aio.connection.replies import RawEntry
from redis_streams_aio.consumer.entry import (
    BUFFERED,
    DONE,
    LOST,
    NEXT,
    RUNNING,
    WAITING,
    WRITING,
    Entry,
    Event,
    State,
    StateError,
)
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.events.batch import close_batch, given
from redis_streams_aio.events.delivery import Receiver, close, instructions_of
from redis_streams_aio.handlers.fates import ACK, DeadLetter, Fate, Retry
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.models import History
from redis_streams_aio.telemetry import SILENT
from tests.events import Order

STATES: tuple[State, ...] = get_args(State)
EVENTS: tuple[Event, ...] = get_args(Event)
FATE = DeadLetter("failures", "why", 1)
EARLIER = Retry(1.0, 1, "earlier")


def entry(state: State = BUFFERED, number: int = 1) -> Entry:
    one = Entry("orders", b"%d-0" % number, [b"event_type", b"Order"])
    one.state = state
    return one


def tell(one: Entry, event: Event, until: float = 7.0, fate: Fate | None = FATE) -> None:
    """Let an event happen to an entry."""
    if event == "wait":
        one.wait(until, fate)
    elif event == "write":
        one.write(fate)
    else:
        getattr(one, event)()


# -- the table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("state", STATES)
def test_each_pair_of_state_and_event_has_a_next_state_or_is_refused(state: State, event: Event) -> None:
    one = entry(state)
    one.until, one.fate = 5.0, EARLIER
    if event in NEXT[state]:
        tell(one, event)
        assert one.state == NEXT[state][event]
        return
    with pytest.raises(StateError) as caught:
        tell(one, event)
    assert str(caught.value) == f"<Entry orders 1-0: {state}, delivery 1>: cannot {event} while {state}"
    assert (one.state, one.until, one.fate) == (state, 5.0, EARLIER), "what is refused changes nothing"


def test_the_table_is_whole() -> None:
    assert set(NEXT) == set(STATES) == {BUFFERED, RUNNING, WAITING, WRITING, DONE, LOST}
    assert {event for row in NEXT.values() for event in row} == set(EVENTS), "no event is for nothing"
    reached, before = {BUFFERED}, set[State]()
    while reached != before:
        before = set(reached)
        reached |= {following for state in before for following in NEXT[state].values()}
    assert reached == set(STATES), "no state is for nothing"


def test_what_the_table_is_for() -> None:
    """The rules that the engine relies on, each in one line."""
    assert {state for state in STATES if NEXT[state].get("settle") == DONE} == {WRITING}, "done is what was written"
    assert NEXT[DONE] == {}, "done stays done"
    assert {event for event, following in NEXT[LOST].items() if following != LOST} == {"regain"}, "lost stays lost"
    assert {state for state in STATES if "regain" in NEXT[state]} == {LOST}
    assert all("lose" in NEXT[state] for state in STATES if state != DONE), "a lease may be lost at any time"
    assert {state for state in STATES if NEXT[state].get("begin") == RUNNING} == {BUFFERED, WAITING}, "no second worker"
    for event, following in (("queue", BUFFERED), ("wait", WAITING), ("write", WRITING), ("lose", LOST)):
        assert {row[event] for state, row in NEXT.items() if event in row and state != LOST} == {following}


class Life(RuleBasedStateMachine):
    """Entries in any order of legal events, against what is known of them without the table."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = entry()
        self.until = 0.0
        self.fate: Fate | None = None
        self.is_lost = False

    def may(self, event: Event) -> bool:
        return event in NEXT[self.entry.state]

    @precondition(lambda self: self.may("begin"))
    @rule()
    def begin(self) -> None:
        self.entry.begin()
        self.until = 0.0

    @precondition(lambda self: self.may("queue"))
    @rule()
    def queue(self) -> None:
        self.entry.queue()
        self.until = 0.0

    @precondition(lambda self: self.may("wait"))
    @rule(until=st.floats(1, 100), fate=st.sampled_from([None, FATE, EARLIER]))
    def wait(self, until: float, fate: Fate | None) -> None:
        self.entry.wait(until, fate)
        self.until, self.fate = until, fate

    @precondition(lambda self: self.may("write"))
    @rule(fate=st.sampled_from([None, FATE, EARLIER]))
    def write(self, fate: Fate | None) -> None:
        self.entry.write(fate)
        self.fate = fate or self.fate

    @precondition(lambda self: self.may("settle"))
    @rule()
    def settle(self) -> None:
        self.entry.settle()

    @precondition(lambda self: self.may("lose"))
    @rule()
    def lose(self) -> None:
        self.entry.lose()
        self.is_lost = True

    @precondition(lambda self: self.may("regain"))
    @rule()
    def regain(self) -> None:
        self.entry.regain()
        self.until, self.is_lost = 0.0, False

    @precondition(lambda self: self.entry.state == DONE)
    @rule()
    def comes_again(self) -> None:
        """Redis delivers the next one."""
        self.__init__()  # type: ignore[misc]

    @rule(deliveries=st.integers(1, 2), failures=st.integers(0, 1))
    def is_recalled(self, deliveries: int, failures: int) -> None:
        self.entry.deliveries, self.entry.failures = deliveries, failures

    @invariant()
    def lost_until_it_is_regained(self) -> None:
        assert self.entry.lost == self.is_lost == (self.entry.state == LOST)

    @invariant()
    def settled_while_it_is_written_and_after(self) -> None:
        assert self.entry.settled == (self.entry.state in (WRITING, DONE))
        assert not (self.entry.settled and self.entry.lost)

    @invariant()
    def a_time_is_only_for_those_that_wait(self) -> None:
        """Those that are written or lost keep theirs: a release that fails lets them wait on."""
        assert self.entry.until == self.until
        assert self.entry.state not in (BUFFERED, RUNNING) or self.entry.until == 0
        assert self.entry.state != WAITING or self.entry.until > 0

    @invariant()
    def a_fate_stays_until_another_time_is_waited_for(self) -> None:
        assert self.entry.fate is self.fate

    @invariant()
    def suspect_for_each_reason(self) -> None:
        reasons = (self.entry.deliveries > 1, self.entry.failures > 0, self.fate is not None, self.is_lost)
        assert self.entry.may_harm_others is any(reasons)


TestLife = Life.TestCase


@pytest.mark.parametrize("name", ["lost", "settled", "may_harm_others"])
def test_what_follows_from_the_state_cannot_be_set(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(entry(), name, True)


def test_p4_an_entry_that_comes_back_to_its_running_handler_is_not_handled_beside_it() -> None:
    holdings = Holdings(
        Shared(None, SILENT),  # type: ignore[arg-type]  # nothing is sent
        SubscriptionOptions(stream="orders", group="g", lease=1),
        "c",
    )
    [one] = holdings.take([RawEntry(b"1-0", [b"a", b"b"])])
    one.begin()
    lost: list[Entry] = []
    holdings.on_lost = lost.append
    holdings.lose(one)
    holdings.lose(one)
    assert (lost, one.lost, len(holdings)) == ([one], True, 0)
    holdings.strays[b"1-0"] = one
    [other] = holdings.take([RawEntry(b"1-0", [b"a", b"b"]), RawEntry(b"2-0", [b"a", b"b"])])
    assert (one.state, holdings.strays, list(holdings.by_id.values())) == (RUNNING, {}, [one, other])
    holdings.lose(one)
    [again] = holdings.take([RawEntry(b"1-0", [b"a", b"b"])])
    assert again is not one, "its handler has ended meanwhile"
    assert one.lost


def test_of_a_new_entry_nothing_is_known_yet() -> None:
    new = entry()
    assert (new.failing_since, new.first_failure, new.failures) == (0.0, 0.0, 0)
    assert (new.lane, new.payload, new.refusal, new.history) == (None, None, None, None)
    assert [new.is_gone, new.recorded, new.prepared] == [False, False, False]
    assert {type(each) for each in (new.is_gone, new.recorded, new.prepared)} == {bool}


# -- a delivery -------------------------------------------------------------------------------------------------

SHOWN = [
    *("ack", "attempt", "consumer", "deliveries", "event", "fail", "failures", "first_failure", "group", "handler"),
    *("history", "id", "lost", "payload", "publish", "reject", "retry", "settled", "stream"),
]
"""All that a handler sees of its delivery."""
RECEIVER = Receiver("orders", "billing", "c-1", "bill", lambda event: ("XADD", event.stream, "*"))

DECISIONS: dict[str, Callable[[Delivery], None]] = {
    "ack": lambda delivery: delivery.ack(),
    "retry": lambda delivery: delivery.retry(5),
    "reject": lambda delivery: delivery.reject("no"),
    "fail": lambda delivery: delivery.fail(ValueError("x")),
    "publish": lambda delivery: delivery.publish("invoices", Order(1), atomic=False),
}


def public(of: object) -> list[str]:
    return [name for name in dir(of) if not name.startswith("_")]


def test_a_delivery_shows_what_a_handler_needs_and_nothing_of_the_engine() -> None:
    delivery = Delivery(entry(), RECEIVER)
    assert public(delivery) == SHOWN
    assert public(BatchDelivery([entry()], RECEIVER)) == ["ack", "fail", "lost", "reject", "retry"]
    for name in SHOWN:
        with pytest.raises(AttributeError):
            setattr(delivery, name, 1)
    with pytest.raises(AttributeError):
        delivery.more = 1  # type: ignore[attr-defined]


def test_a_delivery_shows_its_entry_as_it_is_now() -> None:
    one = entry()
    delivery = Delivery(one, RECEIVER)
    assert (delivery.id, delivery.stream, delivery.group) == ("1-0", "orders", "billing")
    assert (delivery.consumer, delivery.handler, delivery.history) == ("c-1", "bill", None)
    assert (delivery.attempt, delivery.deliveries, delivery.failures, delivery.first_failure) == (1, 1, 0, 0.0)
    assert (delivery.lost, delivery.settled) == (False, False)
    one.payload, one.deliveries, one.failures, one.first_failure = Order(7), 3, 2, 5.0
    one.history = History("0-1", 1, 2.0, "rejected", "no", 1)
    assert (delivery.attempt, delivery.deliveries, delivery.failures, delivery.first_failure) == (3, 3, 2, 5.0)
    assert delivery.payload is one.payload is delivery.event.payload
    assert delivery.history is one.history
    assert (delivery.event.id, delivery.event.stream, delivery.event.event_type) == ("1-0", "orders", "Order")
    assert repr(delivery) == "<Delivery orders 1-0: delivery 3, 2 failures>"
    one.write(ACK)
    assert delivery.settled
    one.lose()
    assert (delivery.lost, delivery.settled) == (True, False)
    assert repr(delivery) == "<Delivery orders 1-0: delivery 3, 2 failures, lost>"


@pytest.mark.parametrize("name", DECISIONS)
def test_a_closed_delivery_refuses_instructions(name: str) -> None:
    """The handler has ended, and its fate is being written: a task that it left behind changes nothing any more."""
    for said_before in (False, True):
        one = entry()
        delivery = Delivery(one, RECEIVER)
        if said_before:
            delivery.ack()
        told = close(delivery)
        assert (told is not None) == said_before
        with pytest.raises(SettledError, match=r"^<Delivery orders 1-0: .*its fate is already decided; call this"):
            DECISIONS[name](delivery)
        assert instructions_of(delivery) is close(delivery) is told
        if told is not None:
            assert (told.decided, told.error, told.follow_ups) == (True, None, [])
        assert (one.state, one.fate) == (BUFFERED, None)


@pytest.mark.parametrize("name", DECISIONS)
def test_instructions_are_of_one_attempt(name: str) -> None:
    one = entry()
    first = Delivery(one, RECEIVER)
    assert instructions_of(first) is None
    DECISIONS[name](first)
    told = close(first)
    assert told is not None
    assert (told.decided, len(told.follow_ups)) == ((False, 1) if name == "publish" else (True, 0))
    second = Delivery(one, RECEIVER)
    assert close(second) is None, "the next attempt starts without them"
    assert close(None) is instructions_of(None) is None, "a handler that takes no delivery leaves none"


# -- a batch ----------------------------------------------------------------------------------------------------


def test_p15_a_batch_makes_a_delivery_when_it_is_asked_for() -> None:
    entries = [entry(number=number) for number in range(4)]
    batch = BatchDelivery(entries, RECEIVER)
    assert (len(batch), batch.lost, list(given(batch))) == (4, False, [])
    batch.ack(2)
    assert [delivery.id for delivery in given(batch)] == ["2-0"]
    second = batch[1]
    assert [delivery.id for delivery in given(batch)] == ["2-0", "1-0"]
    assert batch[1] is second is batch[-3]
    assert instructions_of(batch[2]) is not None
    everyone = list(batch)
    assert [delivery.id for delivery in everyone] == ["0-0", "1-0", "2-0", "3-0"]
    assert everyone[1] is second
    assert list(batch) == everyone
    assert len(given(batch)) == 4


def test_p15_a_closed_batch_closes_each_delivery_those_asked_for_later_too() -> None:
    entries = [entry(number=number) for number in range(3)]
    batch = BatchDelivery(entries, RECEIVER)
    batch.reject(0, "bad row")
    before = batch[1]
    told = close_batch(batch)
    assert list(told) == [0]
    assert told[0].decided
    for decide in DECISIONS.values():
        for delivery in (batch[0], before, batch[2]):
            with pytest.raises(SettledError):
                decide(delivery)
    for name, extra in (("ack", ()), ("retry", (5,)), ("reject", ("no",)), ("fail", (ValueError("x"),))):
        for index in range(3):
            with pytest.raises(SettledError):
                getattr(batch, name)(index, *extra)
    assert dict(close_batch(batch)) == dict(told), "closed is closed"


def test_p15_a_batch_is_read_at_its_places_only() -> None:
    batch: Any = BatchDelivery([entry()], RECEIVER)
    for wrong in (1, -1):
        with pytest.raises(IndexError):
            batch.ack(wrong)
    for wrong in (True, "0", None, 0.0):
        with pytest.raises(TypeError, match="expected the place of a payload in the list"):
            batch.ack(wrong)
    with pytest.raises(IndexError):
        batch[1]
    assert list(given(batch)) == [], "nothing was made for them"

"""Pages: which replies become one, and what becomes of their rows. No Redis."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import Delivery, ServerError
from redis_streams_aio.consumer.entry import BUFFERED, RUNNING, Entry
from redis_streams_aio.consumer.intake.pages import LARGEST, Pages
from redis_streams_aio.consumer.page import Page
from redis_streams_aio.consumer.work.row_batch import RowBatch
from redis_streams_aio.consumer.work.schedule import Schedule
from redis_streams_aio.handlers.declaration import declare
from redis_streams_aio.handlers.options import HandlerOptions
from redis_streams_aio.handlers.routes import Plan, plan
from tests.events import Cancelled, Order

TYPE, BODY = (b"event_type", b"Order"), (b"payload", b'{"number": 1}')


def planned(handler: Callable[..., Any] | None = None, **options: Any) -> Plan:
    async def bill(order: Order) -> None: ...

    async def undo(order: Cancelled) -> None: ...

    declared = [
        declare(each, HandlerOptions(stream="orders", group="g", **options)) for each in (handler or bill, undo)
    ]
    [one] = plan(declared)
    return one


def reply(*entries: list[bytes]) -> Any:
    return [[b"orders", [[b"%d-0" % number, fields] for number, fields in enumerate(entries, 1)]]]


def plain(*more: bytes) -> list[bytes]:
    return [*TYPE, *BODY, *more]


def page_of(count: int, *more: bytes, **options: Any) -> Page:
    found = Pages(planned(**options), Context()).parse(reply(*[plain(*more) for _ in range(count)]))
    assert isinstance(found, Page)
    found.hold({})
    return found


# -- which replies are pages ------------------------------------------------------------------------------------


def test_plain_entries_of_one_type_are_a_page() -> None:
    found = page_of(3, b"h:trace", b"t")
    assert (len(found), found.ids, found.lanes) == (3, (b"1-0", b"2-0", b"3-0"), None)
    assert [found.decode(payload) for _, payload, _ in found.take(3)] == [Order(1)] * 3


ODD: dict[str, list[list[bytes]]] = {
    "two types": [plain(), [b"event_type", b"Cancelled", *BODY]],
    "a type that no handler takes": [[b"event_type", b"Else", *BODY]] * 2,
    "another format": [plain(b"content_type", b"application/msgpack"), plain(b"content_type", b"application/msgpack")],
    "another format of one of them": [plain(b"content_type", b"application/msgpack"), plain(b"h:a", b"1")],
    "fields in another order": [[*BODY, *TYPE]],
    "fields of another program": [[b"amount", b"5"]],
    "different numbers of fields": [plain(), plain(b"h:a", b"1")],
    "a payload beyond the limit": [[*TYPE, b"payload", b" " * (LARGEST + 1)]],
    "a replay": [[b"redis_streams_aio:replayed_for", b"g", *BODY, *TYPE]],
}


@pytest.mark.parametrize("odd", ODD)
def test_entries_about_which_there_is_more_to_say_are_no_page(odd: str) -> None:
    found = Pages(planned(), Context()).parse(reply(*ODD[odd]))
    assert not isinstance(found, Page)
    assert [list(fields) for _, fields in found] == ODD[odd]


def test_no_entries_are_none_and_what_is_no_reply_is_refused() -> None:
    pages = Pages(planned(), Context())
    assert list(pages.parse(None)) == []
    for wrong in (b"OK", [[b"orders", [[b"1-0", b"text"]]]], [[b"orders", [[1, [b"a", b"b"]]]]], 5):
        with pytest.raises(ServerError):
            pages.parse(wrong)


@pytest.mark.parametrize("options", [{"deduplicate": 5.0}, {"batch": 5, "order": "key", "key": None}])
def test_some_subscriptions_get_no_pages(options: dict[str, Any]) -> None:
    async def load(orders: list[Order]) -> None: ...

    handler = load if "batch" in options else None
    declared = declare(handler, HandlerOptions(stream="orders", group="g", **options)) if handler else None
    one = planned(**options) if declared is None else plan([declared])[0]
    assert not isinstance(Pages(one, Context()).parse(reply(plain(b"key", b"k"))), Page)


def test_a_handler_that_takes_its_delivery_gets_entries() -> None:
    async def bill(order: Order, delivery: Delivery) -> None: ...

    assert not isinstance(Pages(planned(bill), Context()).parse(reply(plain())), Page)


# -- lanes ------------------------------------------------------------------------------------------------------


def test_p7_the_lanes_of_rows_are_the_keys_of_their_publisher() -> None:
    pages = Pages(planned(order="key", concurrency=2), Context())
    found = pages.parse(reply(plain(b"key", b"ada"), plain(b"key", b"bob")))
    assert isinstance(found, Page)
    assert found.lanes == (b"ada", b"bob")
    assert not isinstance(pages.parse(reply(plain(), plain())), Page), "without a key each waits for no other"


def test_p7_a_key_function_is_asked_once_and_its_payload_is_not_decoded_again() -> None:
    def number(order: Order) -> int | None:
        return order.number or None

    pages = Pages(planned(key=number, concurrency=2), Context())
    found = pages.parse(reply(plain(), [*TYPE, b"payload", b'{"number": 0}']))
    assert isinstance(found, Page)
    assert found.lanes == [hash(1), None]
    assert [found.decode(payload) for _, payload, _ in found.take(2)] == [Order(1), Order(0)]


def test_p14_a_key_function_that_fails_on_one_row_leaves_all_to_the_attempts() -> None:
    def key(order: Order) -> int:
        raise LookupError

    assert not isinstance(Pages(planned(key=key, concurrency=2), Context()).parse(reply(plain())), Page)


# -- rows -------------------------------------------------------------------------------------------------------


@given(st.integers(1, 30), st.data())
def test_every_row_is_begun_once_or_becomes_an_entry(count: int, data: st.DataObject) -> None:
    page = page_of(count)
    held: dict[bytes, Page | Entry] = {}
    page.hold(held)
    assert set(held.values()) == {page}
    begun = page.take(data.draw(st.integers(0, count)))
    assert [page.has_begun(raw_id) for raw_id in page.ids] == [number < len(begun) for number in range(count)]
    entries = page.dissolve()
    assert [raw_id for raw_id, _, _ in begun] + [entry.raw_id for entry in entries] == list(page.ids)
    assert (len(page), page.take(1)) == (0, [])
    assert all(held[entry.raw_id] is entry and entry.state is BUFFERED for entry in entries)
    assert all(entry.fields == plain() for entry in entries)


def test_rows_of_a_batch_become_entries_when_one_is_needed_with_what_was_decoded() -> None:
    first, second = page_of(2), page_of(2)
    batch = RowBatch([(first, first.take(2)), (second, second.take(1))])
    assert (len(batch), batch.ids, batch.is_made) == (3, [b"1-0", b"2-0", b"1-0"], False)
    payloads = batch.payloads()
    assert not batch.is_made
    assert [entry.payload for entry in batch.begun()] == payloads
    assert {entry.state for entry in batch} == {RUNNING}
    assert batch.is_made


def test_a_row_that_is_shown_has_the_stream_and_the_lane_of_its_row() -> None:
    whole = page_of(2)
    assert whole.lane is None
    whole.lane = "all"
    alone = Page("orders", whole.route, whole.ids, [[name] * 2 for name in plain()], lanes=["a", "b"])
    assert [lane for _, _, lane in whole.take(2)] == [None, None]
    assert [lane for _, _, lane in alone.take(2)] == ["a", "b"]
    assert [(one.stream, one.lane) for one in map(whole.shown, whole.ids)] == [("orders", "all")] * 2
    assert [(one.stream, one.lane) for one in map(alone.shown, alone.ids)] == [("orders", "a"), ("orders", "b")]


# -- pages in the schedule --------------------------------------------------------------------------------------


@given(st.data())
def test_p7_rows_and_entries_of_one_lane_are_handled_in_the_order_in_which_they_came(data: st.DataObject) -> None:
    schedule, came, handled, number = Schedule(), 0, [], 0
    running: tuple[Page | None, bytes] | None = None
    for _ in range(data.draw(st.integers(1, 60))):
        action = data.draw(st.sampled_from(["page", "entry", "take", "end", "clear"]))
        if action == "page":
            page = page_of(data.draw(st.integers(1, 4)))
            page.ids = [b"%d-0" % (came + each) for each in range(1, len(page) + 1)]
            page = Page("orders", page.route, page.ids, [[name] * len(page.ids) for name in plain()])
            page.hold({})
            page.lane, came = "stream", came + len(page.ids)
            schedule.add_page(page)
        elif action == "entry":
            came += 1
            entry = Entry("orders", b"%d-0" % came, [])
            entry.lane = "stream"
            schedule.add(entry)
        elif action == "take" and running is None and (taken := schedule.take(0.0)) is not None:
            if isinstance(taken, Page):
                [row] = taken.take(1)
                running = taken, row[0]
            else:
                running = None, taken.raw_id
            handled.append(running[1])
        elif action == "end" and running is not None:
            schedule.leave_lane("stream")
            running = None
        elif action == "clear" and running is None:
            handled += [entry.raw_id for entry in schedule.clear()]
        number = len(handled)
        assert schedule.buffered == came - number
    if running is not None:
        schedule.leave_lane("stream")
    handled += [entry.raw_id for entry in schedule.clear()]
    assert sorted(handled, key=lambda raw_id: int(raw_id.split(b"-")[0])) == handled
    assert len(handled) == came

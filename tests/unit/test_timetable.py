"""Entries that wait for a time: which of them may be parked (P7)."""

from __future__ import annotations

from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.work.timetable import Timetable
from redis_streams_aio.handlers.fates import AwaitCopy


def entry(until: float) -> Entry:
    made = Entry("orders", b"%d-0" % until, [])
    made.wait(until)
    return made


def test_p7_those_due_last_are_parked_without_unwritten_fates_and_where_order_forbids_it_without_lanes() -> None:
    table = Timetable()
    entries = [entry(until) for until in (3, 9, 1, 7, 5)]
    for one in entries:
        table.add(one)
    entries[1].lane = "key"
    entries[3].fate = AwaitCopy(7)
    assert [one.until for one in table.last(2, "key")] == [5, 3]
    assert len(table) == 5, "they stay until they are discarded"
    assert [one.until for one in table.last(9, "key")] == [5, 3, 1]
    assert [one.until for one in table.last(9, "none")] == [9, 5, 3, 1]

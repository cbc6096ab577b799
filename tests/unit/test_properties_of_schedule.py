"""The schedule against a model of it, in any order of calls: lanes in order, retries before newer, nothing lost (P7).

The model knows each lane as one list in its order, and of each entry whether it runs and when it is due. What the
schedule may hand out follows from that.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.work.schedule import Schedule

LANES = (None, "a", "b")


class ScheduleModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule()
        self.now = 100.0
        self.count = 0
        self.lanes: dict[object, list[Entry]] = {}
        """All that is in here or in a handler, by lane, in order; those without a lane have one each."""
        self.ready: list[Entry] = []
        self.delayed: list[Entry] = []
        self.aside: list[Entry] = []
        """Copies that have left their lane, and are to be asked after when they are due."""
        self.running: list[Entry] = []
        self.asked: list[Entry] = []
        """Of those that were aside, those that are being asked after now."""
        self.batch: list[Entry] = []

    # -- what may happen ----------------------------------------------------------------------------------------

    @rule(
        lane=st.sampled_from(LANES),
        due_in=st.sampled_from([None, None, None, 1, 2]),
        deliveries=st.sampled_from([1, 1, 1, 2]),
    )
    def add(self, lane: object, due_in: int | None, deliveries: int) -> None:
        entry = Entry("s", str(self.count).encode(), [], deliveries)
        entry.lane = lane
        if due_in is not None:
            entry.wait(self.now + due_in)
        self.count += 1
        own = self.lanes.setdefault(self.lane_of(entry), [])
        own.append(entry)
        if len(own) == 1:
            self.begin(entry)
        self.schedule.add(entry)

    @rule()
    def take(self) -> None:
        expected = self.expected()
        assert self.schedule.peek(self.now) is expected
        if copies := self.copies_due():
            assert self.schedule.take(self.now) is copies[0]
            self.aside.remove(copies[0])
            self.asked.append(copies[0])
            return
        assert self.schedule.take(self.now) is expected
        if expected is not None:
            assert expected.until <= self.now, "too early"
            expected.begin()
            self.out(expected)
            self.running.append(expected)

    @rule(most=st.integers(1, 4))
    def take_batch(self, most: int) -> None:
        if self.batch:
            return
        self.batch = self.schedule.take_batch(self.now, most)
        assert len(self.batch) <= most
        assert bool(self.batch) == (self.expected() is not None), "what can be begun is begun"
        assert len(self.batch) == 1 or not any(entry.may_harm_others for entry in self.batch), "a suspect comes alone"
        for place, entry in enumerate(self.batch):
            lane = self.lanes[self.lane_of(entry)]
            before = lane[: lane.index(entry)]
            assert all(earlier in self.batch[:place] for earlier in before), "nothing of its lane is before it"
            assert entry.until <= self.now, "too early"
            self.out(entry)
        came_back = [bool(entry.until) for entry in self.batch]
        assert came_back == sorted(came_back, reverse=True), "those that come back come first"
        if self.batch and len(self.batch) < most and not self.batch[0].may_harm_others:
            following = self.expected()
            assert following is None or following.may_harm_others, "there was room for it"
            assert all(behind.may_harm_others or behind.until > self.now for behind in self.next_of_lanes()), (
                "and for it"
            )
        for entry in self.batch:
            entry.begin()

    @precondition(lambda self: self.batch)
    @rule(data=st.data())
    def end_batch(self, data: st.DataObject) -> None:
        again = [entry for entry in self.batch if data.draw(st.booleans())]
        copies = [entry for entry in self.batch if entry not in again and data.draw(st.booleans())]
        for entry in again:
            entry.wait(self.now + data.draw(st.integers(0, 2)))
        freed = dict.fromkeys(entry.lane for entry in self.batch if entry.lane is not None)
        for copy in copies:
            copy.wait(self.now + 1)
            self.schedule.set_aside(copy)
            self.aside.append(copy)
        self.schedule.end_batch(self.batch, again)
        for entry in self.batch:
            if entry not in again:
                self.leave_lane(entry)
            elif entry.lane is None:
                self.delayed.append(entry)
        self.batch = []
        heads = [self.lanes[lane][0] for lane in freed if self.lanes.get(lane)]
        for head in heads:
            self.begin(head)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.leave_one(self.running[data.draw(st.integers(0, len(self.running) - 1))])

    @precondition(lambda self: self.running)
    @rule(data=st.data(), due_in=st.integers(0, 3))
    def delay(self, data: st.DataObject, due_in: int) -> None:
        entry = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        entry.wait(self.now + due_in)
        self.schedule.delay(entry)
        self.delayed.append(entry)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), due_in=st.integers(0, 3))
    def set_aside(self, data: st.DataObject, due_in: int) -> None:
        """A copy of it is in other hands: the next of its lane goes on."""
        copy = self.running[data.draw(st.integers(0, len(self.running) - 1))]
        copy.wait(self.now + due_in)
        self.schedule.set_aside(copy)
        self.aside.append(copy)
        self.leave_one(copy)

    @rule(most=st.integers(1, 3))
    def take_aside(self, most: int) -> None:
        expected = self.copies_due()[:most]
        assert self.schedule.take_aside(self.now, most) == expected
        for copy in expected:
            assert copy.until <= self.now, "too early"
            self.aside.remove(copy)
        self.asked += expected

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def queue_up(self, data: st.DataObject) -> None:
        """Some may be handled: in their order, right behind whoever is running in their lane; others wait on."""
        free = [copy for copy in self.asked if data.draw(st.booleans())]
        for copy in self.asked:
            if copy in free:
                copy.queue()
            else:
                copy.wait(self.now + 1)
                self.schedule.set_aside(copy)
                self.aside.append(copy)
        self.schedule.queue_up(free)
        self.asked = []
        for copy in reversed(free):
            own = self.lanes.setdefault(self.lane_of(copy), [])
            out = sum(entry in self.running + self.batch for entry in own) or bool(own)
            own.insert(out, copy)
            if len(own) == 1:
                self.ready.insert(0, copy)

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        """A lease is lost: one that waits leaves at once, whatever it is doing else is not the schedule's."""
        everyone = self.delayed + self.ready + self.running + self.aside
        if not everyone:
            return
        entry = everyone[data.draw(st.integers(0, len(everyone) - 1))]
        self.schedule.forget(entry)
        if entry in self.aside:
            self.aside.remove(entry)
        elif entry in self.delayed:
            self.delayed.remove(entry)
            self.leave_in_model(entry)

    @rule(seconds=st.sampled_from([0.5, 1, 5]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def drain(self) -> None:
        """All that has not begun is given back, as it is; what runs goes on."""
        held = sum(map(len, self.lanes.values())) + len(self.aside) - len(self.running) - len(self.batch)
        cleared = self.schedule.clear()
        assert len(cleared) == len(set(cleared)) == held
        assert not set(cleared) & {*self.running, *self.batch, *self.asked}
        assert self.schedule.buffered == self.schedule.delayed == 0
        self.__init__()  # nothing is begun after a drain has

    # -- what must hold -----------------------------------------------------------------------------------------

    @invariant()
    def counts_agree(self) -> None:
        held = sum(map(len, self.lanes.values()))
        out = len(self.running) + len(self.batch)
        assert self.schedule.delayed == len(self.delayed) + len(self.aside)
        assert self.schedule.ready == len(self.ready)
        due = any(entry.until <= self.now for entry in self.delayed + self.aside)
        assert self.schedule.startable(self.now) == len(self.ready) + due
        assert self.schedule.buffered == held - out - len(self.delayed)
        assert self.schedule.next_due == min((d.until for d in self.delayed + self.aside), default=None)

    @invariant()
    def a_batch_is_full_when_what_can_be_begun_fills_it(self) -> None:
        could = sum(len(self.lanes[self.lane_of(entry)]) for entry in self.ready)
        for most in (1, 2, 3, could, could + 1):
            if most:
                assert self.schedule.fills(most) == (could >= most)

    # -- the model's own ----------------------------------------------------------------------------------------

    def lane_of(self, entry: Entry) -> object:
        return entry.lane if entry.lane is not None else entry.raw_id

    def expected(self) -> Entry | None:
        due = [entry for entry in self.delayed if entry.until <= self.now]
        if due:
            return min(due, key=lambda entry: entry.until)  # the first of those that are equally due
        return self.ready[0] if self.ready else None

    def next_of_lanes(self) -> list[Entry]:
        """What is behind the batch in its lanes."""
        lanes = [self.lanes[lane] for lane in dict.fromkeys(map(self.lane_of, self.batch))]
        behind = [[entry for entry in lane if entry not in self.batch] for lane in lanes]
        return [waiting[0] for waiting in behind if waiting]

    def begin(self, entry: Entry) -> None:
        (self.delayed if entry.until else self.ready).append(entry)

    def out(self, entry: Entry) -> None:
        for waiting in (self.ready, self.delayed):
            if entry in waiting:
                waiting.remove(entry)

    def leave_lane(self, entry: Entry) -> None:
        lane = self.lane_of(entry)
        self.lanes[lane].remove(entry)
        if not self.lanes[lane]:
            del self.lanes[lane]

    def leave_one(self, entry: Entry) -> None:
        self.running.remove(entry)
        self.leave_in_model(entry)
        self.schedule.leave(entry)

    def leave_in_model(self, entry: Entry) -> None:
        self.leave_lane(entry)
        own = self.lanes.get(entry.lane) if entry.lane is not None else None
        if own:
            self.begin(own[0])

    def copies_due(self) -> list[Entry]:
        """In the order in which they are to be asked after."""
        return sorted((d for d in self.aside if d.until <= self.now), key=lambda d: d.until)


class TestSchedule(ScheduleModel.TestCase):
    settings = settings(stateful_step_count=40)


def test_p7_a_batch_takes_a_lane_in_its_order_as_far_as_there_is_room() -> None:
    schedule = Schedule()
    entries = [Entry("s", b"%d-0" % number, []) for number in range(4)]
    for entry in entries:
        entry.lane = "a"
        schedule.add(entry)
    assert schedule.take_batch(0.0, 3) == entries[:3]
    assert schedule.take_batch(0.0, 3) == [], "the lane is the batch's"
    assert schedule.startable(0.0) == 0
    schedule.end_batch(entries[:3], [])
    assert schedule.startable(0.0) == 1
    assert schedule.take_batch(0.0, 3) == entries[3:]

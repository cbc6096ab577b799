"""The facts about groups, streams and the broker, each with its level and its line."""

from __future__ import annotations

import logging
from typing import ClassVar, Literal

from ..exceptions import RedisStreamsError, UnansweredError
from .bases import CountFact, Fact, GroupFact, ReportFact, entries

_IDS_SHOWN = 5


class Subscribed(GroupFact, frozen=True, kw_only=True):
    """A subscription was opened: these handlers handle its events."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "{0.handled}"
    handlers: tuple[str, ...]
    concurrency: int
    order: str
    batch: int | None = None

    @property
    def handled(self) -> str:
        """Handlers and order in words: `bill, 64 at once, per key`."""
        parallel = "one at a time" if self.concurrency == 1 else f"{self.concurrency} at once"
        batches = f", in batches of {self.batch}" if self.batch else ""
        order = {"stream": "in order", "key": "per key"}.get(self.order, "in any order")
        return f"{', '.join(self.handlers)}, {parallel}{batches}, {order}"


class Fetched(CountFact, frozen=True, kw_only=True):
    """One read returned new entries."""

    line: ClassVar[str] = "read {0.entries}"


PublishedBy = Literal["publish", "publish_many", "follow_up"]
"""How events are published: by a call, or with the acknowledgement of the event that they follow."""


class Published(Fact, frozen=True, kw_only=True):
    """Events were published, and Redis has confirmed them: by `publish`, `publish_many`, or as follow-ups."""

    line: ClassVar[str] = "published {0.entries} to {0.stream}"
    stream: str
    event_type: str
    """Empty if the events have several types."""
    by: PublishedBy
    count: int
    bytes: int
    """The size of the commands that were sent."""
    seconds: float | None
    """How long publishing took; `None` for follow-ups, which are written with an acknowledgement."""

    @property
    def entries(self) -> str:
        """The number of events, in words."""
        return entries(self.count)


class PublishFailed(Fact, frozen=True, kw_only=True):
    """Publishing raised an error to its caller: events were not published, not confirmed, or not as durable as asked.

    What to do: look at the error, which the caller has got too.
    """

    line: ClassVar[str] = "could not publish to {0.stream}: {0.error}"
    stream: str
    event_type: str
    """Empty if the events have several types."""
    by: PublishedBy
    count: int
    """The number of events that are not known to be published."""
    error: str
    seconds: float
    exception: BaseException | None = None


class Settled(CountFact, frozen=True, kw_only=True):
    """Entries were acknowledged, in one round trip."""

    line: ClassVar[str] = "settled {0.entries}"


class LoopBlocked(Fact, frozen=True, kw_only=True):
    """Something blocked the event loop, so that nothing else ran: no handler, no read, no renewal of leases.

    What to do: move the code that `where` names into a thread (`asyncio.to_thread`), or make it async.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "event loop blocked for {0.seconds:.3g} s{0.by}, at {0.where}"
    seconds: float
    handler: str
    """The name of the handler that blocked the loop; empty if something else did."""
    where: str
    """Where the loop was blocked: file, line and function."""

    @property
    def by(self) -> str:
        """The handler that blocked the loop, in words."""
        return f" by handler {self.handler}" if self.handler else ""


class Starved(GroupFact, frozen=True, kw_only=True):
    """A subscription has read nothing for longer than a lease, because all that it holds waits. It is not `ready`.

    What to do: look at the failures or wishes of the events that wait; see docs/ordering.md. `ReadingAgain` ends it.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "starving: {0.waiting} entries wait, {0.unwritten} acknowledgements are unwritten{0.until}"
    waiting: int
    unwritten: int
    seconds: float | None  # until the first of them is due; `None` if none waits for a time

    @property
    def until(self) -> str:
        """When the first one is due, in words."""
        return "" if self.seconds is None else f", the first is due in {self.seconds:.3g} s"


class ReadingAgain(GroupFact, frozen=True, kw_only=True):
    """A read succeeded after others had failed, or began after the subscription starved: that is over."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "reading again after {0.seconds:.3g} s"
    seconds: float


class Recovered(CountFact, frozen=True, kw_only=True):
    """This consumer took its own pending entries up again, for example after a restart."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "took up {0.entries} of its own again"


class Reclaimed(CountFact, frozen=True, kw_only=True):
    """Entries were taken over from consumers that are gone."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "took over {0.entries} that other consumers left"


class Released(CountFact, frozen=True, kw_only=True):
    """Entries were released in a drain: other consumers take them over at once."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "released {0.entries} for other consumers"


class Drained(Fact, frozen=True, kw_only=True):
    """The broker has stopped in order: all fates are written, and all other entries are released."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "drained in {0.seconds:.3g} s: settled {0.settled} meanwhile, released {0.released}"
    seconds: float
    settled: int
    released: int


class EntriesVanished(GroupFact, frozen=True, kw_only=True):
    """Entries were deleted or trimmed while they were pending, so they can no longer be handled.

    What to do: raise the bound of the stream (`retention`), or find out who deletes entries.
    """

    level: ClassVar[int] = logging.ERROR
    line: ClassVar[str] = "{0.entries} deleted or trimmed while pending, and cannot be handled: {0.named}"
    ids: tuple[str, ...]

    @property
    def entries(self) -> str:
        """The number of entries, in words."""
        return entries(len(self.ids))

    @property
    def named(self) -> str:
        """The first of the ids."""
        return ", ".join(self.ids[:_IDS_SHOWN]) + (", ..." if len(self.ids) > _IDS_SHOWN else "")


class ConsumerRemoved(GroupFact, frozen=True, kw_only=True):
    """The name of a consumer that is gone was removed from the group."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "removed consumer {0.removed}, which is gone"
    removed: str


class GroupRecreated(GroupFact, frozen=True, kw_only=True):
    """The group was lost (deleted, `FLUSHALL`, failover) and was recreated at this position.

    What to do: find out why it was lost; events after the position are delivered again.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "the group was lost, and was recreated at {0.position}"
    position: str


class HistoryLost(CountFact, frozen=True, kw_only=True):
    """Redis lost entries that this consumer had read: a promoted replica lacks them, or a server that restarted.

    `count` is the number of them among the entries of the last read; there may be more, also some that nobody has read.

    What to do: publish again what its source still has; see docs/durability.md for how to wait for copies.
    """

    level: ClassVar[int] = logging.ERROR
    line: ClassVar[str] = "Redis lost at least {0.entries} of those that were read, up to {0.id}"
    id: str
    """The last id that was read."""


class CheckpointSaved(GroupFact, frozen=True, kw_only=True):
    """The group's checkpoint was written."""

    line: ClassVar[str] = "checkpoint {0.id}"
    id: str


class LagMeasured(ReportFact, frozen=True, kw_only=True):
    """The lag watcher measured a group."""

    line: ClassVar[str] = "lag {0.report.lag}, pending {0.report.pending}"


class LagHigh(ReportFact, frozen=True, kw_only=True):
    """A group has fallen behind by more than `lag_high` entries.

    What to do: slow the publishers down, or add consumers.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "has fallen behind: {0.report.behind} entries"


class LagLow(ReportFact, frozen=True, kw_only=True):
    """A group that was behind has caught up to `lag_low` entries."""

    level: ClassVar[int] = logging.INFO
    line: ClassVar[str] = "has caught up: {0.report.behind} entries"


class StreamPastBound(Fact, frozen=True, kw_only=True):
    """A stream is longer than its `alert_length`.

    What to do: find the group that is behind, or give the stream a `retention`.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "stream {0.stream} has {0.length} entries, more than {0.bound}"
    stream: str
    length: int
    bound: int


class StepFailed(Fact, frozen=True, kw_only=True):
    """The broker could not carry out one of its duties now, and tries again after `delay` seconds.

    What to do: nothing if Redis is away for a while; else correct what the error names.
    """

    level: ClassVar[int] = logging.WARNING
    line: ClassVar[str] = "cannot {0.duty} now, trying again in {0.delay:.3g} s: {0.error}"
    duty: str
    error: str
    delay: float

    @classmethod
    def of(cls, duty: str, error: RedisStreamsError, delay: float) -> StepFailed:
        """The fact for an error, in one line. Of an `UnansweredError` only the cause is shown: a step is repeated."""
        text = error.reason if isinstance(error, UnansweredError) else str(error)
        return cls(duty=duty, error=" ".join(text.split()), delay=round(delay, 3))

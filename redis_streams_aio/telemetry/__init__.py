"""Facts: frozen records of events in the library, given to observers. Logging, metrics and tests are observers.

An observer is any function that takes a fact. The broker calls it in the event loop and waits for it, so it must return
quickly. An error that it raises is logged and changes nothing else. It gets all facts, unless it has an attribute
`kinds`: a tuple of the classes of facts that it wants. Facts of the hot path (`Fetched`, `Handled`, `Published`,
`Settled`) are created only if an observer wants them.
"""

from .acts import Acted
from .bases import EventFact, Fact, GroupFact
from .event_facts import (
    DeadLettered,
    DuplicateDropped,
    Handled,
    HandlerSlow,
    LeaseLost,
    Outcome,
    Postponed,
    RetryScheduled,
)
from .facts import (
    CheckpointSaved,
    ConsumerRemoved,
    Drained,
    EntriesVanished,
    Fetched,
    GroupRecreated,
    HistoryLost,
    LagHigh,
    LagLow,
    LagMeasured,
    LoopBlocked,
    Published,
    PublishedBy,
    PublishFailed,
    ReadingAgain,
    Reclaimed,
    Recovered,
    Released,
    Settled,
    Starved,
    StepFailed,
    StreamPastBound,
    Subscribed,
)
from .flow import BreakerClosed, BreakerOpened, Paused, Resumed
from .observers import SILENT, Observer, Telemetry, write
from .retention import RetentionNear, RetentionPinned, UnsettledTrimmed

__all__ = [
    "SILENT",
    "Acted",
    "BreakerClosed",
    "BreakerOpened",
    "CheckpointSaved",
    "ConsumerRemoved",
    "DeadLettered",
    "Drained",
    "DuplicateDropped",
    "EntriesVanished",
    "EventFact",
    "Fact",
    "Fetched",
    "GroupFact",
    "GroupRecreated",
    "Handled",
    "HandlerSlow",
    "HistoryLost",
    "LagHigh",
    "LagLow",
    "LagMeasured",
    "LeaseLost",
    "LoopBlocked",
    "Observer",
    "Outcome",
    "Paused",
    "Postponed",
    "PublishFailed",
    "Published",
    "PublishedBy",
    "ReadingAgain",
    "Reclaimed",
    "Recovered",
    "Released",
    "Resumed",
    "RetentionNear",
    "RetentionPinned",
    "RetryScheduled",
    "Settled",
    "Starved",
    "StepFailed",
    "StreamPastBound",
    "Subscribed",
    "Telemetry",
    "UnsettledTrimmed",
    "write",
]

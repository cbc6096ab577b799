"""Facts: what happened, as frozen records given to observers. Logging, metrics and tests are observers.

An observer is any function that takes a fact. It is called synchronously, in the event loop, and must return
quickly; when it raises, that is logged and nothing else happens. With no observer, facts of the hot path
(`Fetched`, `Settled`) are not even made.
"""

from .bases import EventFact, Fact, GroupFact
from .facts import (
    CheckpointSaved,
    ConsumerRemoved,
    DeadLettered,
    Drained,
    DuplicateDropped,
    EntriesVanished,
    Fetched,
    GroupRecreated,
    HandlerSlow,
    LagHigh,
    LagLow,
    LagMeasured,
    LeaseLost,
    LoopBlocked,
    Postponed,
    ReadingAgain,
    Reclaimed,
    Recovered,
    Released,
    RetryScheduled,
    Settled,
    StepFailed,
    StreamPastBound,
    Subscribed,
)
from .observers import SILENT, Observer, Telemetry, write

__all__ = [
    "SILENT",
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
    "HandlerSlow",
    "LagHigh",
    "LagLow",
    "LagMeasured",
    "LeaseLost",
    "LoopBlocked",
    "Observer",
    "Postponed",
    "ReadingAgain",
    "Reclaimed",
    "Recovered",
    "Released",
    "RetryScheduled",
    "Settled",
    "StepFailed",
    "StreamPastBound",
    "Subscribed",
    "Telemetry",
    "write",
]

"""Facts: frozen records of events in the library, given to observers. Logging, metrics and tests are observers.

An observer is any function that takes a fact. The broker calls it in the event loop and waits for it, so it must return
quickly. An error that it raises is logged and changes nothing else. Without observers, facts of the hot path
(`Fetched`, `Settled`) are not created at all.
"""

from .acts import Acted
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
    Starved,
    StepFailed,
    StreamPastBound,
    Subscribed,
)
from .observers import SILENT, Observer, Telemetry, write

__all__ = [
    "SILENT",
    "Acted",
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
    "Starved",
    "StepFailed",
    "StreamPastBound",
    "Subscribed",
    "Telemetry",
    "write",
]

"""Plan which step (script) at Redis writes which fate (retry, dead letter, completion). Pure: asks nothing of Redis.

Failures that are to be retried share a step, so that they become due at the same moment of the server's clock. Each
dead letter and each completion is a step of its own. All of them leave together (`sending`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

from ...connection.steps import completing, dead_letters, retrying
from ...connection.steps.consumer import NotOurs
from ...connection.steps.dead_letters import DeadLetterOptions
from ...connection.steps.script import Step
from ...events import dead_letter
from ...events.wire_format import EVENT_ID, get
from ...handlers.fates import Complete, DeadLetter, Retry
from ..entry import Entry
from ..holdings import Holdings

RETRIES_AT_ONCE = 250
"""The most records in one step: three commands each, about a millisecond of the server's time."""


class Write(NamedTuple):
    """A fate that is to be written."""

    entry: Entry
    fate: Complete | Retry | DeadLetter


class Written(NamedTuple):
    """Redis has carried a fate out."""

    first_ms: int = 0
    """The time of the first failure in milliseconds, of a retry; 0: it never failed."""
    wrote_follow_ups: bool = False
    """Whether this step published the follow-ups of a completion."""


class Planned(NamedTuple):
    """A step, and the entries whose fates it writes."""

    step: Step[Any]
    entries: Sequence[Entry]
    read: Callable[[Any], Sequence[Written | NotOurs]]
    """Turns the result of the step into the results of the entries."""


def plan(
    writes: Sequence[Write], holdings: Holdings, options: DeadLetterOptions, unanswered: Collection[bytes]
) -> list[Planned]:
    """Return the steps that write these fates. `unanswered` has the ids of entries whose fate was sent before."""
    failed = [(entry, fate) for entry, fate in writes if isinstance(fate, Retry)]
    return [*_retries(failed, holdings), *_ends(writes, holdings, options, unanswered)]


def _retries(failed: Sequence[tuple[Entry, Retry]], holdings: Holdings) -> Iterator[Planned]:
    for start in range(0, len(failed), RETRIES_AT_ONCE):
        part = failed[start : start + RETRIES_AT_ONCE]
        records = [_record(entry, fate) for entry, fate in part]
        yield Planned(retrying.failures(holdings.who, records), [entry for entry, _ in part], _first_failures)


def _record(entry: Entry, fate: Retry) -> retrying.Failed:
    first_ms = round(entry.first_failure * 1000)
    return retrying.Failed(entry.raw_id, round(fate.delay * 1000), fate.failures, first_ms, fate.error)


def _first_failures(firsts: Sequence[int | NotOurs]) -> list[Written | NotOurs]:
    return [first if isinstance(first, NotOurs) else Written(first) for first in firsts]


def _ends(
    writes: Sequence[Write], holdings: Holdings, options: DeadLetterOptions, unanswered: Collection[bytes]
) -> Iterator[Planned]:
    who = holdings.who
    for entry, fate in writes:
        if isinstance(fate, Complete):
            yield Planned(completing.completion(who, _completion(entry, fate)), [entry], _completed)
        elif isinstance(fate, DeadLetter):
            fields = dead_letter.compose(entry, fate, *who)
            step = dead_letters.letter(who, entry.raw_id, fields, options, tried=entry.raw_id in unanswered)
            yield Planned(step, [entry], _dead_lettered)


def _completion(entry: Entry, fate: Complete) -> completing.Completion:
    atomic = [follow_up.command for follow_up in fate.follow_ups if follow_up.atomic]
    return completing.Completion(entry.raw_id, get(entry.fields, EVENT_ID), fate.remember, atomic, entry.is_gone)


def _completed(completed: completing.Completed) -> list[Written | NotOurs]:
    """Return that it is written, also where somebody has acknowledged the entry before, or handled a copy."""
    return [Written(wrote_follow_ups=completed is completing.Completed.DONE)]


def _dead_lettered(letter: str | NotOurs) -> list[Written | NotOurs]:
    return [letter if isinstance(letter, NotOurs) else Written()]

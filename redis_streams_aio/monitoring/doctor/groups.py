"""Judge streams and groups: who is abandoned, who is dead, what was trimmed too early, what grows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ...config import Retention
from ...events import entry_ids, keys
from ...models import ConsumerInfo, GroupInfo, LagReport, Pause
from ..finding import DEAD_LETTERS, FoundStream
from .findings import CRITICAL, HINT, OK, WARNING, Finding, finding

_LONG = 600.0
"""Seconds without any sign of a consumer after which a group counts as abandoned."""
_MANY = 1_000
"""Names in a group from which on looking for dead ones costs noticeably."""
_LARGE = 1_000_000
"""Entries from which on a stream without a bound is told."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A group of a stream as it was found."""

    stream: FoundStream
    info: GroupInfo
    consumers: list[ConsumerInfo]
    leases: dict[str, float]
    report: LagReport | None
    dead_letters: int
    pause: Pause | None = None

    @property
    def where(self) -> str:
        """Its name in findings."""
        return f"{self.stream.info.name} / {self.info.name}"


def judge_group(group: Group) -> Iterator[Finding]:
    """Yield what is found of a group."""
    if group.pause is not None:
        yield _paused(group, group.pause)
    else:
        yield from _abandoned(group)
        yield from _dead_consumers(group)
    yield from _trimmed(group)
    if len(group.consumers) >= _MANY:
        told = f"{len(group.consumers):,} names in the group"
        advice = "give consumers a fixed number of names, or lower consumer_expiry"
        yield finding(HINT, "consumers", group.where, told, advice)
    if group.dead_letters:
        name, of = group.stream.info.name, group.info.name
        advice = f"redis-streams-aio dead-letters ls {name} {of}"
        yield finding(
            WARNING, "dead letters", group.where, f"{group.dead_letters:,} dead letters wait for a person", advice
        )


def judge_stream(found: FoundStream, retention: Retention | None) -> Iterator[Finding]:
    """Yield what is found of a stream."""
    info = found.info
    if found.kind == DEAD_LETTERS:
        return
    if info.length >= _LARGE and retention is None:
        told = f"{info.length:,} events, and no bound is known: acknowledging deletes nothing, so it grows for ever"
        advice = "say in the settings what may go: streams: {name: {retention: {acknowledged: true}}}"
        yield finding(HINT, "growth", info.name, told, advice)
    if info.groups == 0 and info.length:
        yield finding(HINT, "groups", info.name, "nobody reads it: it has no group", "is its name spelled right?")


def missing_streams(configured: Iterable[str], there: Iterable[str]) -> Iterator[Finding]:
    """Yield the streams that the settings name, and that do not exist."""
    for name in sorted({*configured} - {*there}):
        told = "the settings name it, and there is no such stream"
        yield finding(HINT, "config", name, told, "is its name spelled right? It is created with its first event")


def all_well(groups: list[Group], findings: list[Finding]) -> Iterator[Finding]:
    """Yield that the groups are well, for those checks that found nothing."""
    bad = {each.check for each in findings}
    for check, told in (("abandoned", "each group has a living consumer"), ("dead consumers", "nothing is stuck")):
        if groups and check not in bad:
            yield finding(OK, check, f"{len(groups):,} groups", told)


def _is_living(group: Group, consumer: ConsumerInfo) -> bool:
    """Whether a consumer gave a sign of life lately. On Redis 7.0, a consumer that only waits gives none."""
    return consumer.idle < max(_LONG, group.leases.get(consumer.name, 0.0))


def _is_served(group: Group) -> bool:
    return any(_is_living(group, each) for each in _processes(group))


def _processes(group: Group) -> list[ConsumerInfo]:
    return [each for each in group.consumers if each.name not in (keys.RELEASED, keys.PARKED)]


def _paused(group: Group, pause: Pause) -> Finding:
    since = "" if pause.since is None else f" since {pause.since:%Y-%m-%d %H:%M} UTC"
    told = f"it is paused by {pause.by or 'somebody'}{since}: {pause.why or 'no reason given'}"
    advice = f"when the reason is gone: redis-streams-aio resume {group.stream.info.name} {group.info.name}"
    return finding(HINT, "paused", group.where, told, advice)


def _abandoned(group: Group) -> Iterator[Finding]:
    report = group.report or LagReport(group.stream.info.name, group.info.name, 0, group.info.pending, None)
    if _is_served(group) or (report.behind == 0 and report.lag is not None):
        return
    oldest = report.oldest_age or 0.0
    waiting = "1 event waits" if report.behind == 1 else f"{report.behind:,} events wait"
    told = f"{waiting}, the oldest for {oldest / 60:.0f} min, and no consumer is alive"
    advice = (
        "start its consumers, or delete it if nobody needs it: it keeps a retention by acknowledgements from trimming"
    )
    yield finding(CRITICAL if oldest >= _LONG else WARNING, "abandoned", group.where, told, advice)


def _dead_consumers(group: Group) -> Iterator[Finding]:
    """Yield consumers that hold entries and are gone, where living ones should have taken these over, and did not."""
    if not _is_served(group):
        return
    dead = [each for each in _processes(group) if each.pending and not _is_living(group, each)]
    for consumer in dead:
        told = (
            f"consumer {consumer.name} holds {consumer.pending:,} entries and is gone for {consumer.idle / 60:.0f} min"
        )
        if group.leases:
            advice = "nobody takes them over: are the others paused, full, or not permitted to claim? See `pending`"
        else:
            advice = "its program does not take over: XAUTOCLAIM them, or let a broker of this library join the group"
        yield finding(CRITICAL, "dead consumers", group.where, told, advice)


def _trimmed(group: Group) -> Iterator[Finding]:
    """Yield how many entries the group has never been given, because they were trimmed or deleted before."""
    info, read = group.stream.info, group.info.entries_read
    if read is None or group.report is None or group.report.lag is None:
        return
    missing = info.entries_added - read - group.report.lag
    first_is_unread = info.first_id is None or entry_ids.parse(info.first_id) > entry_ids.parse(
        group.info.last_delivered_id
    )
    if missing > 0 and first_is_unread and info.entries_added > info.length:
        told = f"{missing:,} events were trimmed or deleted before the group was given them"
        advice = "raise the bound of the stream (its retention), or add consumers: the group is too slow for it"
        yield finding(CRITICAL, "trimmed", group.where, told, advice)

"""`seek`: moves a group back, so that events are delivered again, or forward, so that events are skipped."""

from __future__ import annotations

from datetime import datetime

import click

from ...config import Settings
from ...consumer import ConsumerGroupManager, seeking
from ...models import GroupUse, SeekReport
from ..acting import Done, How, Plan, Target, acting, carry_out
from ..parameters import connection_options, redis_name
from ..positions import HELP, METAVAR, position, shown
from ..session import connect, stream_named


@click.command("seek")
@click.argument("stream", callback=redis_name)
@click.argument("group", callback=redis_name)
@click.option("--to", required=True, metavar=METAVAR, callback=position, help=HELP)
@acting
@connection_options
def command(*, stream: str, group: str, to: str | datetime, how: How, settings: Settings) -> None:
    """Move a group back, so that events are delivered again, or forward, so that events are skipped.

    Pending entries behind the position are delivered again too, and Redis forgets their failures. Older ones stay with
    their consumers. Consumers need not be stopped, but may handle twice what they have in hand.
    """
    target = Target("seek", stream, group)

    async def plan() -> Plan:
        with stream_named(stream):
            async with connect(settings) as connection:
                planned = await seeking.plan(connection, stream, group, to)
                use = await ConsumerGroupManager(connection).usage(stream, group)
        report = planned.report
        return Plan(
            count=report.again + report.skipped,
            told=f"{target} would {_told(report, 'go')}{_warning(report, use)}",
            question=f"{target} will {_told(report, 'go')}{_warning(report, use)}. Go on?" if _moves(report) else "",
            commands=[planned.step],
        )

    async def act(_: Plan | None) -> Done:
        with stream_named(stream):
            async with connect(settings) as connection:
                report = await ConsumerGroupManager(connection).seek(stream, group, to)
        return Done(
            count=report.again + report.skipped, told=f"{target} {_told(report, 'went')}", changed=_moves(report)
        )

    carry_out(target, how, plan, act)


def _moves(report: SeekReport) -> bool:
    return report.before != report.position or report.pending_again > 0


def _told(report: SeekReport, go: str) -> str:
    """Say where a group goes: `go back from A to B: 12 entries delivered again, 3 of them pending until now`."""
    if not _moves(report):
        return f"{'stay' if go == 'go' else 'stayed'} at {shown(report.position)}"
    at_least = "" if report.is_exact else "at least "
    where = f"from {shown(report.before)} to {shown(report.position)}"
    if report.skipped:
        return f"{go} forward {where}: {at_least}{_entries(report.skipped)} skipped"
    if report.again:
        return f"{go} back {where}: {at_least}{_entries(report.again)} delivered again{_pending(report)}"
    return f"{go} {where}: no entry lies between"


def _pending(report: SeekReport) -> str:
    return f", {report.pending_again:,} of them pending until now" if report.pending_again else ""


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _warning(report: SeekReport, use: GroupUse) -> str:
    """Warn of consumers that may have in hand what is delivered again."""
    if not use.living or not report.pending_again:
        return ""
    consumers = "1 consumer is" if len(use.living) == 1 else f"{len(use.living)} consumers are"
    return f" ({consumers} alive, and may handle some of these twice)"

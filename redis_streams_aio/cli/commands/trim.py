"""`trim`: deletes what every group of a stream has settled."""

from __future__ import annotations

import click

from ...config import Settings
from ...connection import Connection
from ...monitoring.trimming import SafeTrim, TrimPlan
from ..acting import Done, How, Plan, Target, acting, carry_out
from ..parameters import connection_options, duration, redis_name
from ..session import connect, stream_named
from ..show import visible


@click.command("trim")
@click.argument("stream", callback=redis_name)
@click.option("--safe", is_flag=True, help="Only entries that every group has settled. Required.")
@click.option("--max-age", metavar="AGE", callback=duration, help="Only entries older than e.g. 2h, 7d.")
@click.option("--max-length", type=click.IntRange(min=0), metavar="N", help="Leave at least N entries in the stream.")
@click.option(
    "--group",
    "groups",
    multiple=True,
    metavar="NAME",
    callback=redis_name,
    help="A group that must have settled them too if it does not exist; may be repeated.",
)
@acting
@connection_options
def command(
    *,
    stream: str,
    safe: bool,
    max_age: float | None,
    max_length: int | None,
    groups: tuple[str, ...],
    how: How,
    settings: Settings,
) -> None:
    """Delete the oldest entries of a stream, as far as every group has settled them.

    Groups that the stream's retention in the configuration file names count also where they do not exist.
    """
    if not safe:
        raise click.UsageError("trim deletes what every group has settled: say so with --safe")
    retention = settings.stream(stream).retention
    named = (*groups, *(() if retention is None else retention.groups))

    def trim(connection: Connection) -> SafeTrim:
        return SafeTrim(connection, stream, max_age=max_age, max_length=max_length, groups=named)

    async def plan() -> Plan:
        async with connect(settings) as connection:
            with stream_named(stream):
                planned = await trim(connection).plan()
            told = _told(planned)
            question = f"{told}\nDelete them?" if planned.count else ""
            commands = (trim(connection).step,) if planned.count else ()
        return Plan(count=planned.count, told=told, question=question, commands=commands)

    async def act(_: Plan | None) -> Done:
        async with connect(settings) as connection:
            with stream_named(stream):
                deleted = await trim(connection).run()
        return Done(count=deleted, told=f"{deleted:,} deleted", changed=deleted > 0)

    carry_out(Target("trim", stream), how, plan, act)


def _told(plan: TrimPlan) -> str:
    """Say what a trim would delete, and what keeps the rest."""
    count = f"{plan.count:,}" if plan.is_exact else f"at least {plan.count:,}"
    told = f"{count} of {plan.length:,} entries would be deleted"
    if plan.count:
        told += f", those before {plan.before}"
    if plan.kept_for:
        told += f"; the others are kept for {', '.join(map(visible, plan.kept_for))}"
    return told

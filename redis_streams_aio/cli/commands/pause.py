"""`pause`: all consumers of a group stop handling events, until `resume`."""

from __future__ import annotations

import click

from ...config import Settings
from ...connection.steps import controls
from ...consumer import ConsumerGroupManager
from ..acting import Done, How, Plan, Target, acting, carry_out
from ..parameters import connection_options, one_line, redis_name
from ..session import connect, stream_named


@click.command("pause")
@click.argument("stream", callback=redis_name)
@click.argument("group", callback=redis_name)
@click.option("--why", required=True, metavar="TEXT", callback=one_line, help="The reason, for everybody who looks.")
@acting
@connection_options
def command(*, stream: str, group: str, why: str, how: How, settings: Settings) -> None:
    """Pause a group in all its processes, until `resume`, also after a restart.

    Handlers that run go on to their end; nothing else begins, and the events wait in Redis.
    """
    target = Target("pause", stream, group)

    async def plan() -> Plan:
        async with connect(settings) as connection:
            groups = ConsumerGroupManager(connection)
            with stream_named(stream):
                info = await groups.get_group_info(stream, group)
            before = await groups.get_pause(stream, group)
        known = "" if before is None else f" ({before})"
        return Plan(
            count=1,
            told=f"{target} would be paused{known}; it has {info.consumers:,} consumers",
            question=f"Pause {target}{known}?",
            commands=[controls.pause(stream, group, how.by, why)],
        )

    async def act(_: Plan | None) -> Done:
        async with connect(settings) as connection:
            with stream_named(stream):
                paused = await ConsumerGroupManager(connection).pause(stream, group, by=how.by, why=why)
        return Done(count=1, told=str(paused))

    carry_out(target, how, plan, act)

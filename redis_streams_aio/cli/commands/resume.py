"""`resume`: all consumers of a paused group go on."""

from __future__ import annotations

import click

from ...config import Settings
from ...connection.steps import controls
from ...consumer import ConsumerGroupManager
from ..acting import Done, How, Plan, Target, acting, carry_out
from ..parameters import connection_options, one_line, redis_name
from ..session import connect


@click.command("resume")
@click.argument("stream", callback=redis_name)
@click.argument("group", callback=redis_name)
@click.option("--why", default="", metavar="TEXT", callback=one_line, help="The reason, for everybody who looks.")
@acting
@connection_options
def command(*, stream: str, group: str, why: str, how: How, settings: Settings) -> None:
    """Let all processes of a paused group go on with the events that wait."""
    target = Target("resume", stream, group)

    async def plan() -> Plan:
        async with connect(settings) as connection:
            paused = await ConsumerGroupManager(connection).get_pause(stream, group)
        if paused is None:
            return Plan(count=0, told=f"{target} is not paused")
        return Plan(
            count=1,
            told=f"{target} would go on; it is {paused}",
            question=f"Let {target} go on? It is {paused}",
            commands=[controls.resume(stream, group, how.by, why)],
        )

    async def act(_: Plan | None) -> Done:
        async with connect(settings) as connection:
            was_paused = await ConsumerGroupManager(connection).resume(stream, group, by=how.by, why=why)
        return Done(count=int(was_paused), told="goes on" if was_paused else "was not paused", changed=was_paused)

    carry_out(target, how, plan, act)

"""`group create`, `group copy` and `group delete`."""

from __future__ import annotations

from datetime import datetime

import click

from ...config import Settings
from ...connection.steps import groups as steps
from ...consumer import ConsumerGroupManager
from ...consumer.groups import DELETED_FOR_MS
from ...events import entry_ids
from ...models import GroupUse
from ...monitoring.dead_letters import DeadLetters
from ..acting import Done, How, Plan, Target, acting, carry_out
from ..parameters import connection_options, redis_name
from ..positions import HELP, METAVAR, position, shown
from ..session import connect, stream_named
from ..show import visible


@click.group("group")
def command() -> None:
    """Create, copy and delete consumer groups."""


@command.command("create")
@click.argument("stream", callback=redis_name)
@click.argument("group", callback=redis_name)
@click.option("--at", default="start", show_default=True, metavar=METAVAR, callback=position, help=HELP)
@acting
@connection_options
def create_command(*, stream: str, group: str, at: str | datetime, how: How, settings: Settings) -> None:
    """Create a group, and its stream if that does not exist."""
    target = Target("group create", stream, group)
    start = entry_ids.start_position(at)

    async def plan() -> Plan:
        return Plan(
            count=0,
            told=f"{target} would be created at {_position(start)}",
            question=f"Create {target} at {_position(start)}?",
            commands=[steps.creating(stream, group, start, start)],
        )

    async def act(_: Plan | None) -> Done:
        async with connect(settings) as connection:
            created = await ConsumerGroupManager(connection).create_group(stream, group, start)
        return Done(count=0, told=f"{target} created at {_position(created)}")

    carry_out(target, how, plan, act)


@command.command("copy")
@click.argument("stream", callback=redis_name)
@click.argument("source", metavar="GROUP", callback=redis_name)
@click.argument("group", metavar="NEW_GROUP", callback=redis_name)
@acting
@connection_options
def copy_command(*, stream: str, source: str, group: str, how: How, settings: Settings) -> None:
    """Create a group at the position of another one, with the same entries pending.

    The first consumers of the new group take over the pending entries. GROUP stays as it is.
    """
    target = Target("group copy", stream, group)

    async def plan() -> Plan:
        with stream_named(stream):
            async with connect(settings) as connection:
                known = await ConsumerGroupManager(connection).get_group_info(stream, source)
        pending = "1 pending entry" if known.pending == 1 else f"{known.pending:,} pending entries"
        where = f"at {shown(known.last_delivered_id)}, as {visible(source)}, with {pending}"
        return Plan(
            count=known.pending,
            told=f"{target} would be created {where}",
            question=f"Create {target} {where}?",
            commands=[steps.copying(stream, group, source)],
        )

    async def act(_: Plan | None) -> Done:
        with stream_named(stream):
            async with connect(settings) as connection:
                where = await ConsumerGroupManager(connection).copy_group(stream, group, source=source)
                pending = (await ConsumerGroupManager(connection).usage(stream, group)).pending
        told = f"{target} created at {shown(where)}, as {visible(source)}, with {pending:,} pending"
        return Done(count=pending, told=told)

    carry_out(target, how, plan, act)


@command.command("delete")
@click.argument("stream", callback=redis_name)
@click.argument("group", callback=redis_name)
@click.option("--force", is_flag=True, help="Also if entries are pending, or consumers live.")
@acting
@connection_options
def delete_command(*, stream: str, group: str, force: bool, how: How, settings: Settings) -> None:
    """Delete a group with its keys beside the stream, if nobody uses it. Its dead letters stay."""
    target = Target("group delete", stream, group)

    async def usage() -> GroupUse:
        with stream_named(stream):
            async with connect(settings) as connection:
                return await ConsumerGroupManager(connection).usage(stream, group)

    async def plan() -> Plan:
        use = await usage()
        if not force:
            _refuse_if_used(target, use)
        async with connect(settings) as connection:
            dead = await DeadLetters(connection, stream, group).count()
        letters = f" ({dead:,} dead letters stay)" if dead else ""
        return Plan(
            count=use.pending,
            told=f"{target} would be deleted, with {_in_words(use)}{letters}",
            question=f"Delete {target}, with {_in_words(use)}{letters}?",
            commands=[steps.deleting(stream, group, DELETED_FOR_MS, only_unused=not force)],
        )

    async def act(_: Plan | None) -> Done:
        use = await usage()
        async with connect(settings) as connection:
            deleted = await ConsumerGroupManager(connection).delete_group(stream, group, only_unused=not force)
        if not deleted:
            _refuse_if_used(target, await usage())
        return Done(count=use.pending, told=f"{target} deleted, with {_in_words(use)}")

    carry_out(target, how, plan, act)


def _refuse_if_used(target: Target, use: GroupUse) -> None:
    if use.pending or use.living:
        raise click.ClickException(f"{target} is in use: it has {_in_words(use)}; stop them first, or add --force")


def _in_words(use: GroupUse) -> str:
    """Return a group's use in words: `2 pending entries and 1 living consumer (host-1)`."""
    pending = "1 pending entry" if use.pending == 1 else f"{use.pending:,} pending entries"
    if not use.living:
        return f"{pending} and no living consumer"
    noun = "consumer" if len(use.living) == 1 else "consumers"
    return f"{pending} and {len(use.living)} living {noun} ({visible(', '.join(use.living))})"


def _position(start: str) -> str:
    return "the end" if start == entry_ids.END else shown(start)

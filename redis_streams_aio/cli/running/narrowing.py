"""Narrow a broker before it runs: to some of its groups, and to a consumer name of its own.

Both replace parts of the closed broker, as `redis_streams_aio.testing` does; its handlers stay as they are declared.
"""

from __future__ import annotations

from collections.abc import Collection

import click
import msgspec

from ...broker import Broker
from ...config.hints import suggestion
from ...handlers.routes import Plan


def only_groups(broker: Broker, groups: Collection[str]) -> None:
    """Let a broker handle only these groups. Raises `ClickException` for a group that none of its handlers has."""
    known = sorted({plan.options.group for plan in broker._router.plans()})  # noqa: SLF001  # the one seam: `broker.parts`
    for group in groups:
        if group not in known:
            has = f"it has {', '.join(known)}" if known else "it has no handlers"
            raise click.ClickException(f"no handler of the broker has group {group!r}{suggestion(group, known)}; {has}")

    def chosen(plan: Plan) -> Plan | None:
        return plan if plan.options.group in groups else None

    broker._parts = msgspec.structs.replace(broker._parts, plan=chosen)  # noqa: SLF001  # see above


def as_worker(broker: Broker, number: int) -> None:
    """Add the worker's number to the consumer name that the settings give: two processes may not share one."""
    parts = broker._parts  # noqa: SLF001  # the one seam: see `broker.parts`
    if parts.settings.consumer is not None:
        settings = msgspec.structs.replace(parts.settings, consumer=f"{parts.settings.consumer}-{number}")
        broker._parts = msgspec.structs.replace(parts, settings=settings)  # noqa: SLF001  # see above

"""Faults that a test can cause: a crash of the process, a lost acknowledgement, a lost lease."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..broker import Broker
from ..broker.supervisor import current_supervisor
from ..connection import Connection, replies
from ..consumer.intake.leases import LeaseKeeper
from ..consumer.subscription import Subscription
from ..events import keys
from ..exceptions import NotOpenError
from .clock import pending
from .recorder import Recorder

ANOTHER = "redis_streams_aio:testing:another"
"""The consumer that takes over entries when a test loses their leases."""
_LONG_AGO_MS = 86_400_000
_MOST_AT_ONCE = 1000
"""The most entries in one command."""


async def crash(broker: Broker) -> None:
    """Let the broker's process die, and another one start; see `Harness.crash`."""
    if (supervisor := broker._supervisor) is None:  # noqa: SLF001  # ours too
        raise NotOpenError("the broker is not open, and cannot crash")
    if current_supervisor.get() is supervisor:
        raise RuntimeError("a handler cannot crash its own process; let the test do it: 'await h.called(handler)'")
    supervisor.stop_now()
    await broker.connection.close()
    await broker.__aexit__(None, None, None)
    await broker.__aenter__()


async def redeliver(
    connection: Connection, subscription: Subscription, recorder: Recorder, ids: Collection[str]
) -> int:
    """Let Redis deliver handled events of a subscription again, these or all. Returns their number."""
    at = subscription.options.stream, subscription.options.group
    unsettled = {entry_id for entry_id, *_ in await pending(connection, *at)}
    handled = recorder.handled_and_alive(*at) - unsettled
    wanted = sorted(handled & set(ids) if ids else handled)
    options = ("IDLE", _LONG_AGO_MS, "FORCE", "RETRYCOUNT", 1)
    count = await _give(connection, subscription, keys.RELEASED, wanted, *options)
    subscription.search_soon()
    return count


async def lose_lease(connection: Connection, subscription: Subscription) -> int:
    """Let another consumer take over all deliveries of a subscription, which notices at once. Returns their number."""
    count = await _give(connection, subscription, ANOTHER, tuple(subscription.holdings.by_id))
    keeper = LeaseKeeper(connection, subscription.options.lease, lambda: (subscription.holdings,))
    try:
        await keeper.run_once()
    finally:
        await keeper.close()
    return count


async def _give(
    connection: Connection,
    subscription: Subscription,
    consumer: str,
    ids: Sequence[str | bytes],
    *options: str | int,
) -> int:
    """Give entries to a consumer. Returns their number."""
    count, command = 0, ("XCLAIM", subscription.options.stream, subscription.options.group, consumer, 0)
    for at in range(0, len(ids), _MOST_AT_ONCE):
        reply = await connection.call(*command, *ids[at : at + _MOST_AT_ONCE], *options, "JUSTID")
        count += len(replies.rows(reply))
    return count

"""Write failures to Redis, many in one step, so that the items of a batch come back together.

The entries stay pending under their own ids; a record beside the stream has the number of failures and the due time. A
decision has one due time: entries of one step are due at the same moment of the server's clock, and in this process all
items of a batch are due at the same moment, however many steps they took.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...connection.steps import retrying
from ...connection.steps.consumer import NOT_OURS, NotOurs
from ...events.delivery import Delivery
from ...exceptions import RedisStreamsError, RedisUnavailableError, StreamNotFoundError
from ...handlers.fates import Retry
from ...telemetry.logs import log
from ..holdings import Holdings
from . import reports

AT_ONCE = 250
"""The most records in one step: three commands each, about a millisecond of the server's time."""

Failed = tuple[Delivery, Retry]
Written = tuple[Delivery, Retry, int]
"""A delivery, its fate, and the time of its first failure in milliseconds, from Redis."""


async def write(holdings: Holdings, failed: Sequence[Failed]) -> list[Written]:
    """Write at most `AT_ONCE` failures, and return those of deliveries that this consumer still has.

    If Redis refuses permanently, the entries stay pending, and are no longer held here. Raises `RedisUnavailableError`.
    """
    firsts: list[int | NotOurs]
    records = [_record(delivery, fate) for delivery, fate in failed]
    try:
        firsts = await retrying.write_failures(holdings.connection, holdings.who, records)
    except StreamNotFoundError:
        firsts = [NOT_OURS] * len(failed)  # the lost group, when recreated, delivers these again
    except RedisUnavailableError:
        raise
    except RedisStreamsError as error:
        log.error("%s cannot be settled and stays pending", failed[0][0], error=error)
        for delivery, _ in failed:
            delivery.fate = None
            holdings.drop(delivery)
        return []
    written: list[Written] = []
    for (delivery, fate), first in zip(failed, firsts, strict=True):
        delivery.fate = None
        if isinstance(first, NotOurs):
            holdings.lose(delivery)
        else:
            written.append((delivery, fate, first))
    return written


def _record(delivery: Delivery, fate: Retry) -> retrying.Failed:
    first_ms = round(delivery.first_failure * 1000)
    return retrying.Failed(delivery.raw_id, round(fate.delay * 1000), fate.failures, first_ms, fate.error)


def schedule(holdings: Holdings, written: Sequence[Written]) -> list[Delivery]:
    """Let deliveries wait for their retry from this moment on, and return them."""
    now = holdings.clock.now()
    for delivery, fate, first in written:
        delivery.recorded = True
        delivery.due = now + fate.delay
        counted = fate.failures > delivery.failures
        if counted:
            delivery.first_failure = first / 1000
            delivery.failing_since = delivery.failing_since or now
            delivery.failures = fate.failures
        (reports.of_retry if counted else reports.of_wish)(holdings, delivery, fate)
    return [delivery for delivery, _, _ in written]

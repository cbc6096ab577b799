"""How failures are written down: many in one step, so that those of a batch come back together (P11, P15).

The entries stay pending under their own ids; a record beside the stream says how often each has failed and when it is
due. One decision has one due time, in Redis too: entries of one step are due at one moment of the server's clock, and
here those of one batch are due at the same moment as well, however many steps they took.
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
"""Records in one step: three commands each, about a millisecond of the server's time."""

Failed = tuple[Delivery, Retry]
Written = tuple[Delivery, Retry, int]
"""With the time of the first failure in ms, as Redis says."""


async def write(holdings: Holdings, failed: Sequence[Failed]) -> list[Written]:
    """Write failures down, at most `AT_ONCE`; which of the deliveries are still ours.

    What Redis refuses for good stays pending and is dropped from our hands. Raises `RedisUnavailableError`.
    """
    firsts: list[int | NotOurs]
    records = [_record(delivery, fate) for delivery, fate in failed]
    try:
        firsts = await retrying.write_failures(holdings.connection, holdings.who, records)
    except StreamNotFoundError:
        firsts = [NOT_OURS] * len(failed)  # the group is lost, all pending with it: recreated, it delivers these again
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
    """Have deliveries wait for their retry, all of them from this moment; those to be looked at again when `due`."""
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

"""The cleaner removes what consumers that are gone have left beside a group: names, leases, records of failures.

A consumer that crashed leaves its name behind. When its entries were taken over and it has been idle for a long time, a
script removes the name. The script checks again in the same step, because `XGROUP DELCONSUMER` deletes pending entries.
A consumer that was only quiet loses nothing: Redis recreates the name with its next read.

Leases of consumers that the group does not know stay when the group was lost with its names. Such a lease is dropped
at the second look that finds it: a consumer that has joined tells its lease before it reads for the first time. A
consumer whose lease is dropped all the same notes it again with its next renewal.

Records of failures stay when an entry was settled by a process that did not know of them: `steps.sweeping` says when.
Each run looks at some pages of them, and the next run goes on behind the last one. Parked entries that a lost group has
taken with it stay in their set: they are dropped page by page as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...connection.steps.describing import describe_consumers
from ...connection.steps.leases import forget_leases, known_leases
from ...connection.steps.parking import sweep_parked
from ...connection.steps.sending import send_one
from ...connection.steps.sweeping import FIRST_PAGE, sweep
from ...events import keys
from ...exceptions import PermissionDeniedError, StreamNotFoundError, StreamTypeError
from ...models import ConsumerInfo
from ...telemetry import ConsumerRemoved
from ..groups import ConsumerGroupManager
from ..holdings import Holdings

PAGES = 10
"""Pages of failure records, and of parked entries, that are looked at in one run."""


class Cleaner:
    """Cleans up beside the group of one consumer."""

    def __init__(self, holdings: Holdings) -> None:
        self._holdings = holdings
        self._unknown: frozenset[str] = frozenset()
        self._page = FIRST_PAGE
        self._parked_page = FIRST_PAGE

    async def run_once(self, expiry: float) -> None:
        """Remove names that have been idle for `expiry` seconds with nothing pending, and what nobody needs any more.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        holdings = self._holdings
        try:
            consumers = await describe_consumers(holdings.connection, holdings.stream, holdings.group)
            await self._remove_idle(consumers, expiry)
            await self._drop_leases({consumer.name for consumer in consumers})
            await self._sweep_records()
            await self._sweep_parked()
        except StreamNotFoundError:
            return  # the next read recreates the group

    async def _remove_idle(self, consumers: Sequence[ConsumerInfo], expiry: float) -> None:
        holdings = self._holdings
        connection, stream, group = holdings.connection, holdings.stream, holdings.group
        for consumer in consumers:
            idle = consumer.idle >= expiry and consumer.pending == 0
            if not idle or consumer.name in (holdings.consumer, keys.RELEASED, keys.PARKED):
                continue
            if await ConsumerGroupManager(connection).delete_consumer(stream, group, consumer.name, idle=expiry):
                holdings.telemetry.emit(ConsumerRemoved(**holdings.here, removed=consumer.name))

    async def _drop_leases(self, names: set[str]) -> None:
        """Drop leases of consumers that the group has not known at the last look either."""
        holdings = self._holdings
        try:
            leases = await known_leases(holdings.connection, holdings.who)
        except (PermissionDeniedError, StreamTypeError):
            return
        unknown = frozenset(leases.keys() - names - {holdings.consumer})
        if dropped := unknown & self._unknown:
            await holdings.connection.call(*forget_leases(holdings.who, dropped))
        self._unknown = unknown - dropped

    async def _sweep_records(self) -> None:
        for _ in range(PAGES):
            self._page = (await sweep(self._holdings.connection, self._holdings.who, self._page)).next_page
            if self._page == FIRST_PAGE:
                break

    async def _sweep_parked(self) -> None:
        holdings = self._holdings
        for _ in range(PAGES):
            step = sweep_parked(holdings.who, self._parked_page)
            self._parked_page = (await send_one(holdings.connection.link("control", holdings.stream), step)).next_page
            if self._parked_page == FIRST_PAGE:
                break

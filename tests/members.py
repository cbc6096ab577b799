"""A consumer of a group that a test drives by hand, step by step, without the tasks of a subscription."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from redis_streams_aio.checkpoint import CheckpointStore
from redis_streams_aio.consumer.consumer_options import ConsumerOptions
from redis_streams_aio.consumer.group_consumer import GroupConsumer
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.intake.leases import LeaseKeeper
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions


class Member:
    """The steps of one consumer; `take` is given its entries."""

    def __init__(
        self,
        shared: Shared,
        options: SubscriptionOptions,
        consumer: ConsumerOptions,
        checkpoints: CheckpointStore | None,
        take: Callable[[Sequence[Any]], object],
    ) -> None:
        of_group = GroupConsumer(shared, options, consumer, checkpoints)
        self.consumer = consumer
        self.holdings: Holdings = of_group.holdings
        self.settlement = of_group.settlement
        self.source: Any = of_group.source
        self.handful = of_group.source.handful
        self.keeper = LeaseKeeper(shared.connection, options.lease, lambda: (self.holdings,))
        self.open = of_group.source.open
        self.renew = self.keeper.run_once
        self.save_checkpoint = of_group.position.save
        self.clean_up = of_group.clean_up
        self._leave = of_group.leave
        self._given_to = take

    @property
    def has_all_own_entries(self) -> bool:
        return bool(self.source.has_all_own_entries)

    @property
    def next_look(self) -> float:
        return float(self.source.next_look)

    async def fetch(self, room: int) -> int:
        """As a subscription reads: own pending entries before new ones."""
        if self.source.is_open and not self.has_all_own_entries and (came := await self.recover(room)):
            return came
        return int(await self.source.fetch(room, self._take))

    async def recover(self, room: int) -> int:
        return int(await self.source.own(room, self._take))

    async def reclaim(self, room: int) -> int:
        return int(await self.source.abandoned(room, self._take))

    async def close(self, *, release: bool = True) -> None:
        await self._leave(release=release)
        await self.keeper.close()

    def _take(self, taken: Sequence[Any]) -> None:
        self._given_to(taken)

"""One consumer of a group: the parts that ask and tell Redis, and how it leaves the group.

A subscription has one, and decides when which part does something. It has no tasks of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from ..checkpoint import CheckpointStore
from ..checks import names
from ..connection.replies import new_entries
from ..connection.steps.dead_letters import DeadLetterOptions
from ..events import keys
from ..exceptions import CheckpointStoreError, ConfigError, GroupNotFoundError, RedisRefusedError, RedisStreamsError
from ..handlers.subscription_options import SubscriptionOptions
from ..telemetry.logs import log
from .consumer_options import ConsumerOptions
from .entry import Entry
from .holdings import Holdings, Shared
from .intake.checkpoint import GroupPosition
from .intake.cleaner import Cleaner
from .intake.group import GroupSource, Parse
from .intake.source import Source
from .settle.settlement import Settlement

CLOSE_TIMEOUT = 5.0
"""The longest time in seconds that a silent Redis delays closing."""
_ALL = 1_000_000


class GroupConsumer:
    """The holdings of a consumer, the source of its entries, and the settlement that writes their fates."""

    def __init__(
        self,
        shared: Shared,
        options: SubscriptionOptions,
        consumer: ConsumerOptions,
        store: CheckpointStore | None,
        parse: Parse = new_entries,
    ) -> None:
        limits = (consumer.dead_letter_maxlen, consumer.dead_letter_retention)
        self.options: SubscriptionOptions = options
        self.settings: ConsumerOptions = consumer
        self.holdings: Holdings = Holdings(shared, options, consumer.name or names.consumer_name())
        self.settlement: Settlement = Settlement(self.holdings, DeadLetterOptions(options.dead_letter, *limits))
        self.position: GroupPosition = GroupPosition(self.holdings, options.start, store)
        self.source: Source = GroupSource(self.holdings, self.settlement.acks, self.position, consumer, parse)
        self._cleaner = Cleaner(self.holdings)

    async def open(self) -> None:
        """Join the group.

        Raises `ConfigError` for names that cannot work on a Cluster, `RedisUnavailableError`, `ServerError`.
        """
        options, is_cluster = self.options, self.holdings.connection.is_cluster
        if is_cluster and (wrong := keys.refused_on_a_cluster(options.stream, options.dead_letter)):
            raise ConfigError(wrong)
        await self.source.open()

    async def clean_up(self, expiry: float) -> None:
        """Remove names that have been idle for `expiry` seconds, what others left beside the group, old dead letters.

        Raises `RedisUnavailableError`, `ServerError`.
        """
        await self.position.note_lease()  # another consumer may have removed this name, and its lease, as idle
        await self.settlement.trim_dead_letters()
        await self._cleaner.run_once(expiry)

    async def leave(self, *, release: bool = True) -> None:
        """Write all fates, release the other entries so that others take them over at once, and close the source.

        Without `release` the other entries stay pending until their leases expire. Does not raise: if Redis is away,
        the leases expire too. Does nothing unless the source is open.
        """
        if not self.source.is_open:
            return
        try:
            if self.holdings.connection.is_open:
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._finish(release=release)
        except GroupNotFoundError:
            pass  # without a group nothing is pending
        except (RedisStreamsError, TimeoutError) as error:
            log.warning("%r: some entries were not released; others take them over after the lease: %r", self, error)
        finally:
            self.holdings.outcomes.close()
            await self.source.close()

    async def _finish(self, *, release: bool) -> None:
        try:
            await self.settlement.finish()
        except RedisStreamsError as error:  # a full Redis still accepts releases
            log.warning("%r: some fates could not be written; these events come again: %r", self, error)
        if not release:
            return
        while await self.source.own(_ALL, _hold):  # entries that an interrupted read may have left
            pass
        await self.settlement.release()
        with suppress(RedisRefusedError, CheckpointStoreError):
            await self.position.save()
        if self.settings.name is None:
            await self.position.leave()

    def __repr__(self) -> str:
        holdings = self.holdings
        return f"<GroupConsumer {holdings.stream}/{holdings.group} {holdings.consumer}: {len(holdings)} held>"


def _hold(_: Sequence[Entry]) -> None:
    """The entries are held, and released with all others."""

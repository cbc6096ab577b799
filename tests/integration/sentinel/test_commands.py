"""Commands that act, behind Sentinels (P30, P34)."""

from __future__ import annotations

from redis_streams_aio import Broker, ConsumerGroupManager
from redis_streams_aio.testing.sentinels import SentinelSet
from tests.events import Order
from tests.integration.test_cli import process


async def test_p30_p34_groups_are_moved_copied_and_deleted(sentinels: SentinelSet) -> None:
    async with Broker(sentinels.url) as broker:
        groups = ConsumerGroupManager(broker.connection)
        ids = await broker.publish_many("orders", [Order(0), Order(1), Order(2)])
        await groups.create_group("orders", "billing", "$")
        for arguments in (
            ("seek", "orders", "billing", "--to", ids[0]),
            ("group", "copy", "orders", "billing", "mail"),
            ("group", "delete", "orders", "billing"),
        ):
            done = await process(*arguments, "--yes", "--url", sentinels.url)
            assert await done.ended() == 0, done.err
        assert [(info.name, info.last_delivered_id) for info in await groups.list_groups("orders")] == [
            ("mail", ids[0])
        ]

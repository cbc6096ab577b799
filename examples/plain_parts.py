"""The parts without the broker: make a stream and a group, publish, consume, look, and resume from a checkpoint.

For those who want their own loop. You acknowledge, and decide what happens when handling fails; leases, taking
over what dead consumers left, waiting through outages and checkpoints are still seen to, between two events.

    python examples/plain_parts.py

`REDIS_STREAMS_REDIS_URL` says where Redis is; by default it is an embedded Valkey (extra `embedded`).
"""

import asyncio
import os

import msgspec

from redis_streams_aio import (
    Connection,
    ConsumerGroupManager,
    InMemoryCheckpointStore,
    LagReport,
    LagWatcher,
    RedisCheckpointStore,
    StreamConsumer,
    StreamManager,
    StreamProducer,
)

STREAM = "example:readings"
READINGS = 12


class Reading(msgspec.Struct, frozen=True):
    """A payload; its name is the event type."""

    sensor: str
    celsius: float


async def publish(connection: Connection) -> None:
    """A stream, a bound to its length, and some events."""
    streams = StreamManager(connection)
    await streams.create_stream(STREAM)
    streams.watch_length(STREAM, 10, lambda stream, length: print(f"{stream} is long: {length} entries"))
    producer = StreamProducer(connection)
    await producer.publish(STREAM, Reading("roof", 21.5), headers={"origin": "plain_parts"})
    await producer.publish_many(STREAM, [Reading("cellar", 9.0 + step / 10) for step in range(1, READINGS)])
    await streams.check_lengths()
    info = await streams.get_stream_info(STREAM)
    print(f"published {info.length} readings, {info.first_id} to {info.last_id}")


async def consume(connection: Connection, group: str, count: int) -> None:
    """Handle and acknowledge `count` events, then leave; what is not acknowledged is another consumer's."""
    consumer = StreamConsumer(
        connection, STREAM, group, payload_type=Reading, count=10, checkpoints=RedisCheckpointStore(connection)
    )
    async with consumer:
        async for event in consumer.subscribe():
            print(f"{group}: {event.payload.sensor} {event.payload.celsius:.1f} °C at {event.timestamp:%H:%M:%S}")
            await consumer.acknowledge(event)
            if consumer.status.settled == count:
                consumer.stop()


def say(what: str, report: LagReport) -> None:
    """A callback of the lag watcher."""
    print(f"{report.stream}/{report.group} {what}: {report.behind} entries")


async def main() -> None:
    """One part after another, over one connection."""
    url = os.environ.get("REDIS_STREAMS_REDIS_URL", "embedded://")
    async with Connection(url, connect_timeout=30) as connection:
        groups = ConsumerGroupManager(connection)
        await publish(connection)

        # A group that begins with everything there is, and a watcher that says when it is far behind and when it
        # has caught up. `run_once` measures; call it now and then, e.g. from a task of yours.
        await groups.create_group(STREAM, "display", start="0")
        lag = LagWatcher(
            connection,
            [(STREAM, "display")],
            high=10,
            low=0,
            on_high=lambda report: say("has fallen behind", report),
            on_low=lambda report: say("has caught up", report),
        )
        await lag.run_once()
        await consume(connection, "display", count=5)

        # Groups can be lost: someone deletes them, a failover forgets them. The next consumer makes the group again
        # where its checkpoint is, so no reading is missed, and none of the five is shown again.
        kept = await RedisCheckpointStore(connection).load(STREAM, "display")
        await connection.call("XGROUP", "DESTROY", STREAM, "display")
        print(f"the group is gone, its checkpoint is {kept}")
        await consume(connection, "display", count=READINGS - 5)
        await lag.run_once()

        for group in await groups.list_groups(STREAM):
            print(f"group {group.name}: {group.pending} pending, last delivered {group.last_delivered_id}")

        # A checkpoint store is any object with `load` and `save`; this one forgets with the process.
        store = InMemoryCheckpointStore()
        await store.save(STREAM, "archive", kept or "0")
        archive = StreamConsumer(connection, STREAM, "archive", payload_type=Reading, checkpoints=store)
        async with archive:
            async for event in archive.subscribe():
                print(f"archive begins at its checkpoint: {event.payload.sensor} {event.payload.celsius:.1f} °C")
                break  # not acknowledged: given back when the consumer is closed

        for name in ("display", "archive"):
            await groups.delete_group(STREAM, name)
        await StreamManager(connection).delete_stream(STREAM)


if __name__ == "__main__":
    asyncio.run(main())

"""A batch handler: load clicks into a table, many at a time, each with a fate of its own.

A thousand clicks are published; the handler gets up to 500 at once and writes them with one statement. A click
without a page goes to the dead letters, one that is not ready yet is tried again a little later, and neither holds up
the others. The table's key is the entry id, so that a batch which comes again after a crash changes nothing.

    python examples/batches.py

`REDIS_STREAMS_REDIS_URL` says where Redis is; by default it is an embedded Valkey (extra `embedded`).
"""

import asyncio
import os
import sqlite3

import msgspec

from redis_streams_aio import BatchDelivery, Broker, DeadLetters

CLICKS = 1000


class Click(msgspec.Struct, frozen=True):
    """A payload; its name is the event type."""

    number: int
    page: str


broker = Broker(os.environ.get("REDIS_STREAMS_REDIS_URL", "embedded://"), group="warehouse")
database = sqlite3.connect(":memory:")
database.execute("CREATE TABLE clicks (id TEXT PRIMARY KEY, number INTEGER, page TEXT)")
put_off: set[int] = set()


def is_ready(click: Click) -> bool:
    """Click 7 is not, the first time."""
    if click.number != 7 or click.number in put_off:
        return True
    put_off.add(click.number)
    return False


@broker.handler("clicks", batch=500, within=0.2)  # as soon as 500 are there, or the first has waited for 0.2 seconds
async def load(clicks: list[Click], batch: BatchDelivery) -> None:
    """Returning acknowledges every click of which nothing was said."""
    rows = []
    for index, click in enumerate(clicks):
        if not click.page:
            batch.reject(index, "no page")
        elif not is_ready(click):
            batch.retry(index, delay=0.1)
        else:
            rows.append((batch[index].id, click.number, click.page))
    with database:
        database.executemany("INSERT OR IGNORE INTO clicks VALUES (?, ?, ?)", rows)
    print(f"a batch of {len(clicks)}: {len(rows)} loaded")


async def main() -> None:
    """Publish, wait until all is settled, and look at what became of it."""
    async with broker:
        clicks = [Click(number, "" if number % 100 == 99 else f"/page/{number % 7}") for number in range(CLICKS)]
        await broker.publish_many("clicks", clicks)
        while behind := sum(report.behind for report in await broker.measure_lag()):
            print(f"{behind} to go")
            await asyncio.sleep(0.1)
        dead = await DeadLetters(broker.connection, "clicks", "warehouse").list()
        print(f"{len(dead)} dead letters: {dead[0].error}")
    [(count, pages)] = database.execute("SELECT COUNT(*), COUNT(DISTINCT page) FROM clicks")
    print(f"{count} clicks on {pages} pages")


if __name__ == "__main__":
    asyncio.run(main())

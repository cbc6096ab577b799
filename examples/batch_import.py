"""Import a file of JSON lines: check each line, publish in chunks, handle typed events in order for each aircraft.

    python examples/batch_import.py [file]

Without a file it takes the 6,099 flights that come with this library: a week of departures from New York. Each
chunk of 500 takes a few round trips. An aircraft's flights are handled in their order, 16 aircraft at a time.

`REDIS_STREAMS_REDIS_URL` says where Redis is; by default it is an embedded Valkey (extra `embedded`).
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec

import redis_streams_aio
from redis_streams_aio import Broker

FLIGHTS = Path(redis_streams_aio.__file__).parent / "cli" / "data" / "flights.jsonl"
CHUNK = 500


class Flight(msgspec.Struct, frozen=True):
    """One line of the file; fields that are not named here are ignored."""

    scheduled: datetime
    carrier: str
    flight: int
    tail: str | None
    departure_delay: int | None


broker = Broker(os.environ.get("REDIS_STREAMS_REDIS_URL", "embedded://"), group="punctuality")
flights: Counter[str] = Counter()
late: Counter[str] = Counter()


@broker.handler("flights", concurrency=16, key=lambda flight: flight.tail)  # no tail number: waits for no other
async def count(flight: Flight) -> None:
    """The handler."""
    flights[flight.carrier] += 1
    if (flight.departure_delay or 0) > 15:
        late[flight.carrier] += 1


def read(path: Path) -> Iterator[Flight]:
    """The lines as flights. Ends the program at the first line that is none, with its number."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield msgspec.json.decode(line, type=Flight)
            except msgspec.DecodeError as error:
                sys.exit(f"{path}:{number}: {error}")


async def import_file(path: Path) -> int:
    """Publish all lines of the file; how many there were."""
    published = 0
    source = read(path)
    while chunk := list(islice(source, CHUNK)):
        published += len(await broker.publish_many("flights", chunk))
    return published


async def main(path: Path) -> None:
    """Import, wait until all is handled, sum up."""
    async with broker:
        began = time.perf_counter()
        published = await import_file(path)
        print(f"published {published} flights in {time.perf_counter() - began:.2f} s")
        while behind := sum(report.behind for report in await broker.measure_lag()):
            print(f"{behind} to go")
            await asyncio.sleep(0.1)
        print(f"handled {flights.total()} flights in {time.perf_counter() - began:.2f} s")
    for carrier, number in flights.most_common(5):
        print(f"{carrier}: {number} flights, {late[carrier] / number:.0%} more than 15 minutes late")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FLIGHTS))

"""Draw docs/pictures/{groups,show,doctor,top}.svg: commands that look, as they are seen in a terminal.

`python -m tests.docs.terminals` runs them as processes, against a server that it starts and fills, and draws what they
wrote. Ids, times and rates are those of that run, so the pictures are not compared with anything.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path

from redis.asyncio import Redis
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from redis_streams_aio import Broker, Reject, Settings
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.terminal import Terminal, terminal

PICTURES = Path(__file__).parents[2] / "docs/pictures"
SIZES = {"groups": (80, 24), "show": (80, 24), "doctor": (120, 40), "top": (120, 40)}
REJECTED = 7
FRAMES = 14
"""Measurements that `top` makes before its picture is taken."""


def without_fonts() -> str:
    """The template of rich without the fonts that it would load from elsewhere."""
    return re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def draw(name: str, written: str, columns: int, command: str) -> str:
    """The picture of what was written."""
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=columns, file=nowhere, force_terminal=True, legacy_windows=False)
        for line in written.splitlines():
            console.print(Text.from_ansi(line), overflow="fold")
        return console.export_svg(title=command, theme=MONOKAI, code_format=without_fonts(), unique_id=name)


def busy_broker(url: str) -> Broker:
    """A broker that bills orders quickly, and sends mails slowly."""
    broker = Broker(url, settings=Settings(redis_url=url, grace=1))

    @broker.handler("orders", group="billing", concurrency=1)
    async def bill(order: Order) -> None:
        await asyncio.sleep(0.02)
        if order.number == REJECTED:
            raise Reject("order 7 has a negative total")

    @broker.handler("orders", group="mail", concurrency=1)
    async def mail(order: Order) -> None:
        await asyncio.sleep(0.09)

    @broker.handler("clicks", group="load")
    async def load(order: Order) -> None: ...

    return broker


async def filled(broker: Broker, url: str) -> str:
    """Publish orders, and return the id of that which a group gave up on."""
    ids = await broker.publish_many("orders", [Order(number) for number in range(60)])
    await broker.publish_many("clicks", [Order(number) for number in range(400)])
    async with Redis.from_url(url) as redis:
        await until(lambda: redis.exists("{orders}:billing:dead"))
        await redis.xgroup_create("orders", "audit", "0")
    return ids[REJECTED]


async def publishing(broker: Broker) -> None:
    """Come faster than mail can be sent."""
    while True:
        await broker.publish_many("orders", [Order(100), Order(101)])
        await broker.publish("clicks", Order(1))
        await asyncio.sleep(0.07)


async def written(command: Sequence[str], size: tuple[int, int], url: str) -> str:
    """What a command writes, with its colours; of `top` the last screen."""
    async with terminal(*command, "--url", url, size=size) as running:
        if command[0] != "top":
            await running.ended()
            return running.raw
        await until(lambda: running.raw.count("\x1b[H") > FRAMES, 60)
        return last_screen(running)


def last_screen(running: Terminal) -> str:
    return running.raw.split("\x1b[H")[-2].replace("\x1b[K", "").replace("\x1b[J", "")


async def drawn(url: str, entry_id: str) -> None:
    """Draw all of them."""
    commands = {
        "groups": ["groups"],
        "show": ["show", "orders", entry_id],
        "doctor": ["doctor", "--all"],
        "top": ["top", "--interval", "0.5"],
    }
    for name, command in commands.items():
        seen = await written(command, SIZES[name], url)
        told = f"redis-streams-aio {' '.join(command)}"
        (PICTURES / f"{name}.svg").write_text(draw(name, seen, SIZES[name][0], told), "utf-8")


async def main() -> None:
    """Start a server that is set wrong, and a broker that falls behind, and draw what is to be seen."""
    server = Server("--appendonly", "yes", "--maxmemory", "200mb", "--maxmemory-policy", "allkeys-lru").start()
    try:
        async with busy_broker(server.url) as broker:
            entry_id = await filled(broker, server.url)
            work = asyncio.create_task(publishing(broker))
            await drawn(server.url, entry_id)
            work.cancel()
            await asyncio.wait([work])
    finally:
        server.remove()


if __name__ == "__main__":
    asyncio.run(main())

"""`lag` and `top`: rates, and a screen that is drawn again and again, as processes in terminals."""

from __future__ import annotations

import asyncio
import json
import signal
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from redis.asyncio import Redis

from redis_streams_aio.cli.commands.top import SORTS, View
from redis_streams_aio.cli.live.measuring import LiveRow, rate, sparkline
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.integration.test_cli import invoke, started
from tests.terminal import SIZES, shown, terminal

EVENT = {"event_type": "Order", "payload": "1"}


async def some_groups(redis: Redis) -> None:
    for number, group in enumerate(("billing", "mail", "audit")):
        await redis.xadd(f"orders-{number}", EVENT)
        await redis.xgroup_create(f"orders-{number}", group, "0")
    for _ in range(4):
        await redis.xadd("orders-1", EVENT)


@asynccontextmanager
async def busy(redis: Redis, stream: str, group: str) -> AsyncIterator[None]:
    """Three events come for each that is handled."""
    ended = asyncio.Event()

    async def work() -> None:
        while not ended.is_set():
            for _ in range(3):
                await redis.xadd(stream, EVENT)
            [[_, [[entry_id, _]]]] = await redis.xreadgroup(group, "c", {stream: ">"}, count=1)
            await redis.xack(stream, group, entry_id)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        ended.set()
        await task


# -- lag --------------------------------------------------------------------------------------------------------


async def test_p28_lag_tells_rates_and_that_it_is_never_drained(url: str, redis: Redis) -> None:
    await some_groups(redis)
    async with busy(redis, "orders-0", "billing"):
        done = await invoke("lag", "--json", "--url", url)
        for_people = await invoke("lag", "orders-0", "orders-2", "--url", url)
    rows = {row["group"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["billing"]["rate_in"] > rows["billing"]["rate_out"] > 0
    assert rows["billing"]["time_to_drain"] is None
    assert (rows["mail"]["lag"], rows["mail"]["rate_in"], rows["mail"]["rate_out"]) == (5, 0.0, 0.0)
    assert datetime.fromisoformat(rows["mail"]["time"]).tzinfo is not None
    lines = {line.split()[1]: line.split() for line in for_people.stdout.splitlines()[2:]}
    assert lines["billing"][-1] == "never"
    assert set(lines) == {"billing", "audit"}


async def test_p28_lag_is_watched_line_by_line(url: str, redis: Redis) -> None:
    await some_groups(redis)
    async with started("lag", "orders-1", "--watch", "--interval", "0.2", "--url", url) as running:
        await until(lambda: len(running.out) >= 2)
        await redis.xadd("orders-1", EVENT)
        await until(lambda: "lag 6" in running.out[-1])
        running.process.send_signal(signal.SIGINT)
        assert (await running.ended(), running.err) == (130, [])
    assert running.out[0].split("  ")[1:] == [
        *("orders-1 / mail", "in/s ?", "out/s ?", "lag 5", "pending 0", running.out[0].split("  ")[6]),
        *("dead 0", "drained in ?"),
    ]


async def test_lag_of_a_stream_that_is_not_there_is_an_error(url: str) -> None:
    done = await invoke("lag", "orders", "--url", url)
    assert (done.exit_code, done.stderr) == (1, "Error: there is no stream 'orders'\n")


# -- top --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
async def test_p19_top_is_drawn_again_sorted_and_filtered(url: str, redis: Redis, size: tuple[int, int]) -> None:
    await some_groups(redis)
    async with terminal("top", "--interval", "0.2", "--url", url, size=size) as running:
        before = termios.tcgetattr(running.master)
        await until(lambda: "orders-1" in running.screen)
        assert "3 groups  sorted by behind" in running.screen
        assert running.screen.index("mail") < running.screen.index("billing")
        for _ in range(20):
            await redis.xadd("orders-0", EVENT)
        await until(lambda: "\u2588" in running.screen and " 21 " in running.screen)
        assert running.screen.index("billing") < running.screen.index("mail")
        assert max(map(len, running.screen.splitlines())) <= size[0]
        assert len(running.screen.splitlines()) <= size[1]
        running.press("sssss")
        await until(lambda: "sorted by name" in running.screen)
        running.press("/MAI\r")
        await until(lambda: "1 groups" in running.screen and "filter: MAI" in running.screen)
        assert "billing" not in running.screen
        running.press("q")
        assert await running.ended() == 0
        assert running.text.count("Traceback") == 0
        assert running.gave_the_screen_back
        assert before


@pytest.mark.parametrize("size", SIZES)
async def test_p19_top_tells_that_more_groups_do_not_fit(url: str, redis: Redis, size: tuple[int, int]) -> None:
    for number in range(60):
        await redis.xgroup_create(f"orders-{number:02}", "billing", "0", mkstream=True)
    async with terminal("top", "--sort", "name", "--interval", "0.2", "--url", url, size=size) as running:
        await until(lambda: "60 groups do not fit: filter them (/)" in running.screen)
        assert len(running.screen.splitlines()) <= size[1]
        running.press("/-59\r")
        await until(lambda: "orders-59" in running.screen and "do not fit" not in running.screen)
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 130
        assert running.gave_the_screen_back


async def test_p16_top_shows_old_figures_as_old_while_redis_is_away(new_server: Callable[..., Server]) -> None:
    server = new_server()
    async with Redis.from_url(server.url) as redis:
        await some_groups(redis)
    async with terminal("top", "--interval", "0.2", "--url", server.url, size=(120, 40)) as running:
        await until(lambda: "orders-1" in running.screen)
        server.stop()
        await until(lambda: "OLD FIGURES" in running.screen and "orders-1" in running.screen, 30)
        server.start()
        async with Redis.from_url(server.url) as redis:
            await some_groups(redis)
        await until(lambda: "sorted by" in running.screen and "orders-1" in running.screen, 30)
        running.press("q")
        assert await running.ended() == 0


@pytest.mark.parametrize("size", SIZES)
async def test_p19_top_once_is_a_table(url: str, redis: Redis, size: tuple[int, int]) -> None:
    await some_groups(redis)
    done = await shown("top", "--once", "--sort", "behind", "--filter", "ORDERS-", "--url", url, size=size)
    assert done.process.returncode == 0
    assert done.text.index("mail") < done.text.index("billing")
    assert "\x1b[H" not in done.text
    assert max(map(len, done.lines)) <= size[0]
    piped = await invoke("top", "--filter", "nobody", "--url", url)
    assert (piped.exit_code, piped.stdout, piped.stderr) == (0, "", "there are no groups to show\n")


# -- their parts ------------------------------------------------------------------------------------------------


def test_a_sparkline_is_relative_to_its_largest_value_and_shows_what_is_not_known() -> None:
    assert sparkline([0, 7, 14, None], 12) == "▁▄█?"
    assert sparkline([0, 0], 12) == "▁▁"
    assert sparkline([None], 12) == "?"
    assert sparkline(range(100), 3) == "▇▇█"
    assert sparkline([], 3) == ""


def test_rates_are_read_at_a_glance() -> None:
    assert [rate(each) for each in (None, 0.0, 0.25, 9.96, 17.2, 1_204.4)] == ["?", "0", "0.2", "10.0", "17", "1,204"]


def row(stream: str, lag: int | None, **known: float) -> LiveRow:
    values: dict[str, object] = {"pending": 0, "paused": False, "oldest_age": None, "dead_letters": 0, "rate_in": None}
    values |= {"rate_out": None, "time_to_drain": None, **known}
    return LiveRow(time=datetime.now(UTC), stream=stream, group="g", lag=lag, **values)  # type: ignore[arg-type]


def test_rows_are_sorted_and_a_lag_that_nobody_knows_comes_first() -> None:
    rows = [row("a", 1, rate_in=5.0), row("b", None), row("c", 7, oldest_age=3.0, dead_letters=2, rate_out=1.0)]
    first = {name: View(name, "").chosen(rows)[0].stream for name in SORTS}
    assert first == {"behind": "b", "in": "a", "out": "c", "age": "c", "dead": "c", "name": "a"}
    assert [each.stream for each in View("name", "C / G").chosen(rows)] == ["c"]


def test_keys_sort_filter_and_quit() -> None:
    view = View("behind", "")
    for key in "s/ab\x7fx\n":
        view.press(key)
    assert (view.sort, view.part, view.is_typing, view.ended) == ("in", "ax", False, False)
    for key in "/q\x1bz":
        view.press(key)
    assert (view.part, view.is_typing, view.ended) == ("", False, False)
    view.press("q")
    assert view.ended

"""`run` in several processes: they are started again, drained together, and reloaded; and `run` for some groups."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from redis_streams_aio.cli.running.watching import changes, snapshot
from redis_streams_aio.testing.waiting import until
from tests.integration.test_cli import ROOT, Process, process, started

SHOP = """
import os
from redis_streams_aio import Broker, Delivery

broker = Broker({url!r}, group="billing")

@broker.handler("orders")
async def bill(order: dict, delivery: Delivery) -> None:
    await broker.connection.call("RPUSH", "handled", "{version} %s %s" % (os.getpid(), delivery.consumer))

@broker.handler("orders", group="mail")
async def mail(order: dict) -> None:
    await broker.connection.call("RPUSH", "mailed", str(order["number"]))
"""
LONG = 30.0


def write(folder: Path, url: str, version: str = "one", text: str = SHOP) -> None:
    (folder / "shop.py").write_text(text.format(url=url, version=version))


def pids(running: Process) -> list[int]:
    """The processes of the workers, in the order they were started."""
    return [int(found[1]) for line in running.err if (found := re.search(r"worker \d+ is process (\d+)", line))]


def said(running: Process, text: str, times: int = 1) -> bool:
    return sum(text in line for line in running.err) >= times


@asynccontextmanager
async def running(*options: str, cwd: Path, workers: int, **environment: str) -> AsyncIterator[Process]:
    """Workers that have all subscribed."""
    async with started("run", "shop:broker", *options, cwd=cwd, **environment) as parent:
        await until(lambda: said(parent, "orders/billing: bill", workers), LONG)
        yield parent


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


async def publish(redis: Redis, *numbers: int) -> None:
    for number in numbers:
        await redis.xadd("orders", {"event_type": "dict", "payload": f'{{"number":{number}}}'})


async def has_consumers(redis: Redis, count: int) -> bool:
    return len(await redis.xinfo_consumers("orders", "billing")) == count


async def handled(redis: Redis) -> list[list[str]]:
    return [line.split() for line in await redis.lrange("handled", 0, -1)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_workers_run_and_are_drained_together(url: str, redis: Redis, tmp_path: Path, number: int) -> None:
    write(tmp_path, url)
    async with running("--workers", "2", cwd=tmp_path, workers=2) as parent:
        await until(lambda: has_consumers(redis, 2), LONG)
        await publish(redis, *range(20))
        await until(lambda: redis.llen("handled"), LONG)
        os.kill(parent.process.pid, number)
        assert await parent.ended(LONG) == 0
        assert said(parent, "drained in"), "one that was still opening has nothing to drain"
        assert all(map(is_gone, pids(parent)))


async def test_a_worker_that_dies_is_started_again(url: str, redis: Redis, tmp_path: Path) -> None:
    write(tmp_path, url)
    async with running("--workers", "2", cwd=tmp_path, workers=2) as parent:
        first, second = pids(parent)
        os.kill(first, signal.SIGKILL)
        await until(lambda: said(parent, "worker 1 died of SIGKILL; starting it again in 1 s"), LONG)
        await until(lambda: said(parent, "orders/billing: bill", 3), LONG)
        assert not is_gone(second)
        parent.process.terminate()
        assert await parent.ended(LONG) == 0


async def test_workers_outlive_no_parent(url: str, tmp_path: Path) -> None:
    write(tmp_path, url)
    async with running("--workers", "2", cwd=tmp_path, workers=2) as parent:
        workers = pids(parent)
        parent.process.kill()
        await until(lambda: all(map(is_gone, workers)), LONG)
        await parent.ended(LONG)
        assert said(parent, "the process that started this worker has ended: stopping", 2)


async def test_a_second_signal_gives_handlers_no_more_time(url: str, redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(
        SHOP.format(url=url, version="one").replace("import os\n", "import asyncio, os\n", 1)
        + "\n@broker.handler('slow')\nasync def slow(order: dict) -> None:\n    await asyncio.sleep(600)\n"
    )
    async with running("--workers", "2", cwd=tmp_path, workers=2) as parent:
        await redis.xadd("slow", {"event_type": "dict", "payload": "{}"})
        await until(lambda: redis.xpending("slow", "billing"), LONG)
        parent.process.terminate()
        await until(lambda: said(parent, "SIGTERM: stopping"), LONG)
        parent.process.terminate()
        assert await parent.ended(LONG) == 0


async def test_a_module_that_is_wrong_ends_all_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import nothing_like_this\n")
    ended = await process("run", "shop:broker", "--workers", "3", cwd=tmp_path)
    assert await ended.ended() == 1
    assert said(ended, "there is no module 'nothing_like_this'") or said(ended, "shop cannot be imported")
    assert said(ended, "cannot import the broker: stopping")


async def test_a_consumer_name_that_the_settings_give_is_numbered(url: str, redis: Redis, tmp_path: Path) -> None:
    write(tmp_path, url, text=SHOP.replace('group="billing")', 'group="billing", settings=Settings(consumer="c"))'))
    (tmp_path / "shop.py").write_text("from redis_streams_aio import Settings\n" + (tmp_path / "shop.py").read_text())
    async with running("--workers", "2", cwd=tmp_path, workers=2) as parent:
        await until(lambda: has_consumers(redis, 2), LONG)
        assert sorted(one["name"] for one in await redis.xinfo_consumers("orders", "billing")) == ["c-1", "c-2"]
        parent.process.terminate()
        assert await parent.ended(LONG) == 0


async def test_each_worker_serves_its_probes_on_a_port_of_its_own(url: str, tmp_path: Path) -> None:
    write(tmp_path, url)
    async with running("--workers", "2", "--health-port", "0", cwd=tmp_path, workers=2) as parent:
        await until(lambda: said(parent, "probes at http://127.0.0.1:", 2), LONG)
        parent.process.terminate()
        assert await parent.ended(LONG) == 0


# -- reload -----------------------------------------------------------------------------------------------------


async def test_reload_starts_anew_when_a_file_changes(url: str, redis: Redis, tmp_path: Path) -> None:
    write(tmp_path, url, "one")
    async with running("--reload", cwd=tmp_path, workers=1) as parent:
        await publish(redis, 1)
        await until(lambda: redis.llen("handled"), LONG)
        write(tmp_path, url, "two")
        await until(lambda: said(parent, "shop.py changed: reloading"), LONG)
        await until(lambda: said(parent, "orders/billing: bill", 2), LONG)
        await publish(redis, 2)
        await until(lambda: has_handled(redis, 2), LONG)
        assert [version for version, *_ in await handled(redis)] == ["one", "two"]
        (tmp_path / "shop.py").write_text("this is no Python")
        await until(lambda: said(parent, "waiting for a change of a source file"), LONG)
        write(tmp_path, url, "three")
        await until(lambda: said(parent, "orders/billing: bill", 3), LONG)
        parent.process.terminate()
        assert await parent.ended(LONG) == 0


async def has_handled(redis: Redis, count: int) -> bool:
    return await redis.llen("handled") == count


def test_changes_of_source_files_are_noticed(tmp_path: Path) -> None:
    for name in ("a.py", "b/c.py", ".git/d.py", "node_modules/e.py", "venv/f.py", "config.yaml", "data.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    before = snapshot(tmp_path)
    assert sorted(Path(path).relative_to(tmp_path).as_posix() for path in before) == ["a.py", "b/c.py", "config.yaml"]
    os.utime(tmp_path / "a.py", ns=(1, 1))
    (tmp_path / "b" / "c.py").unlink()
    (tmp_path / "b" / "new.py").write_text("")
    now = snapshot(tmp_path)
    assert [Path(path).name for path in changes(before, now)] == ["a.py", "c.py", "new.py"]
    assert changes(now, now) == []
    assert snapshot(tmp_path / "nowhere") == {}


# -- groups -----------------------------------------------------------------------------------------------------


async def test_run_only_handles_the_groups_that_are_named(url: str, redis: Redis, tmp_path: Path) -> None:
    write(tmp_path, url)
    await publish(redis, 7)
    async with started("run", "shop:broker", "--group", "mail", cwd=tmp_path) as running:
        await until(lambda: redis.llen("mailed"), LONG)
        running.process.terminate()
        assert await running.ended(LONG) == 0
    assert [group["name"] for group in await redis.xinfo_groups("orders")] == ["mail"]
    async with started("run", "shop:broker", "--group", "mail", "--group", "billing", cwd=tmp_path) as running:
        await until(lambda: redis.llen("handled"), LONG)
        running.process.terminate()
        assert await running.ended(LONG) == 0


async def test_a_group_that_the_broker_does_not_have_is_an_error(url: str, tmp_path: Path) -> None:
    write(tmp_path, url)
    ended = await process("run", "shop:broker", "--group", "biling", cwd=tmp_path)
    assert await ended.ended() == 1
    [line] = ended.err
    assert line.startswith("Error: no handler of the broker has group 'biling'")
    assert "billing, mail" in line


async def test_a_number_of_workers_below_1_is_wrong_usage() -> None:
    ended = await process("run", "shop:broker", "--workers", "0", cwd=ROOT)
    assert await ended.ended() == 2

"""What is measured: this process by `/proc` and `gc`, the server by `/proc` and its own commands."""

from __future__ import annotations

import asyncio
import gc
import os
from collections import Counter
from pathlib import Path

from redis.asyncio import Redis

from redis_streams_aio.events import keys
from tests.soak.load import GROUP, SHARES
from tests.soak.verdict import Sample

_PAGE = os.sysconf("SC_PAGE_SIZE")


async def take(redis: Redis, server_pid: int) -> Sample:
    """All measures of `verdict.LIMITS`. Garbage is collected first: what remains is referred to."""
    gc.collect()
    return {**_of_process(), "memory of the server": _memory(server_pid), **await _of_server(redis)}


def types() -> Counter[str]:
    """How many objects there are of each type."""
    return Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.get_objects())


def _of_process() -> dict[str, float]:
    return {
        "memory of the process": _memory(os.getpid()),
        "objects": len(gc.get_objects()),
        "file descriptors": _count("/proc/self/fd"),
        "tasks": len(asyncio.all_tasks()),
        "threads": _count("/proc/self/task"),
    }


def _count(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def _memory(pid: int) -> float:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE


async def _of_server(redis: Redis) -> dict[str, float]:
    pipeline = redis.pipeline(transaction=False)
    for stream in SHARES:
        pipeline.xinfo_groups(stream)
        pipeline.hlen(keys.failures(stream, GROUP))
        pipeline.xlen(keys.dead_letters(stream, GROUP))
    answers = await pipeline.execute()
    groups = [group for found in answers[::3] for group in found]
    return {
        "connections": len(await redis.client_list()),
        "consumers": sum(group["consumers"] for group in groups),
        "keys": await redis.dbsize(),
        "failure records": sum(answers[1::3]),
        "dead letters": sum(answers[2::3]),
        "pending": sum(group["pending"] for group in groups),
    }

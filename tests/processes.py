"""Worker processes for tests: started, read line by line, killed and frozen."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from redis_streams_aio.testing.waiting import until

ROOT = Path(__file__).parent.parent


class Worker:
    """A running `tests.worker`, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[list[str]] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().split())

    def numbers(self, word: str) -> list[int]:
        return [int(line[1]) for line in self.lines if line[0] == word]

    def said(self, *words: object) -> bool:
        wanted = [str(word) for word in words]
        return any(line[: len(wanted)] == wanted for line in self.lines)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    async def kill(self) -> None:
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self, seconds: float = 20) -> int:
        async with asyncio.timeout(seconds):
            await self._reading
            return await self.process.wait()


@asynccontextmanager
async def worker(url: str, *options: object) -> AsyncIterator[Worker]:
    """A worker that is ready; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.worker", url, *map(str, options), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    running = Worker(process)
    try:
        await until(lambda: running.said("ready") or process.returncode is not None, 20)
        yield running
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGCONT)
            process.kill()
        await running.ended()
        process._transport.close()  # type: ignore[attr-defined]  # else 3.11 warns when the loop is closed first

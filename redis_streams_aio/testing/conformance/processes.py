"""Consumers as processes of their own: started, read line by line, killed and frozen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from redis_streams_aio.testing.waiting import until

_ROOT = Path(__file__).parents[3]
"""Where the package under test lies: the processes are to import the same one."""


class Consumer:
    """A running `conformance.consumer`, and what it has said; killed at the end of the block if it still runs."""

    def __init__(self, url: str, stream: str, *options: object) -> None:
        command = [sys.executable, "-m", f"{__package__}.consumer", url, stream, *map(str, options)]
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(  # noqa: S603  # our own program
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
        )
        self._lines: list[list[str]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self._lines.append(line.split())

    async def ready(self) -> None:
        """Wait until it reads."""
        await until(lambda: self.said("ready") or self._process.poll() is not None, 20, "the consumer is ready")

    def numbers(self, word: str) -> list[int]:
        """The numbers of the orders of which it said `start` or `end`."""
        return [int(line[1]) for line in list(self._lines) if line[0] == word]

    def said(self, *words: object) -> bool:
        """Whether a line of its begins so."""
        wanted = [str(word) for word in words]
        return any(line[: len(wanted)] == wanted for line in list(self._lines))

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def ended(self, seconds: float = 20) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        await until(lambda: self._process.poll() is not None, seconds, "the consumer has ended")
        self._reading.join()
        return self._process.wait()

    async def kill(self) -> None:
        """SIGKILL, and wait until it has ended."""
        self.signal(signal.SIGKILL)
        await self.ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

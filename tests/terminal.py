"""A command line in a terminal of a given size, and what is to be seen there."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.processes import ROOT

SIZES = [(80, 24), (120, 40)]
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[()][A-Z0-9]")
_HOME = "\x1b[H"


class Terminal:
    """A process in a terminal, which reads what it writes and can press keys."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.master = master
        self.process = process
        self._said = b""
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        self._loop.add_reader(master, self._read)

    def _read(self) -> None:
        try:
            more = os.read(self.master, 65_536)
        except OSError:  # the other end is closed
            more = b""
        self._said += more
        if not more:
            self._loop.remove_reader(self.master)
            self._closed.set()

    @property
    def text(self) -> str:
        """All that was written, without colours."""
        return _ESCAPES.sub("", self._said.decode("utf-8", "replace")).replace("\r\n", "\n")

    @property
    def raw(self) -> str:
        """All that was written, with colours."""
        return self._said.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]

    @property
    def screen(self) -> str:
        """The last whole picture of a program that draws all of the screen again each time."""
        pictures = self._said.decode("utf-8", "replace").split(_HOME)
        whole = pictures[-2] if len(pictures) > 2 else ""  # the last may be half of one
        return _ESCAPES.sub("", whole).replace("\r\n", "\n")

    @property
    def gave_the_screen_back(self) -> bool:
        """Whether it left the other screen, and the terminal reads whole lines again."""
        settings = termios.tcgetattr(self.master)
        return b"\x1b[?1049l" in self._said and bool(settings[3] & termios.ICANON and settings[3] & termios.ECHO)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    async def ended(self, seconds: float = 30) -> int:
        async with asyncio.timeout(seconds):
            await self._closed.wait()
            return await asyncio.to_thread(self.process.wait)

    def close(self) -> None:
        with contextlib.suppress(ValueError):
            self._loop.remove_reader(self.master)
        os.close(self.master)


@asynccontextmanager
async def terminal(*arguments: str, size: Sequence[int] = (80, 24)) -> AsyncIterator[Terminal]:
    """A command line that runs in a terminal of so many columns and lines; killed at the end if it still does."""
    master, slave = pty.openpty()
    columns, lines = size
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    command = [sys.executable, "-W", "error", "-m", "redis_streams_aio", *arguments]
    process = await asyncio.to_thread(
        subprocess.Popen, command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
    )
    os.close(slave)
    running = Terminal(master, process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        await running.ended()
        running.close()


async def shown(*arguments: str, size: Sequence[int] = (80, 24)) -> Terminal:
    """A command line that has come to its end."""
    async with terminal(*arguments, size=size) as running:
        await running.ended()
    return running

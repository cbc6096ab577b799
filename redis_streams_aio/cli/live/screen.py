"""A screen that is drawn again and again, and the keys that are pressed there.

It takes the other screen of the terminal and leaves it at the end, also after an error or a signal: the terminal is
as it was. Each picture begins at the upper left corner and is written at once, so it does not flicker.
"""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class Screen:
    """The terminal of this process."""

    def __init__(self) -> None:
        self.pressed: asyncio.Queue[str] = asyncio.Queue()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Take the screen and the keyboard, and leave both as they were."""
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        loop = asyncio.get_running_loop()
        tty.setcbreak(descriptor)
        loop.add_reader(descriptor, self._read, descriptor)
        self._write(_ENTER)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)
            self._write(_LEAVE)
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

    def draw(self, lines: Sequence[str], height: int) -> None:
        """Draw lines, as many as there is room for."""
        self._write(_HOME + "\r\n".join(line + _REST_OF_LINE for line in lines[:height]) + _REST_OF_SCREEN)

    def _read(self, descriptor: int) -> None:
        for key in os.read(descriptor, 1024).decode("utf-8", "replace"):
            self.pressed.put_nowait(key)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

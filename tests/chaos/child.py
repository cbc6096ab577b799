"""What producers and consumers have in common as processes: commands of the nemesis on standard input, and a pulse.

Commands are lines: `block 3` blocks the event loop for 3 seconds, `jump 600` has the wall clock jump by 600 seconds.
The end of the input means that the nemesis is gone: the process ends too.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable

from tests.chaos.history import History
from tests.chaos.workload import LEASE

PULSE = 0.1
STALLED = LEASE / 3
"""Seconds that a pulse may be late before it is noted: a machine that is too busy can cost a lease too."""
_INPUT = 0


class Clock:
    """The wall clock of this process, which can be told to jump."""

    def __init__(self) -> None:
        self.ahead: float = 0.0

    def install(self) -> None:
        """Replace `time.time` and `time.time_ns`."""
        true, true_ns = time.time, time.time_ns
        time.time = lambda: true() + self.ahead
        time.time_ns = lambda: true_ns() + int(self.ahead * 1e9)


def obey(history: History) -> None:
    """Carry commands out as they come, in the running event loop."""
    clock = Clock()
    clock.install()

    def block(seconds: float) -> None:
        began = time.monotonic()
        time.sleep(seconds)  # in the event loop: that is the point
        history.note("blocked", at=began, until=time.monotonic())

    def jump(seconds: float) -> None:
        clock.ahead += seconds

    commands: dict[str, Callable[[float], None]] = {"block": block, "jump": jump}

    def on_input() -> None:
        lines = os.read(_INPUT, 4096).decode().splitlines()
        if not lines:
            asyncio.get_running_loop().remove_reader(_INPUT)
            os.kill(os.getpid(), signal.SIGTERM)
        for command, amount in map(str.split, lines):
            commands[command](float(amount))

    asyncio.get_running_loop().add_reader(_INPUT, on_input)


async def pulse(history: History) -> None:
    """Note when the event loop did not run for long, for whatever reason."""
    while True:
        began = time.monotonic()
        await asyncio.sleep(PULSE)
        if time.monotonic() - began > PULSE + STALLED:
            history.note("stalled", at=began, until=time.monotonic())

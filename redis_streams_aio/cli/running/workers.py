"""`run --workers` and `run --reload`: processes that run the same broker, and the one that watches over them.

The parent imports nothing of the application. Each worker is `redis-streams-aio run` again, in a process group of its
own, so that Ctrl-C at a terminal reaches the parent alone, which passes it on.

* SIGINT or SIGTERM to the parent is passed on as SIGTERM: all workers drain at the same time. A second one is passed
  on too, and gives their handlers no more time; a third one kills them. The parent ends when all have ended: with 0 if
  all have drained, else with 1.
* A worker that dies is started again after a second, and after twice as long each time it dies within a minute, up to
  30 s. Where the broker cannot be imported at the first start, all end: another start would not help.
* With `reload`, a change of a source file stops the workers in order, and starts them with the new code. A worker that
  ends with an error waits for the next change.
* A worker that loses its parent (SIGKILL) drains and ends: it holds one end of a pipe, and the parent the other one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ...broker.signals import stop_on_signals
from ...telemetry.logs import log
from .watching import SUFFIXES, changes, snapshot

NUMBER = "RSA_RUN_WORKER"
"""The environment variable with the worker's number, from 1."""
PIPE = "RSA_RUN_PARENT"
"""The environment variable with the descriptor of the pipe, which ends when the parent has ended."""
FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
SETTLED = 60.0
"""Seconds; a worker that has lived for longer starts again with the first delay."""
UNUSABLE = 3
"""The exit code of a worker that cannot import its broker."""
_ENDED_IN_ORDER = (0, -signal.SIGTERM)
"""Exit codes after a stop: drained, or stopped before it had begun."""
LOOK_AGAIN = 0.3
"""Seconds between two looks at the source files."""


class Workers:
    """Processes that run the same command, each with its number."""

    def __init__(self, command: Sequence[str], count: int, *, reload: bool = False) -> None:
        self._command = (sys.executable, "-m", "redis_streams_aio", *command)
        self._count = count
        self._reload = reload
        self._running: dict[int, Process] = {}
        self._signals = 0
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        """Set when source files have changed, and replaced by another one."""
        self._failed = False
        self._read_end, self._write_end = os.pipe()

    async def run(self) -> int:
        """Run until a signal, and return the exit code."""
        watching = asyncio.create_task(self._watch()) if self._reload else None
        try:
            with stop_on_signals(self._stop, self._stop):
                await asyncio.gather(*map(self._keep, range(1, self._count + 1)))
        finally:
            if watching is not None:
                watching.cancel()
            os.close(self._write_end)
            os.close(self._read_end)
        return 1 if self._failed else 0

    def _stop(self) -> None:
        """Pass a signal on: the first and the second as SIGTERM, each further one as SIGKILL."""
        self._stopping.set()
        self._signals += 1
        self._send(signal.SIGTERM if self._signals <= 2 else signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def _keep(self, number: int) -> None:
        """Keep one worker running."""
        delay, is_first = FIRST_DELAY, True
        while not self._stopping.is_set():
            began, changed = asyncio.get_running_loop().time(), self._changed
            code = await self._run_one(number)
            lived = asyncio.get_running_loop().time() - began
            if self._stopping.is_set():
                self._failed |= code not in _ENDED_IN_ORDER
            elif self._reload:
                await self._until_changed(number, code, changed)
            elif code == UNUSABLE and is_first:
                log.error("worker %d cannot import the broker: stopping", number)
                self._failed = True
                self._stop()
            else:
                delay = FIRST_DELAY if lived >= SETTLED else delay
                log.warning("worker %d %s; starting it again in %.3g s", number, _in_words(code), delay)
                await self._wait_for(self._stopping, delay)
                delay = min(delay * 2, LONGEST_DELAY)
            is_first = False

    async def _run_one(self, number: int) -> int:
        """Run one worker to its end, and return its exit code, below 0 for a signal."""
        environment = {**os.environ, NUMBER: str(number), PIPE: str(self._read_end)}
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=DEVNULL, env=environment, pass_fds=(self._read_end,), process_group=0
        )
        self._running[number] = process
        log.info("worker %d is process %d", number, process.pid)
        if self._stopping.is_set():
            process.terminate()
        try:
            return await process.wait()
        finally:
            del self._running[number]

    async def _until_changed(self, number: int, code: int, changed: asyncio.Event) -> None:
        """Wait for a change of a source file, unless one has stopped the worker."""
        if not changed.is_set():
            log.warning("worker %d %s; waiting for a change of a source file", number, _in_words(code))
            await self._wait_for(changed, None)

    async def _wait_for(self, event: asyncio.Event, seconds: float | None) -> None:
        """Wait for an event, or a stop, for at most `seconds`."""
        waits = [asyncio.ensure_future(one.wait()) for one in {event, self._stopping}]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in waits:
            one.cancel()

    async def _watch(self) -> None:
        """Stop the workers, so that they start again, when source files change."""
        folder = Path.cwd()
        log.info("watching %s below %s", ", ".join(f"*{suffix}" for suffix in SUFFIXES), folder)
        before = snapshot(folder)
        while True:
            await asyncio.sleep(LOOK_AGAIN)
            now = snapshot(folder)
            if changed := changes(before, now):
                log.info("%s changed: reloading", Path(changed[0]).name)
                self._changed.set()
                self._changed = asyncio.Event()
                self._send(signal.SIGTERM)
            before = now


def _in_words(code: int) -> str:
    """Return how a process ended: `died of SIGKILL`, `ended with exit code 1`."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"

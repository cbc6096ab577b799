"""A worker's side of `workers`: its number, and the end of its parent."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...telemetry.logs import log
from .workers import NUMBER, PIPE


def number() -> int | None:
    """Return this worker's number; `None` in a process that is not a worker."""
    given = os.environ.get(NUMBER, "")
    return int(given) if given.isdigit() else None


@contextmanager
def outliving_no_parent() -> Iterator[None]:
    """Stop this process, as a SIGTERM does, when its parent has ended. Call it in the event loop."""
    given = os.environ.get(PIPE, "")
    if not given.isdigit():
        yield
        return
    loop, pipe = asyncio.get_running_loop(), int(given)

    def ended() -> None:
        loop.remove_reader(pipe)
        log.warning("the process that started this worker has ended: stopping")
        os.kill(os.getpid(), signal.SIGTERM)

    try:
        loop.add_reader(pipe, ended)
    except (OSError, ValueError):  # the environment was inherited by another program
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            loop.remove_reader(pipe)

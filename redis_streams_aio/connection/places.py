"""`Places`: the servers of one Redis, and how connections to them are made.

The hosts that a URL or a client names are the `seeds`; servers that are found later are connected to in the same way,
with the same credentials, options and TLS.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from .address import Kind
from .hosts import Host
from .wire.line import Factory


class Places(NamedTuple):
    """The servers of one Redis, and how connections to them are made."""

    kind: Kind
    seeds: tuple[Host, ...]
    """The hosts to begin with: the server, the Sentinels, or nodes of the Cluster; none where there is no port."""
    to: Callable[[Host | None], Factory]
    """Return what makes connections to the server at a host; `None`: to the one server that there is."""
    sentinel_to: Callable[[Host], Factory] | None = None
    """Return what makes connections to the Sentinel at a host."""
    service: str = ""
    """The name by which the Sentinels know the primary."""

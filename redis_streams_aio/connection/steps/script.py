"""`Script`: a Lua script, with its keys and the permissions that it needs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


class Script:
    """A Lua script and its hash.

    `keys` has the name of each key in the order of `KEYS`, and the commands that the script runs there, as an ACL names
    them. A key beside the stream has the name of its function in `events.keys`. A name that ends in `*` stands for any
    number of keys, the last ones. `also` has commands without a key.
    """

    __slots__ = ("also", "keys", "sha", "source")

    def __init__(self, source: str, *, keys: Mapping[str, str], also: str = "") -> None:
        self.source: str = source.strip()
        self.sha: str = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.keys: Mapping[str, frozenset[str]] = {name: frozenset(needed.split()) for name, needed in keys.items()}
        self.also: frozenset[str] = frozenset(also.split())

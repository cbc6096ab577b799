"""`Script`: a Lua script, with its keys and the permissions that it needs; `Step`: one call of it, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Generic, TypeVar

import msgspec

from ..packing import Argument, Command
from ..replies import Reply

T_co = TypeVar("T_co", covariant=True)


class Script:
    """A Lua script and its hash.

    `keys` has the name of each key in the order of `KEYS`, and the commands that the script runs there, as an ACL names
    them. A key beside the stream has the name of its function in `events.keys`. A name that ends in `*` stands for any
    number of keys, the last ones. `also` has commands without a key.
    """

    def __init__(self, source: str, *, keys: Mapping[str, str], also: str = "") -> None:
        self.source: str = source.strip()
        self.keys: Mapping[str, frozenset[str]] = {name: frozenset(needed.split()) for name, needed in keys.items()}
        self.also: frozenset[str] = frozenset(also.split())

    @cached_property
    def sha(self) -> str:
        """The hash by which Redis knows the script, made when the script is first run."""
        import hashlib  # noqa: PLC0415  # takes longer than a tenth of our own modules

        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class Step(msgspec.Struct, Generic[T_co], frozen=True):
    """A call of a script: nothing has happened yet. `sending.send` runs many in one round trip."""

    script: Script
    keys: Sequence[Argument]
    arguments: Sequence[Argument]
    read: Callable[[Reply], T_co]
    """Turns the reply into the result; raises `ServerError` for a reply that is not the script's."""

    @property
    def command(self) -> Command:
        """The command for a server that knows the script."""
        return ("EVALSHA", self.script.sha, len(self.keys), *self.keys, *self.arguments)

    @property
    def teaching(self) -> Command:
        """The command for a server that does not know the script yet."""
        return ("EVAL", self.script.source, len(self.keys), *self.keys, *self.arguments)

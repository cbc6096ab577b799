"""Keys of commands, and errors with their names, which Redis leaves out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..exceptions import PermissionDeniedError, RedisStreamsError, StreamNotFoundError, StreamTypeError
from .packing import Argument

ErrorT = TypeVar("ErrorT", bound=RedisStreamsError)

_KEYS_NAMED = 5


_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "MEMORY": 2, "XGROUP": 2, "XINFO": 2}
"""The place of the first key in commands that have it elsewhere than behind their name."""
_WITHOUT_KEYS = frozenset(
    ("ACL", "CLIENT", "CLUSTER", "CONFIG", "DISCARD", "EXEC", "HELLO", "INFO", "MULTI", "PING", "SCAN", "TIME")
)
_STREAMS = ("XREAD", "XREADGROUP")
"""Commands whose keys follow the word `STREAMS`."""


def key_of(command: Sequence[Argument]) -> Argument | None:
    """The first key of a command, by which its node is found; `None`: it has none, and any node may answer it."""
    name = command[0]
    if name in _WITHOUT_KEYS or (name in {"EVAL", "EVALSHA"} and command[2:3] == (0,)):
        return None
    at = command.index("STREAMS") + 1 if name in _STREAMS else _KEY_AT.get(str(name), 1)
    return command[at] if at < len(command) else None


def with_keys(error: PermissionDeniedError, what: str, keys: Sequence[Argument]) -> PermissionDeniedError:
    """The error with the keys of the command or script: one of them may be the key that is not permitted."""
    return PermissionDeniedError(f"{what} on {_listed(keys)}: {error}" if keys else f"{what}: {error}")


def _listed(keys: Sequence[Argument]) -> str:
    return ", ".join(map(_text, keys[:_KEYS_NAMED])) + (", ..." if len(keys) > _KEYS_NAMED else "")


def _text(name: Argument) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def with_stream(error: ErrorT, stream: Argument = "") -> ErrorT:
    """The error with the stream's name."""
    name = _text(stream)
    return error if name in str(error) else type(error)(f"stream {name!r}: {error}")


def about_script(error: RedisStreamsError, keys: Sequence[Argument]) -> RedisStreamsError:
    """The error of a script, with the keys that it may be about; the first key is the stream."""
    if isinstance(error, PermissionDeniedError):
        return with_keys(error, "a script", keys)
    if str(error).startswith("CROSSSLOT"):
        return type(error)(f"a script on {_listed(keys)}: {error}")
    if isinstance(error, StreamNotFoundError) or (isinstance(error, StreamTypeError) and len(keys) == 1):
        return with_stream(error, keys[0])
    return error

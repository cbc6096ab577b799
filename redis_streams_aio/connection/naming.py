"""Errors with names: Redis leaves out which key or stream an error is about, and the commands here know it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ..exceptions import PermissionDeniedError, RedisStreamsError, ServerError, StreamNotFoundError, StreamTypeError
from .packing import Argument

_KEYS_NAMED = 5


def keys_of(command: Sequence[Argument]) -> Sequence[Argument]:
    """The key of a command, if it has one."""
    at = 2 if command[0] in ("XINFO", "XGROUP") else 1
    return () if command[0] == "CLIENT" else command[at : at + 1]


def with_keys(error: PermissionDeniedError, what: str, keys: Sequence[Argument]) -> PermissionDeniedError:
    """The error with the keys of the command or script: one of them may be the key that is not permitted."""
    named = ", ".join(map(_text, keys[:_KEYS_NAMED])) + (", ..." if len(keys) > _KEYS_NAMED else "")
    return PermissionDeniedError(f"{what} on {named}: {error}" if named else f"{what}: {error}")


def _text(name: Argument) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def with_stream(error: ServerError, stream: Argument = "") -> ServerError:
    """The error with the stream's name."""
    name = _text(stream)
    return error if name in str(error) else type(error)(f"stream {name!r}: {error}")


def about_script(error: RedisStreamsError, keys: Sequence[Argument]) -> RedisStreamsError:
    """The error of a script, with the keys that it may be about; the first key is the stream."""
    if isinstance(error, PermissionDeniedError):
        return with_keys(error, "a script", keys)
    if isinstance(error, StreamNotFoundError) or (isinstance(error, StreamTypeError) and len(keys) == 1):
        return with_stream(error, keys[0])
    return error

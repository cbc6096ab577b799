"""The one place that turns redis-py's errors into ours.

Redis tells its errors apart by the first word of the text, and redis-py has classes for some of them only
(`NOGROUP`, `UNBLOCKED`, `BUSYGROUP` are plain `ResponseError`), so the text decides. Imported late: it imports
redis-py.
"""

from __future__ import annotations

import os
import re

from redis import exceptions as redis_errors

from ..exceptions import (
    AuthenticationFailedError,
    GroupExistsError,
    GroupNotFoundError,
    PermissionDeniedError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    ScriptMissingError,
    ServerError,
    StreamNotFoundError,
    StreamTypeError,
    UnansweredError,
    WrongNodeError,
)
from .verdicts import STATE_CHANGED, WRONG_NODE

_BY_FIRST_WORD: dict[str, type[RedisStreamsError]] = {
    "NOGROUP": GroupNotFoundError,
    "BUSYGROUP": GroupExistsError,
    "WRONGTYPE": StreamTypeError,
    "NOSCRIPT": ScriptMissingError,
    "NOPERM": PermissionDeniedError,
    "NOAUTH": AuthenticationFailedError,
    "WRONGPASS": AuthenticationFailedError,
    **dict.fromkeys(("LOADING", "OOM", "MISCONF", "BUSY", "TRYAGAIN", "UNBLOCKED"), RedisRefusedError),
    **dict.fromkeys(WRONG_NODE, WrongNodeError),
}

_BY_BEGINNING: tuple[tuple[str, type[RedisStreamsError]], ...] = (
    # Redis ends a blocked read with these; every other UNBLOCKED is a client's wish (CLIENT UNBLOCK ... ERROR)
    ("unblocked the stream key no longer exists", GroupNotFoundError),
    (STATE_CHANGED, WrongNodeError),
    ("moved ", WrongNodeError),
    ("ask ", WrongNodeError),
    ("err no such key", StreamNotFoundError),
    ("no such key", StreamNotFoundError),
)
_BY_PHRASE: tuple[tuple[str, type[RedisStreamsError]], ...] = (
    ("requires the key to exist", StreamNotFoundError),
    ("user executing the script", PermissionDeniedError),
    ("acl failure in script", PermissionDeniedError),
    ("can't run this command", PermissionDeniedError),
    ("invalid username-password", AuthenticationFailedError),
)
"""Phrases of error replies, in small letters."""

_BY_CLASS: tuple[tuple[type[Exception], str], ...] = (
    # redis-py cuts the first word off where it has a class for it
    (redis_errors.AuthenticationError, "NOAUTH"),
    (redis_errors.BusyLoadingError, "LOADING"),
    (redis_errors.NoScriptError, "NOSCRIPT"),
    (redis_errors.ReadOnlyError, "READONLY"),
    (redis_errors.OutOfMemoryError, "OOM"),
    (redis_errors.NoPermissionError, "NOPERM"),
    (redis_errors.MasterDownError, "MASTERDOWN"),  # a kind of ClusterDownError
    (redis_errors.ClusterDownError, "CLUSTERDOWN"),
    (redis_errors.TryAgainError, "TRYAGAIN"),
    (redis_errors.MovedError, "MOVED"),  # a kind of AskError
    (redis_errors.AskError, "ASK"),
)

REPLIES: tuple[type[Exception], ...] = (redis_errors.ResponseError, redis_errors.BusyLoadingError)
"""Errors of redis-py for an error reply on a connection that works: LOADING is one too, though its class says that
the connection was lost (read with `disconnect_on_error=False`, or redis-py closes it).
"""

LOST_CONNECTION: tuple[type[Exception], ...] = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.InvalidResponse,
    OSError,
)
"""Errors of redis-py that make the connection unusable; `BusyLoadingError` and `AuthenticationError` are among them."""


NO_REPLY: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
"""Errors of parsers for bytes that no Redis sends, such as a list of four billion items."""


def unreadable(error: Exception) -> redis_errors.InvalidResponse:
    """The error of `LOST_CONNECTION` for one of `NO_REPLY`: nobody knows where the next reply begins."""
    return redis_errors.InvalidResponse(f"the bytes are not a reply of Redis ({_reason(error)})")


def from_reply(error: Exception) -> RedisStreamsError:
    """Our error for an error reply of the server."""
    text = _without_arguments(error)
    word = next((word for kind, word in _BY_CLASS if isinstance(error, kind)), text.partition(" ")[0])
    if not text.startswith(word):
        text = f"{word} {text}"
    kind = _kind_by_phrase(text) or _BY_FIRST_WORD.get(_inner_word(text, word), ServerError)
    return kind(text)


def _kind_by_phrase(text: str) -> type[RedisStreamsError] | None:
    """The error that a phrase of the reply tells, where its first word does not."""
    told = text.lower()
    begins = (kind for beginning, kind in _BY_BEGINNING if told.startswith(beginning))
    has = (kind for phrase, kind in _BY_PHRASE if phrase in told)
    return next(begins, None) or next(has, None)


def _inner_word(text: str, word: str) -> str:
    """The word that counts: an error inside a Lua script may come with another one before it."""
    if word in _BY_FIRST_WORD:
        return word
    return next((known for known in _BY_FIRST_WORD if f"{known} " in text), word)


def _without_arguments(error: Exception) -> str:
    """Redis's words, without the arguments of a command that it does not know: those of `AUTH` are credentials."""
    return str(error).partition(", with args beginning with:")[0]


def from_connecting(error: Exception, where: str) -> RedisStreamsError:
    """Our error for a connection that did not come about."""
    if isinstance(error, redis_errors.AuthenticationError):
        return AuthenticationFailedError(f"{where}: Redis refused the credentials: {_without_arguments(error)}")
    if isinstance(error, redis_errors.ResponseError | redis_errors.BusyLoadingError):
        return from_reply(error)
    return RedisUnavailableError(f"{where}: {_reason(error)}{_certificate_advice(str(error))}")


def _certificate_advice(text: str) -> str:
    """Say what to do about a certificate that is refused."""
    if "CERTIFICATE_VERIFY_FAILED" not in text:
        return ""
    if "ostname mismatch" in text or "IP address mismatch" in text:
        return "; connect by a name that is in the server's certificate"
    return "; name the authority that signed the server's certificate with ?ssl_ca_certs=/path/ca.pem"


def from_lost(error: Exception, where: str) -> RedisStreamsError:
    """Our error for a command whose answer did not come."""
    if isinstance(error, redis_errors.BusyLoadingError | redis_errors.AuthenticationError):
        return from_reply(error)
    return UnansweredError(f"{where}: {_reason(error).rstrip('.')}")


_CONNECTING = re.compile(r"Error (-?\d+) connecting to \S+\. (.+)", re.DOTALL)
"""The words of redis-py when it cannot connect: with the address, which our errors already begin with."""


def _reason(error: Exception) -> str:
    """Say what happened, without the address."""
    text = _without_arguments(error)
    if (said := _CONNECTING.fullmatch(text)) is not None:
        refused = said[2].startswith("Connect call failed")  # of asyncio, with the address once more
        text = os.strerror(int(said[1])) if refused else said[2]
    return text or ("timed out" if isinstance(error, TimeoutError) else type(error).__name__)

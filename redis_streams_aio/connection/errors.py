"""The one place that turns error replies of Redis, lost connections and redis-py's errors into our errors.

Redis tells its errors apart by the first word of the text, and redis-py has classes for some of them only
(`NOGROUP`, `UNBLOCKED`, `BUSYGROUP` are plain `ResponseError`), so the text decides. redis-py's classes are known by
their names here: most programs never import it.
"""

from __future__ import annotations

import os
import re

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
    ("attempted to access a non local key", RedisRefusedError),  # a script, while its slot is on its way
    ("user executing the script", PermissionDeniedError),
    ("acl failure in script", PermissionDeniedError),
    ("can't run this command", PermissionDeniedError),
    ("invalid username-password", AuthenticationFailedError),
)
"""Phrases of error replies, in small letters."""

_BY_CLASS = {
    # redis-py cuts the first word off where it has a class for it
    "AuthenticationError": "NOAUTH",
    "BusyLoadingError": "LOADING",
    "NoScriptError": "NOSCRIPT",
    "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM",
    "NoPermissionError": "NOPERM",
    "MasterDownError": "MASTERDOWN",  # a kind of ClusterDownError
    "ClusterDownError": "CLUSTERDOWN",
    "TryAgainError": "TRYAGAIN",
    "MovedError": "MOVED",  # a kind of AskError
    "AskError": "ASK",
}

_ENDS_IT = ("NOAUTH", "WRONGPASS", "max number of clients reached")
"""The beginnings of error replies after which nothing more can be done on a connection."""


class ErrorReply(Exception):  # noqa: N818  # a value that the parser makes
    """An error reply, as the server wrote it."""

    @classmethod
    def of(cls, text: str) -> ErrorReply:
        """Return the error reply with this text; `ERR` says nothing."""
        return cls(text.removeprefix("ERR "))

    @property
    def is_fatal(self) -> bool:
        """Whether the connection is unusable from here on."""
        return str(self).startswith(_ENDS_IT)


class LostError(ConnectionError):
    """The end of a connection."""

    told: RedisStreamsError | None = None
    """The server's own reason, where callers have to know it."""

    @classmethod
    def told_by(cls, error: Exception) -> LostError:
        """Return the end of a connection that an error of the server or of redis-py tells."""
        lost, said = cls(_without_arguments(error)), from_reply(error)
        if isinstance(said, AuthenticationFailedError) or "BusyLoadingError" in _kinds(error):
            lost.told = said
        return lost


def refused(answer: RedisStreamsError) -> LostError:
    """Return the end of a connection whose credentials were refused, whatever the words."""
    lost = LostError(str(answer))
    lost.told = AuthenticationFailedError(str(answer))
    return lost


LOST_CONNECTION: tuple[type[Exception], ...] = (OSError,)
"""Errors that make a connection unusable: `LostError`, `TimeoutError`, and those of sockets."""


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


def unreadable(error: Exception) -> LostError:
    """The error of `LOST_CONNECTION` for one of `NO_REPLY`: nobody knows where the next reply begins."""
    return LostError(f"the bytes are not a reply of Redis ({_reason(error)})")


def from_reply(error: Exception) -> RedisStreamsError:
    """Our error for an error reply of the server."""
    text = _without_arguments(error)
    word = next((_BY_CLASS[kind] for kind in _kinds(error) if kind in _BY_CLASS), text.partition(" ")[0])
    if not text.startswith(word):
        text = f"{word} {text}"
    kind = _kind_by_phrase(text) or _BY_FIRST_WORD.get(_inner_word(text, word), ServerError)
    return kind(text)


def _kinds(error: Exception) -> list[str]:
    """The names of redis-py's classes that an error is of, the narrowest first."""
    return [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "redis.exceptions"]


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
    kinds = _kinds(error)
    if "AuthenticationError" in kinds:
        return AuthenticationFailedError(f"{where}: Redis refused the credentials: {_without_arguments(error)}")
    if isinstance(error, LostError) and isinstance(error.told, AuthenticationFailedError):
        words = str(error.told).removeprefix("NOAUTH ").removeprefix("WRONGPASS ")
        return AuthenticationFailedError(f"{where}: Redis refused the credentials: {words}")
    if "ResponseError" in kinds or "BusyLoadingError" in kinds:
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
    if isinstance(error, LostError) and error.told is not None:
        return type(error.told)(*error.told.args)  # one for each command
    if {"BusyLoadingError", "AuthenticationError"}.intersection(_kinds(error)):
        return from_reply(error)
    return UnansweredError(f"{where}: {_reason(error).rstrip('.')}")


def passing(error: RedisUnavailableError | ServerError) -> RedisUnavailableError:
    """Our error for a command that was not sent, as one that passes: the next connection may be accepted."""
    return error if isinstance(error, RedisUnavailableError) else RedisUnavailableError(str(error))


_CONNECTING = re.compile(r"Error (-?\d+) connecting to \S+\. (.+)", re.DOTALL)
"""The words of redis-py when it cannot connect: with the address, which our errors already begin with."""


_NUMBERED = re.compile(r"(?:Multiple exceptions: )?\[Errno (-?\d+)\] (.+)", re.DOTALL)
"""The words of Python and asyncio; the first ones, where a name has several addresses."""


def _reason(error: Exception) -> str:
    """Say what happened, without the address."""
    text = _without_arguments(error)
    if (said := _CONNECTING.fullmatch(text) or _NUMBERED.fullmatch(text)) is not None:
        refused = said[2].startswith("Connect call failed")  # of asyncio, with the address once more
        text = os.strerror(int(said[1])) if refused else said[2]
    return text or ("timed out" if isinstance(error, TimeoutError) else type(error).__name__)

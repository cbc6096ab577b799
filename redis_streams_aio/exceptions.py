"""The error tree: every error of this library is a `RedisStreamsError`.

An error is named for what its reader does next. Four branches:

* mistakes in the program or its configuration (`ConfigError`, `HandlerDefinitionError`, `InvalidEventError`,
  `NotOpenError`, `SettledError`): raised before anything is sent; mend the code.
* Redis cannot serve now (`RedisUnavailableError` and below): nothing is wrong with the call; later it may work.
  The broker's own tasks wait and go on by themselves.
* Redis will not serve (`ServerError` and below): trying again does not help; someone must change something.
* signals that a handler raises about its own event (`Reject`, `RetryLater`).
"""

from __future__ import annotations

import re

from .checks.times import LONGEST_DELAY, as_given, in_seconds, is_delay

_CREDENTIALS = re.compile(r"//.*@")


class RedisStreamsError(Exception):
    """Base of all errors of this library."""


class ConfigError(RedisStreamsError, ValueError):
    """An option or a configuration file is wrong; the text names the key's path and what is allowed.

    A URL that stands in it by mistake, as the value of another key say, is shown without its credentials.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_CREDENTIALS.sub("//***@", text))


class HandlerDefinitionError(RedisStreamsError, TypeError):
    """A handler was declared in a way that cannot work; raised when it is decorated, that is at import.

    A URL that stands in it by mistake is shown without its credentials.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_CREDENTIALS.sub("//***@", text))


class NotOpenError(RedisStreamsError, RuntimeError):
    """The broker, connection or consumer is used before it was opened or after it was closed."""


class WrongLoopError(NotOpenError):
    """The broker or connection is used from another event loop, or another process, than the one that opened it.

    Nothing was sent. The text says what to use instead.
    """


class SettledError(RedisStreamsError, RuntimeError):
    """A delivery was told what to do with itself after its fate was decided: say it before the handler returns."""


class InvalidEventError(RedisStreamsError, ValueError):
    """An event was refused before it was sent; nothing reached Redis."""


class PayloadTooLargeError(InvalidEventError):
    """The encoded payload is over the limit (`max_payload_bytes`, 1 MiB by default)."""


class EncodeError(InvalidEventError):
    """The codec cannot encode the payload."""


class DecodeError(RedisStreamsError, ValueError):
    """An entry's fields cannot be turned into the type asked for; the broker dead-letters such an entry."""


class RedisUnavailableError(RedisStreamsError):
    """Redis cannot be reached; the command was never sent, and may be tried again."""


class UnansweredError(RedisUnavailableError):
    """The command was sent, and the connection was lost or timed out before the answer came.

    Redis may or may not have carried it out. For a publish: the event may or may not be in the stream.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; the command was sent, and whether Redis carried it out is not known")
        self.reason: str = reason
        """What happened, without the doubt: it is no matter for what only reads, or is done again anyway."""

    def __reduce__(self) -> tuple[type[UnansweredError], tuple[str]]:
        return type(self), (self.reason,)  # pickled and copied as it was made


class RedisRefusedError(RedisUnavailableError):
    """Redis answered that it cannot do it now (LOADING, OOM, MISCONF, ...).

    The command was not carried out.
    """


class CheckpointStoreError(RedisUnavailableError):
    """A checkpoint store raised something; what was asked of it is tried again, as when Redis is away."""


class WrongNodeError(RedisRefusedError):
    """The connection leads to a node that may not serve now (READONLY, NOREPLICAS, MASTERDOWN, CLUSTERDOWN).

    A primary that was demoted answers so, as long as its connections last. The connection is closed, and the next
    command connects anew: to the new primary, where the address leads to it.
    """


class ServerError(RedisStreamsError):
    """Redis answered with an error that trying again does not mend."""


class AuthenticationFailedError(ServerError):
    """Redis refused the credentials."""


class PermissionDeniedError(ServerError):
    """The Redis user may not run this command or use this key (ACL)."""


class UnsupportedServerError(ServerError):
    """The server is neither Redis >= 7.0 nor Valkey."""


class StreamTypeError(ServerError):
    """The key holds something that is not a stream."""


class StreamNotFoundError(ServerError):
    """There is no such stream."""


class GroupNotFoundError(StreamNotFoundError):
    """There is no such consumer group (or no such stream, which Redis reports with the same words)."""


class DeadLetterNotFoundError(ServerError):
    """There is no such dead letter: it was replayed, purged or trimmed, or never there."""


class GroupExistsError(ServerError):
    """The consumer group is there already."""


class ScriptMissingError(ServerError):
    """Redis does not know a script by its hash; the connection loads it and goes on, so users do not see this."""


class PartialPublishError(RedisStreamsError):
    """`publish_many` failed for some of the events; `ids` has the entry id, or `None` where the write failed.

    `errors` has the error for each of the failed ones, in order.
    """

    def __init__(self, ids: list[str | None], errors: list[RedisStreamsError]) -> None:
        super().__init__(f"{len(errors)} of {len(ids)} events were not published; first error: {errors[0]}")
        self.ids = ids
        self.errors = errors


class HandlerSignal(RedisStreamsError):  # noqa: N818  # a wish, no error
    """Base of what a handler raises to decide on its event itself."""


class Reject(HandlerSignal):
    """Raised by a handler: do not try this event again, move it to the dead letters with this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = str(reason)


class RetryLater(HandlerSignal):
    """Raised by a handler.

    Try this event again after `delay` seconds. A wish, not a failure: it is not counted as one. Raises `ConfigError`,
    which is a `ValueError`, for what is not a number of seconds, 0 to a year.
    """

    def __init__(self, delay: float) -> None:
        if not is_delay(delay):
            raise ConfigError(
                f"RetryLater(delay={as_given(delay)}): expected a number of seconds, 0 to {LONGEST_DELAY}"
                f"{in_seconds(delay)}"
            )
        super().__init__(f"retry in {delay:g} s")
        self.delay: float = float(delay)

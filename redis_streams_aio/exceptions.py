"""The error tree: every error of this library is a `RedisStreamsError`.

The name of an error tells what to do next. There are four branches:

* Mistakes in the program or its configuration (`ConfigError`, `HandlerDefinitionError`, `InvalidEventError`,
  `NotOpenError`, `SettledError`). They are raised before anything is sent. Correct the code.
* Redis cannot serve now (`RedisUnavailableError` and its subclasses). Try again later, as the broker's own tasks do.
* Redis refuses (`ServerError` and its subclasses). Trying again does not help: someone must change something.
* Signals that a handler raises about its own event (`Reject`, `RetryLater`).

Each docstring ends with "What to do": docs/errors.md is made from these sentences.
"""

from __future__ import annotations

import re

from .checks.times import LONGEST_DELAY, as_given, in_seconds, is_delay

_CREDENTIALS = re.compile(r"//.*@")


class RedisStreamsError(Exception):
    """Base class of all errors of this library.

    What to do: catch it where all errors of the library are treated alike.
    """


class ConfigError(RedisStreamsError, ValueError):
    """An option, a URL or a configuration file is wrong. Also a `ValueError`.

    The text names the argument or the key's path, shows the value without credentials, and says what is allowed.

    What to do: correct the value that the text names.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_CREDENTIALS.sub("//***@", text))


class HandlerDefinitionError(RedisStreamsError, TypeError):
    """A handler is declared in a way that cannot work. Also a `TypeError`.

    Raised when the function is decorated, usually at import. The text hides the credentials of URLs.

    What to do: correct the handler that the text names.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_CREDENTIALS.sub("//***@", text))


class NotOpenError(RedisStreamsError, RuntimeError):
    """The broker, connection or consumer was used before it was opened or after it was closed. Also a `RuntimeError`.

    What to do: use it inside `async with broker:`, `await broker.run()` or your framework's lifespan.
    """


class WrongLoopError(NotOpenError):
    """The broker or connection was used in another event loop, or another process, than the one that opened it.

    Nothing was sent.

    What to do: open a broker in each process, and call it in the loop that opened it, as the text shows.
    """


class SettledError(RedisStreamsError, RuntimeError):
    """`ack`, `retry`, `reject`, `fail` or `publish` was called when the fate was decided. Also a `RuntimeError`.

    What to do: call these methods before the handler returns.
    """


class InvalidEventError(RedisStreamsError, ValueError):
    """An event was refused before it was sent, so nothing reached Redis. Also a `ValueError`.

    What to do: correct the call; the text names the argument.
    """


class PayloadTooLargeError(InvalidEventError):
    """The encoded payload is larger than `max_payload_bytes`, or the texts beside it are larger than 1 MiB.

    What to do: publish a reference to the data instead, or raise the limit.
    """


class EncodeError(InvalidEventError):
    """The codec cannot encode the payload.

    What to do: publish a type that the codec knows, or encode the payload first and publish bytes.
    """


class DecodeError(RedisStreamsError, ValueError):
    """The fields of an entry cannot be decoded into the handler's type. Also a `ValueError`.

    The broker moves such an entry to the dead letters. Codecs raise this error; handlers do not see it.

    What to do: correct the publisher or the handler's annotation, then replay the dead letter.
    """


class RedisUnavailableError(RedisStreamsError):
    """Redis cannot be reached, and the command was not sent.

    What to do: try again later; nothing has happened.
    """


class UnansweredError(RedisUnavailableError):
    """The command was sent, but the connection was lost or timed out before the answer came.

    Redis may or may not have executed the command: after a publish, the event may or may not be in the stream.

    What to do: publish again only with the same `event_id`, for consumers that use `deduplicate`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; the command was sent, and it is not known whether Redis executed it")
        self.reason: str = reason
        """The cause alone, for commands that only read or are repeated anyway: there the doubt does not matter."""

    def __reduce__(self) -> tuple[type[UnansweredError], tuple[str]]:
        return type(self), (self.reason,)  # pickle and copy call the constructor with this


class RedisRefusedError(RedisUnavailableError):
    """Redis answered that it cannot execute the command now (`LOADING`, `OOM`, `MISCONF` and the like).

    The command was not executed. Publishing has already tried again for `command_timeout` seconds.

    What to do: try again later, and check the memory and the disk of Redis.
    """


class CheckpointStoreError(RedisUnavailableError):
    """A checkpoint store raised an error. The broker calls the store again later, as it does when Redis is away.

    What to do: correct the store.
    """


class WrongNodeError(RedisRefusedError):
    """The connection leads to a node that may not serve now (`READONLY`, `NOREPLICAS`, `MASTERDOWN`, `CLUSTERDOWN`).

    Also `MOVED` and `ASK` of a cluster's node: the key is on another node. The library closes the connection, and the
    next command opens another one: to the new primary, if the address leads there.

    What to do: try again later. If the error persists, check where the address leads.
    """


class ServerError(RedisStreamsError):
    """Redis answered with an error, and trying again does not help.

    What to do: read the text; someone must change something.
    """


class AuthenticationFailedError(ServerError):
    """Redis refused the credentials.

    What to do: correct user and password in the URL, or the credential provider.
    """


class PermissionDeniedError(ServerError):
    """The Redis user may not run this command or use this key (ACL).

    What to do: give the user the permissions listed in docs/connections.md.
    """


class UnsupportedServerError(ServerError):
    """The server is neither Redis 7.0 or later nor Valkey, or too old for an option that the text names.

    What to do: update the server, or leave the option out.
    """


class StreamTypeError(ServerError):
    """The key holds something that is not a stream.

    What to do: choose another stream name.
    """


class StreamNotFoundError(ServerError):
    """The stream does not exist.

    What to do: create it, or publish to it.
    """


class GroupNotFoundError(StreamNotFoundError):
    """The consumer group does not exist, or its stream does not (Redis reports both with the same words).

    What to do: create the group. A broker creates its groups itself.
    """


class DeadLetterNotFoundError(ServerError):
    """The dead letter does not exist: it was replayed, purged or trimmed, or never existed.

    What to do: list the dead letters again.
    """


class GroupExistsError(ServerError):
    """The consumer group exists already.

    What to do: nothing, usually; `seek` moves an existing group.
    """


class ScriptMissingError(ServerError):
    """Redis does not know a script by its hash. The connection loads the script and repeats the call.

    What to do: nothing; users do not see this error.
    """


class PartialPublishError(RedisStreamsError):
    """`publish_many` could not publish some of the events.

    `ids` has the entry id of each payload, or `None` if it was not published; `errors` has their errors, in order.

    What to do: publish those again whose error allows it.
    """

    def __init__(self, ids: list[str | None], errors: list[RedisStreamsError]) -> None:
        super().__init__(f"{len(errors)} of {len(ids)} events were not published; first error: {errors[0]}")
        self.ids = ids
        self.errors = errors


class NotDurableError(RedisStreamsError):
    """The events are in the stream, with fewer copies than `durability` asks for: `reached` of `asked`.

    `ids` has the entry ids: handlers get these events, unless Redis loses them. `reason` says why.

    What to do: check the replicas (or the disk). Publish again only with the same `event_id` and `deduplicate`.
    """

    def __init__(self, ids: list[str], reason: str, reached: int, asked: int) -> None:
        number = "1 event is in the stream" if len(ids) == 1 else f"{len(ids)} events are in the stream"
        super().__init__(f"{number}, but not as durable as asked: {reason}")
        self.ids: list[str] = ids
        self.reason: str = reason
        self.reached: int = reached
        self.asked: int = asked

    def __reduce__(self) -> tuple[type[NotDurableError], tuple[list[str], str, int, int]]:
        return type(self), (self.ids, self.reason, self.reached, self.asked)


class GroupBehindError(RedisStreamsError):
    """A group is too far behind for more events, and nothing was published; the text says which group, and how far.

    What to do: publish later, or add consumers.
    """


class HandlerSignal(RedisStreamsError):  # noqa: N818  # a signal, not an error
    """Base class of signals: a handler raises them to decide what happens to its event.

    What to do: raise `Reject` or `RetryLater` in a handler.
    """


class Reject(HandlerSignal):
    """Moves the event to the dead letters with this reason, without another attempt.

    What to do: raise it in a handler for an event that can never be handled.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: str = str(reason)


class RetryLater(HandlerSignal):
    """Retries the event after `delay` seconds. This is not counted as a failure.

    Raises `ConfigError` if `delay` is not a number of seconds from 0 to a year.

    What to do: raise it in a handler for an event that cannot be handled yet.
    """

    def __init__(self, delay: float) -> None:
        if not is_delay(delay):
            bound = f"{LONGEST_DELAY}{in_seconds(delay)}"
            raise ConfigError(f"RetryLater(delay={as_given(delay)}): expected a number of seconds, 0 to {bound}")
        super().__init__(f"retry in {delay:g} s")
        self.delay: float = float(delay)

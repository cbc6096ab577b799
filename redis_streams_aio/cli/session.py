"""Shared by all commands: where Redis is, how a coroutine is run, and how errors are shown.

Every `RedisStreamsError` becomes one line on stderr and exit code 1. SIGINT and SIGTERM cancel the command, which
closes what it opened (an embedded server too); the exit code is then 130.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from .. import config
from ..broker.signals import stop_on_signals
from ..config import Settings
from ..connection import Connection
from ..exceptions import GroupNotFoundError, RedisStreamsError, StreamNotFoundError, StreamTypeError

T = TypeVar("T")

DEFAULT_URL = "redis://localhost:6379/0"
CONNECT_TIMEOUT = 3.0
"""Seconds to wait for Redis; short, because a person waits."""
COMMAND_TIMEOUT = 5.0
STOPPED = 130
"""The exit code after a signal, as in shells."""


def settings_from(url: str | None, config_file: Path | None) -> Settings:
    """Return the settings of the file, if any, with the URL on top, and with timeouts short enough for a person."""
    with errors_told():
        settings = Settings(command_timeout=COMMAND_TIMEOUT) if config_file is None else config.load(config_file)
    return msgspec.structs.replace(
        settings,
        redis_url=url or settings.redis_url or DEFAULT_URL,
        connect_timeout=settings.connect_timeout or CONNECT_TIMEOUT,
    )


def connect(settings: Settings) -> Connection:
    """Return a connection that is not open yet. Raises `ConfigError`."""
    return Connection(
        settings.redis_url, connect_timeout=settings.connect_timeout, command_timeout=settings.command_timeout
    )


def run(command: Coroutine[Any, Any, T]) -> T:
    """Run a command until it ends or a signal comes, and show its errors."""
    logging.getLogger("redis_streams_aio").addHandler(logging.NullHandler())  # what matters is told as an error
    with errors_told():
        return asyncio.run(_until_signal(command))


async def _until_signal(command: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # `asyncio.run` has one
    with stop_on_signals(task.cancel, task.cancel):  # a second time: also what it does to clean up
        return await command


@contextmanager
def errors_told() -> Iterator[None]:
    """Turn errors of this library, and interruptions, into messages of click on stderr."""
    try:
        yield
    except (RedisStreamsError, ExceptionGroup) as error:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if not isinstance(cause, RedisStreamsError):
            raise
        raise click.ClickException(one_line(cause)) from error
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise click.exceptions.Exit(STOPPED) from None


@contextmanager
def stream_named(stream: str) -> Iterator[None]:
    """Put the name of the stream into errors about it, because the texts of Redis do not contain it."""
    try:
        yield
    except GroupNotFoundError:
        raise
    except StreamNotFoundError as error:
        raise StreamNotFoundError(f"there is no stream {stream!r}") from error
    except StreamTypeError as error:
        raise StreamTypeError(f"{stream!r} is not a stream: the key holds something else") from error


def one_line(error: BaseException) -> str:
    """Return an error's text without line breaks."""
    return " ".join(str(error).split())

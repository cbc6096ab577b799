"""The suite's command line options: part of our pytest plugin, as a `conftest.py` comes too late for `--pyargs`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say where Redis is, and how it is restarted."""
    group = parser.getgroup("redis_streams_aio", "conformance of redis_streams_aio")
    group.addoption(
        "--redis-url",
        metavar="URL",
        help="the Redis for the conformance suite, with any scheme of `Broker`: redis://, rediss://, unix://, "
        "redis+sentinel://, redis+cluster://, embedded:// or memory://",
    )
    group.addoption(
        "--restart-command",
        metavar="COMMAND",
        help="restarts that Redis, and returns when it is up again; it has to keep what it acknowledged (appendonly)",
    )

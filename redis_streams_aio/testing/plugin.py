"""The pytest plugin: fixtures with brokers for tests. pytest loads it automatically if this package is installed.

Every pytest run in that environment imports this module, even if it tests something else. So this module imports the
rest of the package only when a test asks for a fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from redis_streams_aio import Broker

_SUITE = "redis_streams_aio.testing.conformance"


def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Add the options of the conformance suite to a run of it. In other runs, another plugin may use `--redis-url`."""
    if any(_SUITE in argument.replace("/", ".") for argument in args):
        early_config.pluginmanager.import_plugin(f"{_SUITE}.options")


@pytest.fixture
def redis_streams_broker() -> Broker:
    """Return a closed broker on `memory://`, without handlers: fast, and without a server. Needs the extra `memory`.

    `testing.harness(redis_streams_broker)` opens it. docs/testing.md says what `memory://` cannot show.
    """
    return _closed("memory://")


@pytest.fixture
def redis_streams_embedded_broker() -> Broker:
    """Return a closed broker on `embedded://`, without handlers: with its own Valkey. Needs `embedded`.

    `testing.harness(redis_streams_embedded_broker)` opens it.
    """
    return _closed("embedded://")


def _closed(url: str) -> Broker:
    from redis_streams_aio import Broker  # noqa: PLC0415  # imported only when a test asks for a fixture

    return Broker(url, group="test")

"""The pytest plugin: fixtures with brokers to test with. pytest finds it by itself when the package is installed.

A fixture of the same name in your own `conftest.py` takes the place of ours. The brokers are closed:
`async with testing.harness(broker) as h:` opens them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from redis_streams_aio import Broker

_SUITE = "redis_streams_aio.testing.conformance"


def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """The options of the conformance suite, for runs of it: in others, `--redis-url` may be anybody's."""
    if any(_SUITE in argument.replace("/", ".") for argument in args):
        early_config.pluginmanager.import_plugin(f"{_SUITE}.options")


@pytest.fixture
def broker() -> Broker:
    """A closed broker on `memory://`, without handlers: fast, and without a server. Extra `memory`.

    docs/testing.md says what `memory://` cannot show.
    """
    from redis_streams_aio import Broker  # noqa: PLC0415  # in every pytest run of its users: only where it is asked for

    return Broker("memory://", group="test")


@pytest.fixture
def embedded_broker() -> Broker:
    """A closed broker on `embedded://`, without handlers: a real Valkey of the test's own. Extra `embedded`."""
    from redis_streams_aio import Broker  # noqa: PLC0415  # see above

    return Broker("embedded://", group="test")

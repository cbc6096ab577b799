"""The conformance suite runs unchanged behind Sentinels and on a Cluster.

The gate runs a short form, which leaves out what takes longer than a second; `nox -s topologies` runs all of it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.conformance import table
from redis_streams_aio.testing.sentinels import SentinelSet
from redis_streams_aio.testing.servers import DEFAULT
from tests.integration.test_conformance import passes, restarting

ON = os.environ.get("RSA_TOPOLOGY", "")
"""`sentinel` or `cluster`: the long form on one of them; otherwise the short form on both."""
SHORT = (1, 3, 4, 5, 9, 11, 12, 14, 16, 17, 20, 24, 26, 27, 29, 31, 32, 37, 38, 39, 42, 43, 44)
NEED_A_NETWORK = (34, 35, 36)
KEEPS_ITS_DATA = ("--appendonly", "yes")

pytestmark = pytest.mark.skipif(
    os.environ.get("RSA_TEST_SERVER", DEFAULT) not in (DEFAULT, "redis-7.0"), reason="on the newest and the oldest"
)
long_form = pytest.mark.skipif(not ON, reason="the long form: nox -s topologies")
short_form = pytest.mark.skipif(bool(ON), reason="the long form is run")


@pytest.fixture
def keeping() -> Iterator[Cluster | SentinelSet]:
    """One of its own that keeps what it has acknowledged."""
    made = (Cluster if ON == "cluster" else SentinelSet)(None, *KEEPS_ITS_DATA)
    try:
        yield made.start()
    finally:
        made.remove()


def restart(what: Cluster | SentinelSet) -> None:
    """Kill all nodes of a cluster, or the primary behind Sentinels, and start them before anyone replaces them."""
    if isinstance(what, SentinelSet):
        what.primary.restart(signal.SIGKILL)
    else:
        for node in what.nodes:
            node.stop(signal.SIGKILL)
        for node in what.nodes:
            node.start()
    what.until_well()


@long_form
@pytest.mark.timeout(500)
async def test_the_suite_passes_and_leaves_nothing(keeping: Cluster | SentinelSet, tmp_path: Path) -> None:
    async with restarting(lambda: restart(keeping)) as command:
        outcomes = await passes(tmp_path, keeping.url, "--restart-command", command)
    assert outcomes["skipped"] == len(NEED_A_NETWORK)
    primaries = keeping.primaries if isinstance(keeping, Cluster) else [keeping.primary]
    assert [ask(primary, "DBSIZE") for primary in primaries] == [0] * len(primaries)


@short_form
@pytest.mark.parametrize("topology", ["sentinels", "cluster"])
async def test_the_short_form_of_the_suite_passes(
    request: pytest.FixtureRequest, topology: str, tmp_path: Path
) -> None:
    where: Cluster | SentinelSet = request.getfixturevalue(topology)
    chosen = [test.name for test in table.suite() if test.number in SHORT]
    assert len(chosen) == len(SHORT)
    outcomes = await passes(tmp_path, where.url, "-k", " or ".join(chosen), tests=len(chosen))
    assert outcomes == {"passed": len(chosen)}

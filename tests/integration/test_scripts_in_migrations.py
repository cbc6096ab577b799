"""Steps in the middle of a slot's migration: the source refuses to write a key that is missing, in scripts too."""

from __future__ import annotations

import pytest

from redis_streams_aio.connection.steps.completing import COMPLETE
from redis_streams_aio.events import keys
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from tests.integration.test_server_sets import KINDS

STREAM, GROUP = "payments", "bank"


@pytest.mark.parametrize("cluster", KINDS, indirect=True)
def test_p9_a_copy_is_remembered_while_its_slot_migrates(cluster: Cluster) -> None:
    """The mark was deleted before it was set again, and the set refused: the event was handled once more."""
    source = cluster.owner_of(STREAM)
    entry_id = ask(source, "XADD", STREAM, "*", "a", 1)
    ask(source, "XGROUP", "CREATE", STREAM, GROUP, 0)
    ask(source, "XREADGROUP", "GROUP", GROUP, "c", "STREAMS", STREAM, ">")
    failures, mark = keys.failures(STREAM, GROUP), keys.done(STREAM, GROUP, b"e-1")
    ask(source, "HSET", failures, "another", "1")
    ask(source, "SET", mark, entry_id)
    target = next(each for each in cluster.primaries if each is not source)
    cluster.migration(cluster.slot_of(STREAM), target).begin()
    done = ask(source, "EVAL", COMPLETE.source, 3, STREAM, failures, mark, GROUP, entry_id, "", 60_000)
    assert done == "done"
    assert ask(source, "GET", mark) == "done"
    assert 0 < ask(source, "PTTL", mark) <= 60_000
    assert ask(source, "XPENDING", STREAM, GROUP)[0] == 0

"""The map of a Cluster: which nodes there are, which are left, and what redirects say of it."""

from __future__ import annotations

import pytest

from redis_streams_aio import WrongNodeError
from redis_streams_aio.connection.cluster.nodes import ClusterNodes
from redis_streams_aio.connection.cluster.slots import SLOTS, Range, slot_of
from redis_streams_aio.connection.hosts import Host
from redis_streams_aio.connection.places import Places
from redis_streams_aio.connection.verdicts import Move
from redis_streams_aio.connection.wire.line import Factory
from redis_streams_aio.events import keys

ASKED = Host("10.0.0.9", 7000)
A, B, C = (Host("10.0.0.1", port) for port in (1, 2, 3))


@pytest.mark.parametrize("stream", ["orders", "{shop}:orders", "a{b}c"])
def test_p30_the_keys_beside_a_stream_share_its_slot(stream: str) -> None:
    for beside in (keys.failures, keys.releases, keys.leases, keys.parked, keys.deleted, keys.checkpoint):
        assert slot_of(beside(stream, "g")) == slot_of(stream)


def nodes() -> ClusterNodes:
    def to(_: Host | None) -> Factory:
        raise AssertionError("nothing is dialled")

    return ClusterNodes(Places("cluster", (ASKED,), to), 1.0, "redis+cluster://here")


async def test_p30_a_moved_slot_is_known_at_once_and_others_stay() -> None:
    found = nodes()
    found._take([Range(0, SLOTS - 1, A)], A)
    found.node_of("orders")._after(WrongNodeError(f"MOVED {slot_of('orders')} {B.host}:{B.port}"))
    assert found.node_of("orders").where.endswith(B.shown)
    assert found.node_of("bills").where.endswith(A.shown)
    found.after(WrongNodeError(f"ASK {slot_of('bills')} {B.host}:{B.port}"))
    assert found.node_of("bills").where.endswith(A.shown), "ASK is about one command"


async def test_p30_replicas_are_asked_for_the_next_map_too_because_all_owners_may_be_gone_then() -> None:
    found = nodes()
    found._take([Range(0, SLOTS - 1, A)], B, [B, C])
    assert found._order == (B, A, C, ASKED)


async def test_p30_a_redirect_without_a_host_stays_on_the_host_of_the_map() -> None:
    found = nodes()
    found._take([Range(0, SLOTS - 1, A)], A)
    assert found.target(Move(1, "", 7, asking=False)).where.endswith("10.0.0.1:7")


async def test_p30_a_node_that_has_lost_its_slots_is_left_until_it_is_named_again() -> None:
    found = nodes()
    found._take([Range(0, SLOTS - 1, A)], A)
    left, turn = found.node_of("orders"), found.node_of("orders").turn
    found._take([Range(0, SLOTS - 1, B)], B)
    assert left.turn == turn + 1
    with pytest.raises(WrongNodeError, match="has no slots now"):
        await left.dial()
    assert found.target(Move(1, A.host, A.port, asking=True)) is left
    with pytest.raises(AssertionError, match="nothing is dialled"):
        await left.dial()


async def test_p30_a_node_that_never_had_slots_is_not_refused() -> None:
    found = nodes()
    found._take([Range(0, SLOTS - 1, A)], A)
    with pytest.raises(AssertionError, match="nothing is dialled"):
        await found.target(Move(1, C.host, C.port, asking=True)).dial()


async def test_p30_a_slot_that_nobody_has_keeps_its_owner() -> None:
    found = nodes()
    found._take([Range(0, SLOTS - 1, A)], A)
    owner = found.node_of("orders")
    found._take([Range(0, slot_of("orders") - 1, B)], B)
    assert found.node_of("orders") is owner
    with pytest.raises(AssertionError, match="nothing is dialled"):
        await owner.dial()


async def test_p30_the_same_map_is_no_other_version() -> None:
    found = nodes()
    for _ in range(2):
        found._take([Range(0, SLOTS - 1, A)], A)
    assert found.version == 1
    found._take([Range(0, SLOTS - 1, B)], B)
    assert found.version == 2

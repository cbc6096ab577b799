"""What a server would lose is said by its `INFO`, and only what is sure."""

from __future__ import annotations

import pytest

from redis_streams_aio import StreamSettings
from redis_streams_aio.broker.losses import known, losses

FINE = {
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
    "rdb_saves": "0",
    "rdb_changes_since_last_save": "7",
    "uptime_in_seconds": "90000",
    "connected_slaves": "1",
}


def test_a_server_of_which_nothing_is_to_be_said() -> None:
    assert [*losses(FINE, {"orders": StreamSettings(durability="replicated"), "a": StreamSettings()})] == []
    assert [*losses({}, {"orders": StreamSettings(durability="disk")})] == [], "it says nothing of itself"


@pytest.mark.parametrize(
    ("policy", "limit", "told"),
    [
        ("allkeys-lru", "1000", "deletes streams with all their events"),
        ("volatile-ttl", "1000", "deletes the marks of handled events"),
        ("noeviction", "1000", ""),
        ("allkeys-lru", "0", ""),
    ],
)
def test_eviction(policy: str, limit: str, told: str) -> None:
    lines = [*losses(FINE | {"maxmemory_policy": policy, "maxmemory": limit}, {})]
    assert len(lines) == bool(told)
    assert told in "".join(lines)


@pytest.mark.parametrize(
    ("changed", "is_told"),
    [
        ({}, True),
        ({"aof_enabled": "1"}, False),
        ({"rdb_saves": "3"}, False),
        ({"uptime_in_seconds": "7199"}, False),
        ({"uptime_in_seconds": "7200"}, True),
        ({"rdb_changes_since_last_save": "0"}, False),
    ],
)
def test_no_persistence(changed: dict[str, str], *, is_told: bool) -> None:
    lines = [*losses(FINE | {"aof_enabled": "0"} | changed, {})]
    assert [("a crash loses all events" in line) for line in lines] == [True] * is_told


def test_missing_copies() -> None:
    streams = {
        "few": StreamSettings(durability="replicated", replicas=2),
        "enough": StreamSettings(durability="replicated"),
        "disk": StreamSettings(durability="disk"),
    }
    few, disk = losses(FINE | {"aof_enabled": "0", "rdb_saves": "1"}, streams)
    assert few == "stream 'few': durability asks for 2 of its replicas, and it has 1"
    assert disk.startswith("stream 'disk': durability asks for an append-only file")


def test_a_reply_to_info_is_read() -> None:
    assert known("# Memory\r\nmaxmemory:0\r\n\r\nslave0:ip=::1,port=1\r\n") == {
        "maxmemory": "0",
        "slave0": "ip=::1,port=1",
    }

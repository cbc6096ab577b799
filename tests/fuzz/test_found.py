"""What the targets found, one test for each, so that it stays away."""

from __future__ import annotations

import msgspec

from redis_streams_aio import entries, replays


def test_p12_a_field_that_only_looks_packed_stays_untouched() -> None:
    """A field of that name, with a list in it, made an event with half a field, which could not be replayed."""
    for value in (["a"], ["a", "b"], ["a"] * 6001):
        fields = [b"dead:fields", msgspec.msgpack.encode(value)]
        assert entries.unpacked(entries.packed(fields, b"dead:fields"), b"dead:fields") == fields
    long = [b"name", b"value"] * 4000
    assert entries.unpacked(entries.packed(long, b"dead:fields"), b"dead:fields") == long


def test_p13_a_replay_history_nested_too_deep_is_none() -> None:
    """It raised RecursionError where entries are taken in, which ended the broker."""
    deep = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert replays.decode(deep) is None
    assert replays.unwrap([b"replayed_for", b"g", b"replay_history", deep, b"a", b"b"], "g") == ([b"a", b"b"], None)

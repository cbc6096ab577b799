"""Identities of events that may be sent again: their bytes, their numbers, and which servers know them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import ServerError
from redis_streams_aio.connection import capabilities
from redis_streams_aio.connection.capabilities import IDMP, found
from redis_streams_aio.connection.packing import pack
from redis_streams_aio.connection.replies import Reply, Server
from redis_streams_aio.connection.steps.once import Identity, Memory, identified, memory
from redis_streams_aio.producer.once import _NAMES, _OF_EACH, Numbers

OPTIONS = st.sampled_from([(), ("MAXLEN", "~", 1000)])


@given(
    st.text(min_size=1).filter(lambda text: text.isprintable()),
    OPTIONS,
    st.lists(st.tuples(st.binary(), st.binary()), min_size=1, max_size=9),
    st.builds(Identity, st.binary(min_size=1), st.binary(min_size=1)),
)
def test_an_identity_stands_behind_the_stream(
    stream: str, options: tuple[str, ...], pairs: list[tuple[bytes, bytes]], identity: Identity
) -> None:
    rest = (*options, "*", *(part for pair in pairs for part in pair))
    expected = pack(("XADD", stream, "IDMP", *identity, *rest))  # type: ignore[arg-type]
    assert identified(pack(("XADD", stream, *rest)), identity) == expected  # type: ignore[arg-type]


def test_no_two_events_have_one_identity() -> None:
    one, other = Numbers(), Numbers()
    identities = {numbers.identity(numbers.next()) for numbers in (one, other) for _ in range(3 * _NAMES * _OF_EACH)}
    assert len(identities) == 6 * _NAMES * _OF_EACH


def test_an_event_is_recent_until_its_producer_name_is_used_again() -> None:
    """Redis forgets the oldest of a producer when there are more than 100."""
    numbers = Numbers()
    first = numbers.next()
    name = numbers.identity(first).producer
    others = 0
    while numbers.is_recent(first):
        others += numbers.identity(numbers.next()).producer == name
    assert others <= _OF_EACH
    assert numbers._count > (_NAMES - 1) * _OF_EACH


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        (("redis", "8.6.2"), {IDMP}),
        (("redis", "8.6.10"), {IDMP}),
        (("redis", "8.7"), {IDMP}),
        (("redis", "8.6.1"), set()),
        (("redis", "8.6"), set()),
        (("redis", "8.10.2"), {IDMP}),
        (("redis", "9.0"), {IDMP}),
        (("redis", "255.255.255"), {IDMP}),
        (("redis", "8.5.9"), set()),
        (("redis", "7.4.1"), set()),
        (("redis", ""), set()),
        (("valkey", "9.1.2"), set()),
        (("valkey", "10.0.0"), set()),
        (("fakeredis", "2.40.0"), set()),
    ],
)
def test_what_a_server_can_follows_from_its_name_and_version(server: tuple[str, str], expected: set[str]) -> None:
    assert found(Server(*server, client_id=1)) == expected


def test_masked_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "SINCE", {})
    assert found(Server("redis", "8.10.2", 1)) == frozenset()


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ([b"length", 1, b"idmp-duration", 100, b"idmp-maxsize", 7], Memory(100, 7)),
        ([b"length", 1], Memory(0, 0)),
    ],
)
def test_the_memory_of_a_stream_is_read(reply: Reply, expected: Memory) -> None:
    assert memory(reply) == expected


@pytest.mark.parametrize("reply", [5, [b"odd"], [b"idmp-duration", b"long"], [b"idmp-maxsize", []]])
def test_another_form_of_reply_is_told(reply: Reply) -> None:
    with pytest.raises(ServerError, match="cannot be read as"):
        memory(reply)

"""Commands are packed as hiredis packs them, however they are put together."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio.connection.packing import pack, pack_ids, pack_part

words = st.text(st.characters(codec="utf-8"), max_size=5) | st.binary(max_size=5) | st.integers()


@given(st.lists(words, min_size=1, max_size=4).map(tuple), st.lists(st.binary(max_size=30), max_size=20))
def test_ids_of_any_length_are_packed_as_arguments(first, ids):
    assert pack_ids(first, ids) == pack((*first, *ids))


@given(st.integers(1, 10**15), st.integers(1, 200))
def test_ids_of_one_length_are_packed_as_arguments(time, count):
    ids = [b"%d-%d" % (time, at % 10) for at in range(count)]
    assert pack_ids(("XACK", "orders", "billing"), ids) == pack(("XACK", "orders", "billing", *ids))


@given(st.lists(words, max_size=4).map(tuple))
def test_a_part_is_a_command_without_its_first_line(arguments):
    assert b"*%d\r\n%b" % (len(arguments) + 1, pack_part(("XADD", *arguments))) == pack(("XADD", *arguments))

"""Properties of what is written and read: ids, fields, codecs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypedDict

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from redis_streams_aio import ConfigError, DecodeError, EncodeError, FieldsCodec, JsonCodec, MsgpackCodec, RawCodec
from redis_streams_aio.codecs import bounded
from redis_streams_aio.events import entry_ids, replays, wire_format
from redis_streams_aio.models import History

# -- ids --------------------------------------------------------------------------------------------------------

ids = st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))


@given(ids, ids)
def test_ids_are_ordered_as_their_two_numbers(one: tuple[int, int], other: tuple[int, int]) -> None:
    texts = [f"{milliseconds}-{sequence}" for milliseconds, sequence in (one, other)]
    assert [entry_ids.parse(text) for text in texts] == [one, other]
    assert all(entry_ids.is_id(text) and entry_ids.start_position(text) == text for text in texts)
    if one < other:
        assert one <= entry_ids.parse(entry_ids.previous(texts[1]))


@given(st.datetimes(datetime(1971, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_p8_a_time_to_start_at_divides_the_entries(start: datetime) -> None:
    position = entry_ids.parse(entry_ids.start_position(start))
    milliseconds = round(start.timestamp() * 1000)
    assert (milliseconds - 1, 2**64 - 1) == position < (milliseconds, 0)
    taken = entry_ids.timestamp(f"{milliseconds}-7")
    assert taken.tzinfo is UTC
    assert abs(taken - start) <= timedelta(milliseconds=1)


@given(st.text())
def test_a_start_is_a_position_or_refused(start: str) -> None:
    assume(start != entry_ids.END)
    if entry_ids.is_id(start):
        entry_ids.parse(start)
        assert entry_ids.start_position(start) == start
    else:
        with pytest.raises(ConfigError, match="start="):
            entry_ids.start_position(start)


def test_the_time_of_an_id_that_no_clock_gave() -> None:
    assert entry_ids.timestamp(f"{2**64 - 1}-0") == datetime.max.replace(tzinfo=UTC)


# -- fields -----------------------------------------------------------------------------------------------------

some = st.none() | st.text(max_size=10)


@given(st.text(), st.binary(), some, some, some, st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_what_an_event_says_of_itself_is_read_as_it_was_written(
    event_type: str,
    payload: bytes,
    content_type: str | None,
    key: str | None,
    event_id: str | None,
    headers: dict[str, str],
) -> None:
    composed = [
        *wire_format.compose(event_type, payload, content_type=content_type),
        *wire_format.extras(key=key, event_id=event_id, headers=headers),
    ]
    fields = [item if isinstance(item, bytes) else item.encode() for item in composed]
    known = wire_format.attributes(fields)
    assert (known.event_type, known.content_type, known.key, known.event_id) == (
        event_type,
        content_type,
        key,
        event_id,
    )
    assert known.headers == headers
    assert wire_format.event_type_of(fields) == event_type.encode()
    assert wire_format.payload_of(fields) == payload
    assert wire_format.key_of(fields) == (None if key is None else key.encode())
    shuffled = [item for pair in reversed(list(zip(fields[::2], fields[1::2], strict=True))) for item in pair]
    assert wire_format.attributes(shuffled) == known, "whatever the order of the fields"
    assert (wire_format.event_type_of(shuffled), wire_format.payload_of(shuffled)) == (event_type.encode(), payload)
    assert wire_format.key_of(shuffled) == wire_format.key_of(fields)


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"event_type"]), st.binary(max_size=3)), max_size=5))
def test_the_first_field_of_a_name_counts(pairs: list[tuple[bytes, bytes]]) -> None:
    fields = [item for pair in pairs for item in pair]
    for name in (b"a", b"b", b"c"):
        assert wire_format.get(fields, name) == next((value for other, value in pairs if other == name), None)
    assert wire_format.event_type_of(fields) == next((value for name, value in pairs if name == b"event_type"), b"")
    assert wire_format.get([*fields, b"c"], b"c") is None, "a name without a value"
    assert wire_format.event_type_of([b"a", b"event_type", b"event_type", b"T"]) == b"T", "a value is no name"
    assert wire_format.payload_of([b"a", b"b", b"c", b"payload", b"payload", b"P"]) == b"P"
    assert wire_format.key_of([b"key", b"K", b"payload", b"P", b"key", b"L"]) == b"K"


@pytest.mark.parametrize("count", [2, 5_998, 6_000, 6_002, 20_000])
def test_more_fields_than_a_script_can_pass_on_are_one_field(count: int) -> None:
    fields = [b"%d" % number for number in range(count)]
    packed = wire_format.packed(fields, b"packed")
    assert (len(packed) == 2) == (count > 6_000 or count == 2)
    assert wire_format.unpacked(packed, b"packed") == fields
    assert wire_format.unpacked(packed, b"another name") == packed
    history = History("1-0", 1, 2.0, "failures", "no", 1)
    assert replays.unwrap(replays.wrap(fields, "g", history)) == ("g", fields, history)


@pytest.mark.parametrize("count", [2, 6_000, 6_001])
def test_what_would_not_have_been_packed_is_somebody_elses(count: int) -> None:
    fields = [b"packed", msgspec.msgpack.encode([b"x"] * count)]
    assert wire_format.unpacked(fields, b"packed") == fields


def test_p12_what_looks_packed_comes_back_as_it_was() -> None:
    for name, own in ((b"packed", b"packed"), (b"another", b"packed")):
        fields = [own, msgspec.msgpack.encode([b"packed", b"inside"])]
        packed = wire_format.packed(fields, name)
        assert (packed != fields) == (own == name)
        assert wire_format.unpacked(packed, name) == fields


def test_an_event_without_fields_of_its_own_can_be_replayed() -> None:
    history = History("1-0", 1, 2.0, "failures", "no", 1)
    assert replays.unwrap(replays.wrap([], "g", history)) == ("g", [], history)


def test_a_field_of_the_packed_ones_name_that_is_not_packed_is_left_alone() -> None:
    for fields in ([b"packed", b"no messagepack \xc1"], [b"packed", msgspec.msgpack.encode(7)], [b"packed"], []):
        assert wire_format.unpacked(fields, b"packed") == fields
    twice = [b"packed", msgspec.msgpack.encode([b"a"]), b"b", b"c"]
    assert wire_format.unpacked(twice, b"packed") == twice


# -- codecs -----------------------------------------------------------------------------------------------------


class Row(msgspec.Struct):
    name: str
    count: int
    ratio: float | None = None
    tags: list[str] = []


@dataclass
class Point:
    x: int
    y: float


class Named(TypedDict):
    name: str
    on: bool


counts, ratios, names = st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.text()
PAYLOADS: list[tuple[type, st.SearchStrategy[object]]] = [
    (Row, st.builds(Row, names, counts, st.none() | ratios, st.lists(names, max_size=3))),
    (Point, st.builds(Point, counts, ratios)),
    (Named, st.fixed_dictionaries({"name": names, "on": st.booleans()})),
    (dict, st.dictionaries(names, st.none() | counts | names | st.lists(counts, max_size=3), max_size=4)),
    (list, st.lists(counts)),
    (int, counts),
]


def written(
    codec: JsonCodec | MsgpackCodec | RawCodec, payload: object, content_type: str | None
) -> wire_format.Fields:
    composed = [
        *wire_format.compose("T", codec.encode(payload), content_type=content_type),
        *wire_format.extras(key="k", event_id="e", headers={"h": "1"}),
    ]
    return [item.encode() if isinstance(item, str) else item for item in composed]


@pytest.mark.parametrize(("payload_type", "payloads"), PAYLOADS, ids=lambda value: getattr(value, "__name__", ""))
@given(data=st.data())
def test_every_type_comes_back_from_every_codec(
    payload_type: type, payloads: st.SearchStrategy[object], data: st.DataObject
) -> None:
    """Also read by the other codec, where the entry says what it is: publishers may change theirs."""
    payload = data.draw(payloads)
    for writing, said in ((JsonCodec(), "application/json"), (MsgpackCodec(), "application/msgpack")):
        for reading in (JsonCodec(), MsgpackCodec()):
            assert reading.decoder(payload_type)(written(writing, payload, said)) == payload
        assert writing.decoder(payload_type)(written(writing, payload, writing.content_type)) == payload
        assert writing.decoder(payload_type)(written(writing, payload, "text/unheard-of")) == payload


@given(st.binary())
def test_raw_bytes_come_back_whatever_they_are_held_in(payload: bytes) -> None:
    for held in (payload, bytearray(payload), memoryview(payload)):
        fields = written(RawCodec(), held, RawCodec().content_type)
        assert RawCodec().decoder(bytes)(fields) == payload
        assert RawCodec().decoder(bytes)(written(RawCodec(), held, "application/json")) == payload
        assert JsonCodec().decoder(bytes)(fields) == payload


def test_p12_every_field_of_others_has_the_limit_of_payloads() -> None:
    decode = bounded(FieldsCodec(), dict, 5)
    assert decode([b"abcde", b"1"]) == {"abcde": "1"}
    with pytest.raises(DecodeError) as raised:
        decode([b"a", b"123456"])
    assert str(raised.value) == "a field has 6 bytes, the limit is 5 (max_payload_bytes)"
    assert bounded(FieldsCodec(), dict, 0)([]) == {}, "nothing is too large"


def test_p12_a_payload_beyond_the_limit_is_refused_undecoded() -> None:
    decode = bounded(JsonCodec(), int, 3)
    assert decode([b"event_type", b"T", b"payload", b"100"]) == 100
    with pytest.raises(DecodeError) as raised:
        decode([b"event_type", b"T", b"payload", b"1000"])
    assert str(raised.value) == "payload has 4 bytes, the limit is 3 (max_payload_bytes)"


def test_p24_what_cannot_be_encoded_is_told_with_its_type_and_the_format() -> None:
    for codec, name in ((JsonCodec(), "JSON"), (MsgpackCodec(), "MessagePack")):
        with pytest.raises(EncodeError) as raised:
            codec.encode(object())
        assert str(raised.value).startswith(f"payload: object cannot be encoded as {name}: Encoding objects of type")


def test_p13_what_cannot_be_decoded_is_told_with_its_type() -> None:
    with pytest.raises(DecodeError) as raised:
        JsonCodec().decoder(Row)([b"event_type", b"T"])
    expected = "the entry has no field 'payload'; if another program writes it, use codec=FieldsCodec()"
    assert str(raised.value) == expected
    with pytest.raises(DecodeError, match=r"^payload is not an int \| bool: "):
        JsonCodec().decoder(int | bool)([b"event_type", b"T", b"payload", b"[]"])  # type: ignore[arg-type]
    with pytest.raises(DecodeError, match=r"^fields are not a dict: "):
        FieldsCodec().decoder(dict)([b"a", b"1", b"a name without a value"])
    with pytest.raises(TypeError, match=r"^FieldsCodec reads fields, not bytes; annotate a Struct.* or dict$"):
        FieldsCodec().decoder(bytes)


def test_p13_an_entry_of_others_is_read_as_what_it_says_that_it_is() -> None:
    payload, said = [b"payload", MsgpackCodec().encode(7)], [b"content_type", b"application/msgpack"]
    for fields in (payload + said, said + payload, [b"event_type", b"T", *payload, *said]):
        assert JsonCodec().decoder(int)(fields) == 7


def test_raw_means_bytes() -> None:
    with pytest.raises(EncodeError) as raised:
        RawCodec().encode("text")
    assert str(raised.value) == "payload: RawCodec takes bytes, not str; encode it first, or use JsonCodec"


@given(st.builds(Row, names, counts, st.none() | ratios), st.builds(Point, counts, ratios))
def test_flat_fields_of_others_become_numbers(row: Row, point: Point) -> None:
    flat = [item.encode() for item in pairs_of({"x": point.x, "y": point.y})]
    assert FieldsCodec().decoder(Point)(flat) == point
    fields = {"name": row.name, "count": row.count} | ({} if row.ratio is None else {"ratio": row.ratio})
    assert FieldsCodec().decoder(Row)([item.encode() for item in pairs_of(fields)]) == row
    assert FieldsCodec().decoder(dict)(flat) == {"x": str(point.x), "y": str(point.y)}


def pairs_of(values: dict[str, object]) -> Iterator[str]:
    for name, value in values.items():
        yield from (name, str(value))

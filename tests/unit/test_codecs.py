"""Codecs and the wire format.

What is written is read, and whatever others write raises `DecodeError` and nothing else (P13).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TypedDict

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from redis_streams_aio import DecodeError, EncodeError, FieldsCodec, JsonCodec, MsgpackCodec, RawCodec
from redis_streams_aio.events import wire_format
from tests.events import Order

scalars = st.none() | st.booleans() | st.text() | st.integers(-(2**53), 2**53)
json_values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def as_fields(codec: JsonCodec | MsgpackCodec | RawCodec, payload: object) -> wire_format.Fields:
    composed = wire_format.compose("T", codec.encode(payload), content_type=codec.content_type)
    return [item.encode() if isinstance(item, str) else item for item in composed]


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_what_is_written_is_read(payload: dict[str, object]) -> None:
    for codec in (JsonCodec(), MsgpackCodec()):
        assert codec.decoder(dict)(as_fields(codec, payload)) == payload


@given(st.binary())
def test_bytes_are_left_alone_by_every_codec(payload: bytes) -> None:
    for codec in (JsonCodec(), MsgpackCodec(), RawCodec()):
        assert codec.decoder(bytes)([wire_format.EVENT_TYPE, b"T", wire_format.PAYLOAD, payload]) == payload


@dataclass
class Point:
    x: int


NAMES = [
    wire_format.EVENT_TYPE,
    wire_format.PAYLOAD,
    wire_format.CONTENT_TYPE,
    wire_format.KEY,
    b"application/msgpack",
    b"h:",
]


class Named(TypedDict):
    name: str


@given(st.lists(st.sampled_from(NAMES) | st.binary(max_size=40), max_size=12))
@example([b"event_type"])
@example([b"event_type", b"T", b"payload"])
def test_p13_any_fields_are_decoded_or_raise_decode_error(fields: list[bytes]) -> None:
    for codec in (JsonCodec(), MsgpackCodec(), FieldsCodec()):
        for payload_type in (Order, Point, Named, dict):
            decode = codec.decoder(payload_type)
            for tried in (
                fields,
                [b"event_type", b"T", b"payload", *fields],
                [b"payload", *fields, b"content_type", b"application/msgpack"],
            ):
                with contextlib.suppress(DecodeError):
                    decode(tried)
    wire_format.attributes(fields)
    wire_format.event_type_of(fields)


def test_flat_fields_become_numbers_and_booleans() -> None:
    class Mixed(msgspec.Struct):
        a: int
        b: float
        c: bool
        d: str | None = None

    decode = FieldsCodec().decoder(Mixed)
    assert decode([b"a", b"1", b"b", b"2.5", b"c", b"true"]) == Mixed(1, 2.5, True)
    with pytest.raises(DecodeError, match="fields are not a Mixed: Expected `int`"):
        decode([b"a", b"x", b"b", b"2.5", b"c", b"true"])


def test_entries_without_a_payload_say_what_to_do() -> None:
    with pytest.raises(DecodeError, match=r"no field 'payload'; .*FieldsCodec"):
        JsonCodec().decoder(Order)([b"number", b"1"])


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec(), RawCodec()])
def test_what_cannot_be_encoded_raises_encode_error(codec: JsonCodec) -> None:
    deep: list[object] = []
    deep.append(deep)
    for payload in (object(), 2**70 if codec.content_type else {1: object}, deep):
        with pytest.raises(EncodeError):
            codec.encode(payload)


def test_the_wire_format_has_only_what_is_set_in_its_order() -> None:
    compose, extras = wire_format.compose, wire_format.extras
    assert compose("T", b"p", content_type=None) == [b"event_type", "T", b"payload", b"p"]
    assert extras(key=None, event_id=None, headers={}) == []
    full = [*compose("T", b"p", content_type="c"), *extras(key="k", event_id="e", headers={"a": "1", "b": "2"})]
    assert list(full[::2]) == [b"event_type", b"payload", b"content_type", b"key", b"event_id", "h:a", "h:b"]


def test_attributes_of_foreign_entries_are_readable() -> None:
    known = wire_format.attributes([b"x", b"y", b"event_type", b"\xff", b"key", b"k", b"h:", b"v", b"odd"])
    assert (known.event_type, known.key, known.event_id, dict(known.headers)) == ("\ufffd", "k", None, {"": "v"})

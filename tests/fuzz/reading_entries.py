"""Targets: entries, payloads, replays, dead letters and failure records, as they may be found in Redis (P13)."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
from msgspec import Meta

from redis_streams_aio import DecodeError, FieldsCodec, JsonCodec, MsgpackCodec, RawCodec
from redis_streams_aio.cli import events
from redis_streams_aio.cli.dead_letters import rows as shown
from redis_streams_aio.connection.packing import pack
from redis_streams_aio.connection.replies import RawEntry
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.work.schedule import Schedule
from redis_streams_aio.events import dead_letter, replays, wire_format
from redis_streams_aio.events.delivery import event_of
from redis_streams_aio.handlers.fates import DeadLetter
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.models import History
from redis_streams_aio.telemetry import Telemetry
from tests.fuzz import inputs
from tests.fuzz.running import Target


class Order(msgspec.Struct):
    number: int
    name: str = ""


class Kind(enum.Enum):
    A = "a"
    B = "b"


class One(msgspec.Struct, tag="one", tag_field="kind"):
    x: Annotated[int, Meta(ge=0, le=100)]
    when: dt.timedelta | None = None


class Two(msgspec.Struct, tag="two", tag_field="kind", forbid_unknown_fields=True):
    items: list[Order] = []
    amount: decimal.Decimal | None = None


class Every(msgspec.Struct, kw_only=True):
    number: int | None = None
    name: Annotated[str, Meta(max_length=5, pattern="^a")] = "a"
    x: float = 0.0
    kind: Kind | None = None
    items: tuple[One | Two, ...] = ()
    when: dt.datetime | None = None
    day: dt.date | None = None
    amount: decimal.Decimal | None = None
    id: uuid.UUID | None = None
    failures: dict[int, frozenset[str]] = {}
    reason: bytes = b""
    error: Literal["a", 1] | None = None
    replays: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


@dataclass
class Point:
    x: int
    name: str | None = None


class Named(TypedDict, total=False):
    name: str
    items: list[Named]


class Pair(NamedTuple):
    x: int
    name: str


TYPES: tuple[Any, ...] = (Order, One | Two, Every, Point, Named, Pair, dict, dict[str, Any], object, list[int], bytes)
PLAIN = (Order, Every, Point, Named, dict)


def decoders() -> list[Callable[[wire_format.Fields], object]]:
    """Every codec with every kind of type that it takes."""
    made = [codec.decoder(kind) for codec in (JsonCodec(), MsgpackCodec()) for kind in TYPES]
    return [*made, RawCodec().decoder(bytes), *(FieldsCodec().decoder(kind) for kind in PLAIN)]


DECODERS = decoders()


def decoded(given: tuple[int, wire_format.Fields]) -> None:
    which, fields = given
    with contextlib.suppress(DecodeError):
        DECODERS[which](fields)


def any_decoder(rng: Random) -> tuple[int, wire_format.Fields]:
    return rng.randrange(len(DECODERS)), inputs.fields(rng)


def described(fields: wire_format.Fields) -> None:
    """What an entry says of itself, and how the command line shows it."""
    known = wire_format.attributes(fields)
    assert isinstance(known.event_type, str)
    assert isinstance(wire_format.event_type_of(fields), bytes)
    assert wire_format.unpacked(wire_format.packed(fields, b"dead:fields"), b"dead:fields") == fields or len(fields) % 2
    entry = RawEntry(b"1700000000000-0", fields)
    assert "\n" not in events.for_people(entry)
    line = events.for_machines(entry)
    assert "\n" not in line
    assert msgspec.json.decode(line, type=dict[str, msgspec.Raw])["id"]


def lettered(fields: wire_format.Fields) -> None:
    """A dead letter is shown, and can be handed back."""
    letter = dead_letter.parse("1700000000000-0", fields)
    assert letter.failures >= 0 <= letter.deliveries
    assert len(letter.fields) % 2 == 0 or letter.fields == tuple(fields[: len(letter.fields)])
    assert all(isinstance(line, str) and line.isprintable() for line in shown.for_people(letter))
    assert msgspec.json.decode(shown.for_machines(letter), type=dict[str, msgspec.Raw])["reason"]
    assert len(shown.row_of(letter).cells()) == 7
    history = dead_letter.history_of(letter)
    again = replays.unwrap(replays.wrap(list(letter.fields), "billing", history))
    assert again is not None
    assert again.history == history


def a_letter(rng: Random) -> wire_format.Fields:
    names = ("reason", "error", "failures", "deliveries", "first_failure", "replays", "stream", "group", "id")
    became = [part for name in names for part in (f"dead:{name}".encode(), inputs.field_value(rng, b"dead:"))]
    if rng.random() < 0.3:
        became[became.index(b"dead:first_failure") + 1] = str(253402300799 - rng.randrange(200_000)).encode()
    return [*inputs.fields(rng), *(became if rng.random() < 0.8 else inputs.fields(rng))]


def given_a_fate(fields: wire_format.Fields) -> None:
    """From the reply to the dead letter, as the wire has it, and back."""
    holdings = Holdings(
        Shared(None, Telemetry(())), SubscriptionOptions(stream="orders", group="billing", lease=1), "c"
    )  # type: ignore[arg-type]
    schedule = Schedule()
    for entry in holdings.take([RawEntry(b"1-1", fields), RawEntry(b"1-1", []), RawEntry(b"1-2", None)]):
        entry.lane = wire_format.get(entry.fields, b"key")
        schedule.add(entry)
    taken = schedule.take(0.0)
    assert taken is not None
    assert schedule.take(0.0) is None
    assert event_of(taken, "orders").id == "1-1"
    letter = dead_letter.compose(taken, DeadLetter("undecodable", "why", 1, "trace"), *holdings.who)
    pack(("XADD", "orders", "*", *letter))
    flat = [item if isinstance(item, bytes) else str(item).encode() for item in letter]
    read = dead_letter.parse("1-1", flat)
    assert read.reason == "undecodable"
    assert list(read.fields) == taken.fields


def whole_fields(rng: Random) -> wire_format.Fields:
    """As Redis has them: names with values."""
    fields = inputs.fields(rng)
    return fields[: len(fields) // 2 * 2]


def replayed(text: bytes) -> None:
    found = replays.decode(text)
    assert found is None or isinstance(found, History)


TARGETS = (
    Target("decode", 36, any_decoder, decoded),
    Target("describe entries", 8, inputs.fields, described),
    Target("dead letters", 6, a_letter, lettered),
    Target("from entry to letter", 12, whole_fields, given_a_fate),
    Target("replay histories", 5, inputs.history, replayed),
)

"""What users write in code and in files: refused where it is written, in words that name it, or taken as meant."""

from __future__ import annotations

import contextlib
import enum
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import (
    Broker,
    ConfigError,
    Connection,
    DecodeError,
    EncodeError,
    FieldsCodec,
    InvalidEventError,
    JsonCodec,
    MsgpackCodec,
    PayloadTooLargeError,
    RawCodec,
    Retention,
    Settings,
    StreamSettings,
    config,
)
from redis_streams_aio.broker.parts import assemble
from redis_streams_aio.checks import names
from redis_streams_aio.events import keys, wire_format
from redis_streams_aio.events.outgoing import Outgoing
from redis_streams_aio.producer.composer import Composer
from redis_streams_aio.telemetry import Fact, StepFailed
from tests.events import Order

TEMPLATES = (
    *("orders-{env}", "${STREAM}", "$STREAM", "orders.$env", "%s", "%d", "%(env)s", "orders-%Y-%m-%d", "%STREAM%"),
    *("{{stream}}", "{%env%}", "<stream>", "orders-<env>", "<%=env%>", "#{env}", "{}", "orders.{}", "{stream}.events"),
    *("$(POD_NAME)", "{POD_NAME}", "{name!r}", "{order.id}", "{tenantId}", "{settings.shop}", "orders-{i}"),
    *("orders:{env}", "{orders}:{env}", "orders:{tenant}:eu"),
)
NAMES = (
    *("{orders}", "{orders}:invoices", "orders:{3}", "orders:{0}", "{eu}orders", "{eu}.orders", "orders-{eu}", "{a}:b"),
    *("{user1000}.following", "{tenant-7}.orders", "{payment-service}:events", "{queue}:billing:dead", "a{", "b}"),
    *("$all", "$ce-orders", "orders$eu", "100%", "50%off", "a%2Fb", "%d0%bf", "%DE%AB", "a<b", "a>b", "shop:{eu}:x"),
)


@pytest.mark.parametrize("name", TEMPLATES)
def test_p24_a_template_that_nobody_filled_in_is_no_name(name: str) -> None:
    assert "is an unfilled template" in (names.problem(name) or "")
    for make in (
        lambda: Settings(group=name),
        lambda: Settings(consumer=name),
        lambda: Settings(streams={name: StreamSettings()}),
        lambda: Broker("memory://", group=name),
    ):
        with pytest.raises(ConfigError, match="is an unfilled template"):
            make()


@pytest.mark.parametrize("name", NAMES)
def test_hash_tags_of_a_cluster_are_names(name: str) -> None:
    assert names.problem(name) is None
    assert "{" not in name or "}" not in name or names.problem(keys.dead_letters(name, "billing")) is None


def test_p24_a_template_is_refused_in_files_and_in_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("redis_streams: {consumer: '$(POD_NAME)'}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"consumer: the name '\$\(POD_NAME\)' is an unfilled template"):
        config.load(path, {})
    path.write_text("redis_streams: {}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"group: the name '\$\{GROUP\}' is an unfilled template"):
        config.load(path, {"REDIS_STREAMS_GROUP": "${GROUP}"})


usable_names = st.text(st.sampled_from("{}ab-"), min_size=1, max_size=8).filter(
    lambda name: names.problem(name) is None
)


@given(usable_names, usable_names)
def test_p18_streams_do_not_share_the_keys_beside_them(one: str, other: str) -> None:
    """`orders` and `{orders}` had one checkpoint, one hash of failures, one stream of dead letters."""
    streams = {one, other, *("{" + name + "}" for name in (one, other) if "{" not in name and "}" not in name)}
    assert len({keys.checkpoint(stream, "g") for stream in streams}) == len(streams)
    for stream in streams:
        if "}" not in one + other:
            assert keys.on_one_slot(keys.checkpoint(stream, "g"), stream)


def test_keys_beside_a_stream_that_is_nothing_but_a_hash_tag() -> None:
    assert keys.dead_letters("{orders}", "billing") == "{orders}:redis_streams_aio:billing:dead"
    assert keys.dead_letters("{orders}:eu", "billing") == "{orders}:eu:billing:dead"
    for reserved in ("redis_streams_aio", "redis_streams_aio:released", "{orders}:redis_streams_aio"):
        assert "is reserved" in (names.problem(reserved) or "")


class Shop(str, enum.Enum):  # noqa: UP042  # that is what users have
    ORDERS = "orders"
    BILLING = "billing"
    PLACED = "OrderPlaced"


def test_names_that_are_members_of_an_enumeration_are_their_values() -> None:
    """An f-string makes `Shop.ORDERS` of one since Python 3.11: the keys beside the stream had another name."""
    settings = Settings(group=Shop.BILLING, consumer=Shop.BILLING, streams={Shop.ORDERS: StreamSettings(replicas=5)})
    assert (type(settings.group), settings.group, type(settings.consumer)) == (str, "billing", str)
    assert {type(name) for name in settings.streams} == {str}
    assert keys.dead_letters(Shop.ORDERS, Shop.BILLING) == "{orders}:billing:dead"
    assert repr(names.checked("stream", Shop.ORDERS)) == "'orders'"
    composer = Composer(JsonCodec(), settings)
    told = {"key": Shop.PLACED, "event_id": Shop.PLACED, "headers": {Shop.PLACED: Shop.PLACED}}
    plain = {"key": "OrderPlaced", "event_id": "OrderPlaced", "headers": {"OrderPlaced": "OrderPlaced"}}
    assert composer.pack(Shop.ORDERS, {}, Shop.PLACED, **told) == composer.pack("orders", {}, "OrderPlaced", **plain)  # type: ignore[arg-type]
    assert Composer(JsonCodec(), settings).pack(Shop.ORDERS, {}, Shop.PLACED) == composer.pack(
        "orders", {}, "OrderPlaced"
    )


# -- settings ---------------------------------------------------------------------------------------------------


def test_options_of_streams_may_be_mappings() -> None:
    """They passed the check and stayed what they were: an AttributeError when the broker was opened."""
    options = {"replicas": 5}
    settings = Settings(streams={"orders": options, "mail": StreamSettings(alert_length=7)})  # type: ignore[dict-item]
    options["replicas"] = 6
    assert settings.stream("orders") == StreamSettings(replicas=5)
    assert settings.stream("mail") == StreamSettings(alert_length=7)
    assert settings.stream("others") == StreamSettings()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"grace": math.nan}, "Settings(grace=nan): Expected `float` >= 0.0 (in seconds, a number)"),
        ({"grace": math.inf}, "Settings(grace=inf): Expected `float` <= 86400.0 (in seconds, a number)"),
        ({"grace": True}, "Settings(grace=True): Expected `float`, got `bool` (in seconds, a number)"),
        ({"count": True}, "Settings(count=True): Expected `int`, got `bool`"),
        ({"checkpoints": "disk"}, "Settings(checkpoints='disk'): Invalid enum value 'disk' (\"redis\" or \"memory\")"),
        ({"streams": ["orders"]}, "Settings(streams=['orders']): Expected `object`, got `array`"),
        ({"streams": {1: {}}}, "Settings(streams={1: {}}): Expected `str`"),
        (
            {"streams": {"orders": {"replicas": 0}}},
            "Settings(streams={'orders': {'replicas': 0}}): Expected `int` >= 1",
        ),
        ({"group": b"billing"}, "Settings(group=b'billing'): Expected `str | null`, got `bytes`"),
    ],
)
def test_settings_in_code_are_as_strict_as_a_file(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Settings(**given)
    assert str(raised.value).startswith(problem)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "5", [5]])
def test_a_bound_of_a_stream_that_would_empty_it_is_refused(value: object) -> None:
    """A `max_length` of 0 would trim everything away."""
    with pytest.raises(ConfigError, match=r"^Retention\(max_length="):
        Retention(max_length=value)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^StreamSettings\(alert_length="):
        StreamSettings(alert_length=value)  # type: ignore[arg-type]


# -- Broker(...), Connection(...) -------------------------------------------------------------------------------


async def tell_later(fact: Fact) -> None:
    """An observer that nobody would await."""


class Telling:
    kinds = [StepFailed]  # noqa: RUF012  # not a tuple

    def __call__(self, fact: Fact) -> None: ...


class Later:
    async def __call__(self, fact: Fact) -> None: ...


def tell(fact: Fact) -> None: ...


class Told:
    def tell(self, fact: Fact) -> None: ...


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": None}, "no redis_url and no client: say where Redis is, e.g. Broker('redis://localhost:6379/0')"),
        ({"url": ""}, "redis_url: unknown scheme none; expected one of redis://, rediss://"),
        ({"url": 5}, "redis_url: expected text, e.g. redis://localhost:6379/0, not 5"),
        ({"url": "redis://h/0?nope=1"}, "redis_url: redis://h/0?***: has no option 'nope'"),
        ({"group": ""}, "Settings(group=''): Expected `str` of length >= 1"),
        ({"group": 5}, "Settings(group=5): Expected `str | null`, got `int`"),
        ({"settings": {"count": 5}}, "settings={'count': 5}: expected Settings; write Settings(**settings)"),
        (
            {"settings": Settings},
            "settings=<class 'redis_streams_aio.config.settings.Settings'>: expected a Settings",
        ),
        ({"settings": 5}, "settings=5: expected a Settings"),
        ({"codec": "json"}, "codec='json': expected a codec, e.g. JsonCodec()"),
        ({"codec": JsonCodec}, "codec=JsonCodec: is a class; write JsonCodec() to make one"),
        ({"codec": 0}, "codec=0: expected a codec"),
        ({"codec": FieldsCodec()}, "codec=<redis_streams_aio.codecs."),
        (
            {"publish_middleware": [tell]},
            "publish_middleware[0]=tell: is a function without 'async'; expected an",
        ),
        (
            {"publish_middleware": tell_later},
            "publish_middleware=<function tell_later",
        ),
        ({"publish_middleware": [tell_later]}, "publish_middleware[0]=tell_later: cannot be called with (event, call_"),
        ({"observers": [1]}, "observers[0]=1: expected a function of (fact)"),
        ({"observers": tell}, "observers=<function tell"),
        ({"observers": "tell"}, "observers='tell': expected a list of functions"),
        ({"observers": None}, "observers=None: expected a list of functions"),
        ({"observers": [tell, tell_later]}, "observers[1]=<function tell_later"),
        ({"observers": [Later()]}, "observers[0]=<tests.unit.test_values.Later"),
        ({"observers": [functools.partial(tell_later)]}, "observers[0]=functools.partial("),
        ({"observers": [Later]}, "observers[0]=<class 'tests.unit.test_values.Later'>: expected a function of (fact)"),
        (
            {"observers": [Telling()]},
            "observers[0].kinds=[<class 'redis_streams_aio.telemetry.facts.StepFailed'>]: exp",
        ),
        ({"observers": [lambda: None]}, "observers[0]=<function <lambda>"),
        ({"observers": [lambda fact, more: None]}, "observers[0]=<function <lambda>"),
        ({"client": redis.Redis()}, "no redis_url"),
    ],
)
def test_what_a_broker_cannot_work_with_is_refused_where_it_is_written(
    options: dict[str, object], problem: str
) -> None:
    options = {"url": "memory://", **options}
    if "client" in options:
        del options["url"]
        got = "got redis.client.Redis; a client that blocks cannot be used"
        problem = f"client: expected a redis.asyncio.Redis or RedisCluster, {got}"
    with pytest.raises(ConfigError) as raised:
        Broker(**options)  # type: ignore[arg-type]
    assert str(raised.value).startswith(problem)


def test_what_can_be_an_observer() -> None:
    facts: list[Fact] = []
    some = [
        facts.append,
        print,
        tell,
        functools.partial(tell),
        lambda fact, more=1: None,
        Told().tell,
    ]
    for observers in (some, tuple(some), iter(some)):
        parts = Broker("memory://", observers=observers)._parts  # type: ignore[arg-type]
        assemble(parts.settings, parts.codec, (*parts.observers, tell))


def test_where_redis_is_may_be_said_in_the_settings_or_by_a_client() -> None:
    Broker(settings=Settings(redis_url="memory://"))
    client = redis.asyncio.Redis()
    Broker(client=client)
    with pytest.raises(ConfigError, match="both say where Redis is"):
        Broker("memory://", client=client)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"url": 5}, "redis_url: expected text"),
        ({}, "no redis_url and no client"),
        ({"url": "redis://a:1,b:2/0"}, "redis_url: has several hosts"),
        ({"url": "memory://", "command_timeout": "x"}, "command_timeout='x': expected seconds above 0, up to 86400"),
        ({"url": "memory://", "command_timeout": math.nan}, "command_timeout=nan: expected seconds"),
        ({"url": "memory://", "command_timeout": True}, "command_timeout=True: expected seconds"),
        ({"url": "memory://", "connect_timeout": 0}, "connect_timeout=0: expected seconds"),
        ({"url": "memory://", "connect_timeout": math.inf}, "connect_timeout=inf: expected seconds"),
        ({"client": redis.Redis}, "client: expected a redis.asyncio.Redis or RedisCluster, got the class Redis"),
    ],
)
def test_what_a_connection_cannot_work_with_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Connection(**options)
    assert str(raised.value).startswith(problem)


def test_options_of_redis_pys_pools_are_passed_over() -> None:
    for url in ("redis://h/0?max_connections=10&timeout=20", "unix:///run/redis.sock?max_connections=5"):
        Connection(url)
        Broker(url)


# -- publish(...) -----------------------------------------------------------------------------------------------


class Reading(msgspec.Struct):
    sensor: str
    value: float
    more: list[float] = []
    by_id: dict[float, float] = {}
    note: str | None = None


@dataclass
class Point:
    x: float


class Named(TypedDict):
    x: float


NOT_FINITE: list[tuple[object, str]] = [
    (Reading("a", math.nan), "$.value is nan"),
    (Reading("a", -math.inf), "$.value is -inf"),
    (Reading("a", 1.0, [1.0, math.inf]), "$.more[1] is inf"),
    (Reading("a", 1.0, by_id={1.0: math.nan}), "$.by_id.1.0 is nan"),
    (Point(math.nan), "$.x is nan"),
    (Named(x=math.inf), "$.x is inf"),
    (math.nan, "$ is nan"),
    ({"a": [{"b": (1, math.inf)}]}, "$.a[0].b[1] is inf"),
    ({"a": None, "b": 2**70, "c": math.nan}, "$.c is nan"),
    ([math.nan], "$[0] is nan"),
]


@pytest.mark.parametrize(("payload", "place"), NOT_FINITE)
def test_p24_json_has_no_nan_and_no_infinity(payload: object, place: str) -> None:
    """They were published as `null`, and dead-lettered by their own consumers."""
    with pytest.raises(EncodeError) as raised:
        JsonCodec().encode(payload)
    assert str(raised.value).startswith(f"payload: {place} and cannot be encoded as JSON")


def test_p24_infinity_as_a_key_comes_back_to_whoever_annotates_numbers() -> None:
    """Keys are text in JSON, those of numbers too."""
    body = JsonCodec().encode({math.inf: 1, 1.5: 2})
    assert msgspec.json.decode(body, type=dict[float, int]) == {math.inf: 1, 1.5: 2}


@pytest.mark.parametrize(
    "payload",
    [
        *(None, [None], {"a": None, "b": 2**70}, {"null": "null", "nan": 1, "inf": 2}, Reading("null", 1.0)),
        {"a": None, "b": "\xcb\x7f\xf0".encode("latin-1").hex(), "c": 0x7FF0_0000, "d": [0xCB, 0x7F, 0xF0]},
    ],
)
def test_what_only_looks_like_it_is_published(payload: object) -> None:
    assert msgspec.json.decode(JsonCodec().encode(payload)) == msgspec.to_builtins(payload)


@given(
    st.recursive(
        st.none() | st.floats() | st.text(max_size=4) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.floats(), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_p24_what_json_would_lose_is_refused_and_nothing_else(payload: object) -> None:
    def is_lost(value: object) -> bool:
        if isinstance(value, dict):
            return any(map(is_lost, value.values()))
        return (
            any(map(is_lost, value))
            if isinstance(value, list)
            else isinstance(value, float) and not math.isfinite(value)
        )

    if is_lost(payload):
        with pytest.raises(EncodeError):
            JsonCodec().encode(payload)
    else:
        JsonCodec().encode(payload)
    MsgpackCodec().encode(payload if not has_big(payload) else None)


def has_big(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(has_big, value.values()))
    return any(map(has_big, value)) if isinstance(value, list) else isinstance(value, int) and abs(value) >= 2**63


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec(), RawCodec()])
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_bytes_come_back_as_they_went_in(codec: JsonCodec, make: Callable[[bytes], Any]) -> None:
    sent = b"\x00hello\xff"
    fields = entries_of(Composer(codec, Settings()).command(Outgoing("s", make(sent), event_type="E")))
    assert wire_format.get(fields, b"content_type") == b"application/octet-stream"
    assert codec.decoder(bytes)(fields) == sent
    assert codec.decoder(bytearray)(fields) == bytearray(sent)
    assert codec.decoder(memoryview)(fields) == memoryview(sent)
    if not isinstance(codec, RawCodec):
        for either in (bytes | None, object, Any):
            assert codec.decoder(either)(fields) == sent  # type: ignore[arg-type]


def test_bytes_that_are_encoded_already_are_read_as_what_they_are() -> None:
    for codec, body in ((JsonCodec(), b'{"number":1}'), (MsgpackCodec(), msgspec.msgpack.encode({"number": 1}))):
        fields = entries_of(Composer(codec, Settings()).command(Outgoing("s", body, event_type="Order")))
        assert codec.decoder(Order)(fields) == Order(1)
    assert JsonCodec().decoder(dict)([b"payload", JsonCodec().encode({"a": b"x"})]) == {"a": "eA=="}, "as before"


def entries_of(command: tuple[str | bytes | float, ...]) -> wire_format.Fields:
    return [item if isinstance(item, bytes) else str(item).encode() for item in command[3:]]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"headers": {"a": 1}}, "headers['a']=1: expected text, got int"),
        ({"headers": {1: "x"}}, "headers: the name 1: expected text, got int"),
        ({"headers": {"a": b"x"}}, "headers['a']=b'x': expected text, got bytes"),
        ({"headers": {"a": None}}, "headers['a']=None: expected text, got NoneType"),
        ({"headers": None}, "headers=None: expected a mapping of text to text, got NoneType"),
        ({"headers": [("a", "b")]}, "headers=[('a', 'b')]: expected a mapping of text to text, got list"),
        ({"headers": {"a": "\ud800"}}, "headers['a']: '\\ud800' cannot be written as UTF-8"),
        ({"headers": {"\ud800": "a"}}, "the name of a header: 'h:\\ud800' cannot be written as UTF-8"),
        ({"key": 3}, "key=3: expected text, got int"),
        ({"key": b"x"}, "key=b'x': expected text, got bytes"),
        ({"key": "\ud800"}, "key: '\\ud800' cannot be written as UTF-8"),
        ({"event_id": 5}, "event_id=5: expected text, got int"),
        ({"event_id": True}, "event_id=True: expected text, got bool"),
        ({"event_type": 5}, "event_type=5: expected text that is not empty, e.g. 'OrderPlaced'"),
        ({"event_type": Order}, "event_type=<class 'tests.events.Order'>: expected text"),
        ({"event_type": "\ud800"}, "event_type: '\\ud800' cannot be written as UTF-8"),
        ({"stream": 5}, "stream: the name 5 is not text"),
        ({"stream": None}, "stream: the name None is not text"),
        ({"stream": ["orders"]}, "stream: the name ['orders'] is not text"),
        ({"stream": "orders-{env}"}, "stream: the name 'orders-{env}' is an unfilled template"),
    ],
)
def test_p24_what_stands_beside_a_payload_is_text(options: dict[str, Any], problem: str) -> None:
    told = {"stream": "orders", "event_type": "E", **options}
    composer = Composer(JsonCodec(), Settings())
    with pytest.raises(InvalidEventError) as raised:
        composer.pack(told.pop("stream"), {}, told.pop("event_type"), **told)
    assert str(raised.value).startswith(problem)


@pytest.mark.parametrize(
    ("options", "largest"),
    [
        ({"headers": {"trace": "x" * 2**20}}, "headers['trace'], 1048576 bytes"),
        ({"headers": {"x" * 2**20: ""}}, "the name of a header, 1048578 bytes"),
        ({"key": "é" * 2**19}, "key, 1048576 bytes"),
        ({"event_id": "x" * 2**20}, "event_id, 1048576 bytes"),
        ({"event_type": "x" * 2**20}, "event_type, 1048576 bytes"),
        ({"headers": {str(number): "x" * 1000 for number in range(1100)}}, "headers['0'], 1000 bytes"),
    ],
)
def test_p24_what_stands_beside_a_payload_has_a_limit(options: Mapping[str, Any], largest: str) -> None:
    told = {"event_type": "E", **options}
    composer = Composer(JsonCodec(), Settings())
    with pytest.raises(PayloadTooLargeError) as raised:
        composer.pack("orders", {}, told.pop("event_type"), **told)
    assert str(raised.value).startswith("event_type, key, event_id and headers: 1")
    assert str(raised.value).endswith(f"bytes together, the limit is 1048576; the largest is {largest}")
    composer.pack("orders", {}, "E", headers={"trace": "x" * 1_000_000})


def test_p24_forms_that_are_kept_are_bounded_and_those_that_are_not_are_the_same() -> None:
    composer = Composer(JsonCodec(), Settings())
    first = composer.pack("stream-0", {"n": 1}, "E")
    for number in range(3000):
        composer.pack(f"stream-{number}", {"n": 1}, "E")
        assert len(composer._forms) <= 1024
    assert composer.pack("stream-0", {"n": 1}, "E") == first


@pytest.mark.parametrize("payloads", ["ab", b"ab", bytearray(b"a"), {"n": 1}, 5, None, Order(1)])
async def test_p24_one_payload_is_not_many(payloads: Any) -> None:
    """A mapping had its keys published, a text its letters."""
    with pytest.raises(InvalidEventError, match=r"^payloads=.*: expected a list of payloads, or an iterator$"):
        await Composer(JsonCodec(), Settings()).pack_many("orders", payloads, "E", {})


def test_p24_a_codec_that_makes_no_bytes_is_told() -> None:
    class Wrong(JsonCodec):
        def encode(self, payload: object) -> bytes:
            return payload  # type: ignore[return-value]

    with pytest.raises(EncodeError, match=r"returned \{'n': 1\}, not bytes$"):
        Composer(Wrong(), Settings()).pack("orders", {"n": 1}, "E")
    assert Composer(Wrong(), Settings()).pack("orders", bytearray(b"x"), "E")


# -- flat fields ------------------------------------------------------------------------------------------------


class Change(msgspec.Struct):
    op: str
    after: dict[str, int] | None = None


class Flat(msgspec.Struct):
    change: Change
    needed: int | None
    tags: list[str] = []
    count: int = 3
    note: str | None = None
    either: dict[str, int] | str = "x"
    paid: bool = False


def flat(**fields: str) -> Flat:
    told = {"change": '{"op": "u"}', "needed": "1", **fields}
    return FieldsCodec().decoder(Flat)([item.encode() for pair in told.items() for item in pair])


def test_a_flat_field_holds_json_where_the_type_wants_an_object_or_a_list() -> None:
    assert flat(change='{"op": "u", "after": {"id": 1}}').change == Change("u", {"id": 1})
    assert flat(tags='["a"]').tags == ["a"]
    assert flat(either='{"a": 1}').either == '{"a": 1}', "where text would do, it is text"
    assert FieldsCodec().decoder(dict)([b"a", b'{"b": 1}']) == {"a": '{"b": 1}'}
    assert FieldsCodec().decoder(dict[str, list[int]])([b"a", b"[1]"]) == {"a": [1]}
    with pytest.raises(DecodeError, match="fields are not a Flat: field 'tags' is not valid JSON"):
        flat(tags="a, b")


def test_an_empty_flat_field_counts_as_left_out_where_the_type_has_no_text_for_it() -> None:
    assert flat(count="", tags="", note="", paid="") == Flat(Change("u"), 1, note="")
    assert flat(needed="").needed is None
    with pytest.raises(DecodeError, match="fields are not a Flat: Expected `object`, got `str`"):
        flat(change="")


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("No", False), ("t", True), ("off", False), ("1", True)])
def test_words_for_true_and_false_in_flat_fields(text: str, value: bool) -> None:  # what is read
    assert flat(paid=text).paid is value
    assert flat(note=text).note == text


# -- anything -----------------------------------------------------------------------------------------------------

scalars: st.SearchStrategy[Any] = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.binary(max_size=5), st.decimals()),
    *(st.dates(), st.datetimes(), st.timedeltas(), st.uuids(), st.complex_numbers(), st.sampled_from(Shop)),
    st.sampled_from([int, Order, tell, tell_later, Told(), Told, object(), JsonCodec, JsonCodec(), Settings(), ...]),
)
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(
            st.text(max_size=3) | st.integers() | st.floats(allow_nan=False) | st.none(), inner, max_size=3
        ),
        st.builds(lambda value: iter([value]), inner),
    ),
    max_leaves=6,
)
OF_BROKER = list(inspect.signature(Broker).parameters)


@given(st.sampled_from([*Settings.__struct_fields__]), anything)
def test_p24_anything_for_a_setting_is_taken_or_refused_by_name(name: str, value: object) -> None:
    try:
        kept = Settings(**{name: value})  # type: ignore[arg-type]
    except ConfigError as error:
        assert name.partition("_")[0] in str(error)  # noqa: PT017  # it may also be taken
    else:
        assert msgspec.convert(msgspec.to_builtins(kept), Settings) == kept, "it is what a file could say"


@given(st.dictionaries(st.sampled_from(OF_BROKER), anything, max_size=3))
def test_p24_anything_for_a_broker_is_taken_or_refused(options: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        Broker(**options)


@given(
    anything,
    anything,
    st.none() | st.just("E") | anything,
    st.fixed_dictionaries({}, optional=dict.fromkeys(("key", "event_id", "headers"), anything)),
)
def test_p24_anything_published_is_packed_or_refused(
    stream: Any, payload: object, event_type: Any, options: dict[str, Any]
) -> None:
    for codec in (JsonCodec(), MsgpackCodec(), RawCodec()):
        with contextlib.suppress(InvalidEventError):
            Composer(codec, Settings()).pack(stream, payload, event_type, **options)
        with contextlib.suppress(InvalidEventError):
            assert isinstance(Composer(codec, Settings()).pack("orders", payload, "E"), bytes)

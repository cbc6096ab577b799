"""Names, addresses, dead letters and settings: what they say, in exactly these words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from redis_streams_aio import ConfigError, Settings, StreamSettings, config
from redis_streams_aio.checks import names
from redis_streams_aio.connection.address import SCHEMES, parse
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.events import dead_letter, keys
from redis_streams_aio.handlers.fates import DeadLetter
from redis_streams_aio.models import History

# -- names ------------------------------------------------------------------------------------------------------


def test_our_keys_are_beside_the_stream() -> None:
    assert keys.dead_letters("orders", "g") == "{orders}:g:dead"
    assert keys.failures("orders", "g") == "{orders}:g:failures"
    assert keys.checkpoint("orders", "g") == "{orders}:g:checkpoint"
    assert keys.releases("orders", "g") == "{orders}:g:released"
    assert keys.leases("orders", "g") == "{orders}:g:leases"
    assert keys.deleted("orders", "g") == "{orders}:g:deleted"
    assert keys.done("orders", "g", b"e-1\xff") == b"{orders}:g:done:e-1\xff"
    assert keys.sibling("{eu}orders", "a", "b") == "{eu}orders:a:b"
    assert keys.on_one_slot("{a}b}", "{a}c}"), "the first brace that closes counts"
    assert not keys.on_one_slot("{}a}b", "{}a}c"), "empty braces are no hash tag, and none comes after them"
    assert keys.sibling("{}orders", "a") == "{{}orders}:a", "empty braces are no hash tag"


def test_which_names_are_fine() -> None:
    for fine in ("a", "x" * 512, "{orders}:eu", "prices-é"):
        assert names.problem(fine) is None
    assert names.problem("") == "is empty"
    assert names.problem(b"a") == "b'a' is not text"
    assert names.problem("x" * 513) == "has 513 characters, at most 512 are allowed"
    for bad in ("a b", "a\n", "\x00", "a\x7f"):
        assert names.problem(bad) == f"{bad!r} has white space or control characters"


def test_a_consumer_name_says_where_it_runs() -> None:
    host, pid, random = names.consumer_name().rsplit("-", 2)
    assert host
    assert pid.isdecimal()
    assert re.fullmatch(r"[0-9a-f]{8}", random)


# -- addresses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "scheme", "path", "shown"),
    [
        ("redis://h:6379/0", "redis", "/0", "redis://h:6379/0"),
        ("redis://h", "redis", "", "redis://h"),
        ("redis://h/", "redis", "/", "redis://h/"),
        ("redis://h/0?a=1&b=2", "redis", "/0", "redis://h/0?***"),
        ("rediss://u:p@h/1?ssl_ca_certs=x", "rediss", "/1", "rediss://***@h/1?***"),
        ("redis://u:p@ss@h/1", "redis", "/1", "redis://***@h/1"),
        ("unix:///run/redis.sock?db=1", "unix", "/run/redis.sock", "unix:///run/redis.sock?***"),
        ("embedded:///data/", "embedded", "/data", "embedded:///data/"),
        ("embedded:///dataX", "embedded", "/dataX", "embedded:///dataX"),
        ("embedded://", "embedded", "", "embedded://"),
        ("memory://", "memory", "", "memory://"),
        ("memory://shared/one", "memory", "shared/one", "memory://shared/one"),
    ],
)
def test_addresses(url: str, scheme: str, path: str, shown: str) -> None:
    address = parse(url)
    assert (address.scheme, address.path, address.shown, address.url) == (scheme, path, shown, url)
    assert repr(address) == f"<Address {shown}>"


CUT = "cannot be read; write /, ? and # in a password as %2F, %3F and %23, e.g. by urllib.parse.quote"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h", f"unknown scheme http://; expected one of {', '.join(f'{known}://' for known in SCHEMES)}"),
        ("localhost:6379", "unknown scheme none; expected one of redis://, "),
        ("redis", "unknown scheme none; "),
        ("redis://h/orders", "the database after the last slash is a number, not 'orders'"),
        ("redis://h/X", "the database after the last slash is a number, not 'X'"),
        ("rediss://h/0/1", "the database after the last slash is a number, not '0/1'"),
        (
            "redis://h:port/0",
            "the port in 'h:port' is not one; expected e.g. redis://localhost:6379/0, or one of redis",
        ),
        ("redis://a:1,b:2/0", "has several hosts, 'a:1,b:2'; write redis+cluster://a:1,b:2 for the nodes"),
        ("redis+sentinel://a:1,b:2/0", "redis+sentinel://a:1,b:2/0: has no name of a primary; write "),
        ("redis://[h/0", "cannot be read; expected e.g. redis://localhost:6379/0, or one of redis://"),
        ("redis://${HOST}:6379/0", "is an unfilled template: replace '${HOST}' with a value"),
        (None, "expected text, e.g. redis://localhost:6379/0, not None"),
        (5, "expected text, e.g. redis://localhost:6379/0, not 5"),
        (b"redis://u:SECRET@h", "expected text, e.g. redis://localhost:6379/0, not a bytes"),
        ("redis://pa#ss@h/0", CUT),
        ("redis://pa/ss@h/0", CUT),
        ("redis://pa?ss@h/0", CUT),
        ("redis://h/0?a=1&b", CUT),
        ("embedded://data/x", "embedded:// takes an absolute path: write embedded:///data/x, 3 slashes"),
    ],
)
def test_p24_addresses_that_cannot_work_are_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(url)
    assert str(raised.value).startswith(f"redis_url: {problem}")


@given(
    st.sampled_from(["redis", "rediss", "http"]), st.text("abc/@:%?#", max_size=8), st.sampled_from(["h", "h:1", ""])
)
def test_no_error_and_no_log_line_has_the_password(scheme: str, noise: str, host: str) -> None:
    try:
        told = repr(parse(f"{scheme}://user:{noise}SECRET{noise}@{host}/0"))
    except ConfigError as error:
        told = str(error)
    assert "SECRET" not in told


# -- dead letters -----------------------------------------------------------------------------------------------

FATE = DeadLetter("failures", "ValueError: no", 5, "the trace")


def written(entry: Entry, fate: DeadLetter = FATE) -> list[bytes]:
    composed = dead_letter.compose(entry, fate, entry.stream, "g", "c")
    return [item if isinstance(item, bytes) else str(item).encode() for item in composed]


def failed() -> Entry:
    entry = Entry("orders", b"5-1", [b"event_type", b"T", b"key", b"k", b"event_id", b"e", b"h:a", b"1"], 7)
    entry.first_failure = 1_700_000_000.25
    return entry


def test_p12_a_dead_letter_says_all_that_is_known() -> None:
    letter = dead_letter.parse("9-0", written(failed()))
    assert (letter.id, letter.reason, letter.error, letter.traceback) == (
        "9-0",
        "failures",
        "ValueError: no",
        "the trace",
    )
    assert (letter.failures, letter.deliveries, letter.replays) == (5, 7, 0)
    assert letter.first_failure == datetime.fromtimestamp(1_700_000_000.25, UTC)
    assert (letter.stream, letter.group, letter.consumer, letter.entry_id) == ("orders", "g", "c", "5-1")
    assert (letter.event_type, letter.key, letter.event_id, letter.headers) == ("T", "k", "e", {"a": "1"})
    assert dead_letter.history_of(letter) == History("5-1", 5, 1_700_000_000.25, "failures", "ValueError: no", 1)


def test_p9_an_event_that_was_replayed_keeps_its_id_and_its_first_failure() -> None:
    entry = failed()
    entry.history = History("1-1", 3, 1_600_000_000.0, "gave_up", "before", 2)
    letter = dead_letter.parse("9-0", written(entry))
    assert (letter.entry_id, letter.failures, letter.replays) == ("1-1", 8, 2)
    assert letter.first_failure == datetime.fromtimestamp(1_600_000_000, UTC)
    entry.history = History("1-1", 0, 0.0, "rejected", "before", 1)
    letter = dead_letter.parse("9-0", written(entry))
    assert letter.first_failure == datetime.fromtimestamp(1_700_000_000.25, UTC), "it never failed before"
    assert dead_letter.history_of(letter).replays == 2


def test_a_dead_letter_that_dies_again_is_a_dead_letter_of_a_dead_letter() -> None:
    once = written(failed())
    again = dead_letter.parse("9-0", written(Entry("graves", b"6-0", once)))
    assert again.fields == tuple(once)
    assert (again.stream, again.entry_id, again.first_failure) == ("graves", "6-0", None)


def test_p12_an_event_of_thousands_of_fields_has_a_dead_letter() -> None:
    fields = [b"%d" % number for number in range(6_002)]
    composed = written(Entry("s", b"1-0", fields))
    assert (composed[0], composed[2]) == (b"dead:fields", b"dead:reason")
    assert dead_letter.parse("9-0", composed).fields == tuple(fields)


def test_p13_names_and_values_are_not_taken_for_one_another() -> None:
    letter = dead_letter.parse("9-0", [b"dead:reason", b"rejected", b"dead:error", b"dead:reason", b"\xff", b"x"])
    assert (letter.reason, letter.error, letter.fields) == ("rejected", "dead:reason", ())
    assert dead_letter.parse("9-0", [b"dead:reason", b"rejected"]).reason == "rejected"
    first = dead_letter.parse("9-0", [b"dead:reason", b"r", b"dead:first_failure", b"0.5"]).first_failure
    assert first == datetime.fromtimestamp(0.5, UTC)


def test_p13_what_others_wrote_among_the_dead_letters_is_read_as_far_as_it_goes() -> None:
    bare = dead_letter.parse("9-0", [b"order", b"1"])
    assert (bare.reason, bare.error, bare.traceback, bare.stream, bare.group) == ("", "", "", "", "")
    assert (bare.consumer, bare.entry_id, bare.failures, bare.deliveries, bare.replays) == ("", "", 0, 0, 0)
    assert (bare.first_failure, bare.fields) == (None, (b"order", b"1"))
    assert dead_letter.history_of(bare).first_failure == 0


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (b"7", 7),
        (b"7.9", 7),
        (b"-1", 0),
        (b"many", 0),
        (b"nan", 0),
        (b"inf", 0),
        (b"9007199254740991", 2**53 - 1),
        (b"9007199254740992", 0),
    ],
)
def test_numbers_that_cannot_be_are_none(said: bytes, number: int) -> None:
    fields = [b"a", b"b", b"dead:reason", b"\xff", b"dead:failures", said, b"dead:first_failure", said, b"odd"]
    letter = dead_letter.parse("9-0", fields)
    assert (letter.failures, letter.reason) == (number, "\ufffd")
    assert letter.first_failure is None or letter.first_failure.timestamp() == pytest.approx(number, abs=1)


# -- settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(Settings.__struct_fields__))
def test_every_setting_can_come_from_the_environment(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("redis_streams: {group: of-file, streams: {orders: {alert_length: 5}}}")
    value = {
        "streams": '{"orders": {"alert_length": 7}}',
        "redis_url": "memory://",
        "lease_thread": "true",
        "checkpoints": "memory",
    }.get(name, "1500")
    environment = {f"REDIS_STREAMS_{name.upper()}": value, f"{name.upper()}": "none of ours"}
    settings = config.load(path, environment)
    wanted = yaml.safe_load(value) if name not in ("group", "consumer", "redis_url", "checkpoints") else value
    if name == "lag_low":
        assert settings.lag_low == 1500
    elif name == "streams":
        assert settings.streams == {"orders": StreamSettings(alert_length=7)}
    else:
        assert getattr(settings, name) == wanted
    assert settings.stream("orders").alert_length == (7 if name == "streams" else 5)
    assert settings.group == ("1500" if name == "group" else "of-file")


def test_the_environment_of_the_process_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("redis_streams:\n", encoding="utf-8")
    monkeypatch.setenv("REDIS_STREAMS_COUNT", "7")
    assert config.load(path).count == 7
    assert config.load(str(path), {}).count == 200


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("BLOCK_MS", "2s", "environment variable REDIS_STREAMS_BLOCK_MS: Expected `int`, got `str` (in milliseconds"),
        ("GRACE", "x", "environment variable REDIS_STREAMS_GRACE: Expected `float`, got `str` (in seconds, a number)"),
        ("COUNT", "0", "environment variable REDIS_STREAMS_COUNT: Expected `int` >= 1"),
        ("LAG_LOW", "10000", "environment: lag_low (10000) must be below lag_high (10000)"),
    ],
)  # fmt: skip
def test_a_wrong_variable_is_told_with_its_unit(tmp_path: Path, variable: str, value: str, problem: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("redis_streams: {}", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        config.load(path, {f"REDIS_STREAMS_{variable}": value})
    assert str(raised.value).startswith(problem)


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("block_ms", " (in milliseconds, a whole number)"),
        ("command_timeout", " (in seconds, a number)"),
        ("reclaim_interval", " (in seconds, a number)"),
        ("consumer_expiry", " (in seconds, a number)"),
        ("dead_letter_retention", " (in seconds, a number)"),
        ("grace", " (in seconds, a number)"),
        ("count", ""),
    ],
)
def test_the_unit_of_a_wrong_value_is_said(tmp_path: Path, key: str, unit: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"redis_streams: {{{key}: x}}", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        config.load(path, {})
    assert str(raised.value).endswith(f"got `str` - at $.redis_streams.{key}{unit}")


def test_settings_given_in_code_are_checked_too() -> None:
    for wrong, problem in (
        ({"count": 0}, "Settings(count=0): Expected `int` >= 1"),
        ({"group": "a b"}, "group: the name 'a b' has white space or control characters"),
        ({"consumer": "a b"}, "consumer: the name 'a b' has white space or control characters"),
        ({"streams": {"a b": StreamSettings()}}, "streams: the name 'a b' has white space or control characters"),
        ({"lag_low": 7, "lag_high": 7}, "lag_low (7) must be below lag_high (7)"),
    ):
        with pytest.raises(ConfigError) as raised:
            Settings(**wrong)  # type: ignore[arg-type]
        assert str(raised.value) == problem
    with pytest.raises(ConfigError) as raised:
        Settings(redis_url=["x" * 200])  # type: ignore[arg-type]
    assert str(raised.value) == "Settings(redis_url=...): Expected `str | null`, got `array`", "it may have a password"
    with pytest.raises(ConfigError) as raised:
        Settings(count=["x" * 200])  # type: ignore[arg-type]
    assert len(str(raised.value)) < 200, "a long value is cut"


def test_settings_are_shown_whole_but_for_where_redis_is() -> None:
    shown = repr(Settings(redis_url="redis://user:SECRET@h/0", group="billing"))
    assert shown.startswith(
        "Settings(redis_url='redis://***', group='billing', consumer=None, streams={}, block_ms=2000"
    )
    assert "redis_url=None" in repr(Settings())
    assert [name for name, _ in Settings().__rich_repr__()] == list(Settings.__struct_fields__)
    assert parse("redis://user:SECRET@h/0").__rich_repr__() == [("url", "redis://***@h/0")]


def test_a_variable_that_is_no_setting_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("redis_streams:\n", encoding="utf-8")
    config.load(path, {"REDIS_STREAMS_ZZZ": "1", "REDIS_STREAMS_Q\udcff": "1"})
    assert [record.getMessage() for record in caplog.records] == [
        "environment variable REDIS_STREAMS_ZZZ is not a setting and is ignored",
        "environment variable REDIS_STREAMS_Q\\udcff is not a setting and is ignored",
    ]


def test_a_name_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^'a\\x00b': cannot be read: embedded null byte$"):
        config.load("a\0b", {})


def test_a_near_miss_is_suggested_and_a_far_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for key, suggestion in (("url", " (did you mean redis_url?)"), ("xyz", "")):
        path.write_text(f"redis_streams: {{{key}: x}}", encoding="utf-8")
        with pytest.raises(ConfigError) as raised:
            config.load(path, {})
        assert str(raised.value) == f"{path}: unknown key - at $.redis_streams.{key}{suggestion}"


def test_where_a_file_is_no_yaml_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    for text, place in (("a: 1\nb: [1\n", ": see line 2, column 4"), ("a: 1\n b: 2\n", ": see line 2, column 3")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as raised:
            config.load(path, {})
        assert str(raised.value) == f"{path}: is not valid YAML{place}"
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match=r"is not valid YAML$"):
        config.load(path, {})


def test_the_stream_whose_options_are_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("redis_streams: {streams: {fine: {alert_length: 1}, wrong: {alert_length: 0}}}", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        config.load(path, {})
    assert str(raised.value) == f"{path}: Expected `int` >= 1 - at $.redis_streams.streams.wrong.alert_length"

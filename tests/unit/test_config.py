"""`config.yaml` and the environment: strict, with the path, the unit and the near miss (issue 2, bad input)."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from redis_streams_aio import Broker, ConfigError, Retention, Settings, StreamSettings, config
from redis_streams_aio.exceptions import RedisStreamsError


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write


def test_everything_is_optional(write) -> None:
    assert config.load(write("redis_streams:\n"), {}) == Settings()


def test_a_file_and_the_environment_on_top(write) -> None:
    path = write(
        """
        redis_streams:
          redis_url: redis://file:6379/0
          group: billing
          block_ms: 500
          count: 10
          grace: 5
          streams:
            orders: {retention: {max_length: 1000}, alert_length: 900}
            clicks: {}
        other_section: {anything: goes}
        """
    )
    environment = {"REDIS_STREAMS_REDIS_URL": "redis://env:6379/1", "REDIS_STREAMS_COUNT": "20", "HOME": "/x"}
    settings = config.load(path, environment)
    assert settings == Settings(
        redis_url="redis://env:6379/1",
        group="billing",
        block_ms=500,
        count=20,
        grace=5.0,
        streams={
            "orders": StreamSettings(retention=Retention(max_length=1000), alert_length=900),
            "clicks": StreamSettings(),
        },
    )
    assert settings.stream("orders").retention == Retention(max_length=1000)
    assert settings.stream("unheard-of").retention is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis_streams: {block: 5}", r"unknown key - at \$.redis_streams.block \(did you mean block_ms\?\)"),
        ("redis_streams: {zzz: 5}", r"unknown key - at \$.redis_streams.zzz$"),
        (
            "redis_streams: {block_ms: 2s}",
            r"Expected `int`, got `str` - at \$.redis_streams.block_ms \(in milliseconds",
        ),
        ("redis_streams: {block_ms: 1.5}", r"Expected `int`, got `float` - at \$.redis_streams.block_ms"),
        ("redis_streams: {block_ms: 2}", r"Expected `int` >= 10 - at \$.redis_streams.block_ms \(in milliseconds"),
        ("redis_streams: {grace: 30s}", r"Expected `float`, got `str` - at \$.redis_streams.grace \(in seconds"),
        ("redis_streams: {lag_interval: -1}", r"Expected `float` > 0.0 - at \$.redis_streams.lag_interval \(in sec"),
        ("redis_streams: {count: 0}", r"Expected `int` >= 1 - at \$.redis_streams.count"),
        ("redis_streams: {checkpoints: disk}", r"Invalid enum value 'disk' - at \$.redis_streams.checkpoints"),
        (
            "redis_streams: {streams: {orders: {alert_length: many}}}",
            r"at \$.redis_streams.streams.orders.alert_length",
        ),
        (
            "redis_streams: {streams: {orders: {alert_lenght: 1}}}",
            r"orders.alert_lenght \(did you mean alert_length\?\)",
        ),
        (
            "redis_streams: {streams: {orders: {retention: {max_lenght: 1}}}}",
            r"streams.orders.retention.max_lenght \(did you mean max_length\?\)",
        ),
        (
            "redis_streams: {streams: {orders: {retention: {max_age: 7d}}}}",
            r"at \$.redis_streams.streams.orders.retention.max_age \(in seconds, a number\)",
        ),
        ("redis_streams: {streams: {orders: {retention: {}}}}", "set max_length, max_age or acknowledged"),
        ("redis_streams: {lag_high: 5, lag_low: 6}", r"lag_low \(6\) must be below lag_high \(5\)"),
        ("redis_streams: {group: 'two words'}", "white space"),
        ("redis_streams: [1]", r"expected a mapping, got list - at \$.redis_streams"),
        ("redis_streams: {1: 2}", "Expected `str`"),
        ("redis_streams: {'streams[...]': 1, streams: [1]}", r"unknown key - at \$.redis_streams.streams\[...\]"),
        ("something: else", "has no section 'redis_streams'"),
        ("", "has no section"),
        ("a: [", "is not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(write, text: str, expected: str) -> None:
    path = write(text)
    with pytest.raises(ConfigError, match=expected) as caught:
        Broker.from_config(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, RedisStreamsError)


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("redis_streams:\n  group: a\n  group: b\n", "group", "2 and 3"),
        ("redis_streams:\n  group: a\n  'group': a\n", "group", "2 and 3"),
        ("redis_streams: {group: a, group: b}\n", "group", "1 and 1"),
        ("redis_streams:\n  streams: {a: {}}\n  count: 5\n  streams: {b: {}}\n", "streams", "2 and 4"),
        ("redis_streams:\n  streams:\n    a: {replicas: 1,\n        replicas: 2}\n", "replicas", "3 and 4"),
        ("redis_streams:\n  streams:\n    a: {}\n    b: {}\n    a: {}\n", "a", "3 and 5"),
        ("redis_streams: {}\nredis_streams: {group: a}\n", "redis_streams", "1 and 2"),
        ("x: &x {count: 5}\nredis_streams:\n  count: 6\n  <<: *x\n  count: 7\n", "count", "3 and 5"),
        ("x: &x {count: 5,\n count: 6}\nredis_streams: {<<: *x}\n", "count", "1 and 2"),
    ],
)
def test_a_key_that_is_given_twice_is_named_with_its_lines(write, text: str, key: str, lines: str) -> None:
    """Otherwise the first value would be dropped, although every unknown key is refused."""
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path, {})
    assert str(caught.value) == f"{path}: the key '{key}' is given twice: see lines {lines}; remove one of them"


def test_own_keys_may_override_merged_ones_as_often_as_a_mapping_is_merged(write) -> None:
    path = write(
        """
        x: &x {count: 5, grace: 1}
        y: &y {<<: *x, count: 6}
        redis_streams: {count: 7, <<: [*y, *x], streams: {a: {replicas: 1}, b: {replicas: 1}}}
        again: {<<: *y, count: 8}
        """
    )
    settings = config.load(path, {})
    assert (settings.count, settings.grace, len(settings.streams)) == (7, 1.0, 2)


def test_a_wrong_environment_variable_is_named(write) -> None:
    path = write("redis_streams:\n")
    with pytest.raises(ConfigError, match="environment variable REDIS_STREAMS_BLOCK_MS: .*milliseconds"):
        config.load(path, {"REDIS_STREAMS_BLOCK_MS": "2s"})
    with pytest.raises(ConfigError, match="lag_low"):
        config.load(path, {"REDIS_STREAMS_LAG_LOW": "999999"})


def test_an_unknown_environment_variable_is_warned_of(write, caplog: pytest.LogCaptureFixture) -> None:
    """No error: an orchestrator may set such names too."""
    with caplog.at_level(logging.WARNING):
        settings = config.load(
            write("redis_streams:\n"), {"REDIS_STREAMS_SERVICE_HOST": "x", "REDIS_STREAMS_BLOK_MS": "1"}
        )
    assert settings == Settings()
    assert "REDIS_STREAMS_SERVICE_HOST is not a setting" in caplog.text
    assert "did you mean block_ms?" in caplog.text


def test_streams_come_from_the_environment_as_json(write) -> None:
    """They replace those of the file, as each variable replaces its key."""
    path = write("redis_streams: {streams: {clicks: {alert_length: 5}}}")
    kept = '{"orders": {"retention": {"max_age": 3600, "acknowledged": true}}}'
    settings = config.load(path, {"REDIS_STREAMS_STREAMS": kept})
    assert settings.streams == {"orders": StreamSettings(retention=Retention(max_age=3600, acknowledged=True))}
    for wrong in (
        "orders",
        '{"orders": {"retention": {}}}',
        '{"orders": 5}',
        '{"orders": {"retention": {"max_age": 0}}}',
    ):
        with pytest.raises(ConfigError, match="environment variable REDIS_STREAMS_STREAMS: "):
            config.load(path, {"REDIS_STREAMS_STREAMS": wrong})


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Broker.from_config(tmp_path / "nothing.yaml")


def test_from_config_makes_a_broker(write) -> None:
    broker = Broker.from_config(write("redis_streams: {redis_url: 'redis://u:secret@h/0', group: g}"))
    assert broker.settings.group == "g"
    assert "secret" not in repr(broker)

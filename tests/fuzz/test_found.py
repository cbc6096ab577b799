"""What the targets found, one test for each, so that it stays away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from redis_streams_aio import ConfigError, Connection, ServerError, config
from redis_streams_aio.checks import names
from redis_streams_aio.cli import show
from redis_streams_aio.cli.commands import pending
from redis_streams_aio.config import yaml_files
from redis_streams_aio.connection import address, reader, replies
from redis_streams_aio.connection.replies import RawEntry, Reply, Server
from redis_streams_aio.connection.steps import checkpoints, claims, describing, leases, records
from redis_streams_aio.connection.steps.consumer import Consumer
from redis_streams_aio.connection.steps.dead_letters import DeadLetterOptions
from redis_streams_aio.connection.topology import OneNode
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.intake.records import take_pending
from redis_streams_aio.consumer.settle.plans import Write
from redis_streams_aio.consumer.settle.settlement import Settlement
from redis_streams_aio.consumer.settle.writer import Refused
from redis_streams_aio.events import entry_ids, replays, wire_format
from redis_streams_aio.handlers.fates import Retry
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.models import PendingMessage
from redis_streams_aio.telemetry import SILENT


def test_p12_a_field_that_only_looks_packed_stays_untouched() -> None:
    """A field of that name, with a list in it, made an event with half a field, which could not be replayed."""
    for value in (["a"], ["a", "b"], ["a"] * 6001, ["a"] * 7000):
        fields = [b"dead:fields", msgspec.msgpack.encode(value)]
        assert wire_format.unpacked(wire_format.packed(fields, b"dead:fields"), b"dead:fields") == fields
    long = [b"name", b"value"] * 4000
    assert wire_format.unpacked(wire_format.packed(long, b"dead:fields"), b"dead:fields") == long


def test_p13_a_replay_history_nested_too_deep_is_none() -> None:
    """It raised RecursionError where entries are taken in, which ended the broker."""
    deep = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert replays.decode(deep) is None
    assert replays.unwrap([replays.FOR_GROUP, b"g", replays.HISTORY, deep, b"a", b"b"]) is None


NASTY_YAML = (
    *("a: 2001-99-99", "a: !!bool x", "a: !!timestamp x", "a: !!int ''", "a: 0b_", "a: " + "1" * 5000),
    *("a: " + ":".join(["1"] * 300) + ".5", 'redis_streams: {"\\ud800": 1}', 'redis_streams: {group: "\\ud800"}'),
)


@pytest.mark.parametrize("text", NASTY_YAML)
def test_yaml_that_pyyaml_stumbles_over_is_a_config_error(tmp_path: Path, text: str) -> None:
    """KeyError, AttributeError, IndexError, OverflowError, UnicodeEncodeError came out as they were."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="is not valid YAML"):
        config.load(path, {})


def test_merge_keys_that_multiply_come_to_an_end(tmp_path: Path) -> None:
    """Each line was nine times as much as the one before it: a file of 500 bytes took all memory.

    From 6.0.4 on PyYAML merges less, and the file was read: what a file means must not depend on that.
    """
    lines = [f"a{index}: &a{index} {{<<: [{','.join([f'*a{index - 1}'] * 9)}]}}" for index in range(1, 12)]
    path = tmp_path / "config.yaml"
    path.write_text("\n".join(["a0: &a0 {x: 1}", *lines, "redis_streams:"]))
    with pytest.raises(ConfigError, match="is not valid YAML"):
        config.load(path, {})
    path.write_text("redis_streams: {<<: {count: 5}, block_ms: 50}")
    assert (config.load(path, {}).count, config.load(path, {}).block_ms) == (5, 50)


def test_merge_keys_that_add_up_come_to_an_end() -> None:
    """No mapping was large, but each had all keys of the one before it: 200 kB were read for 47 s."""
    lines = [f"a{index}: &a{index} {{<<: *a{index - 1}, k{index}: 1}}" for index in range(1, 5_000)]
    with pytest.raises(ValueError, match="merge keys come to more than 100000 keys"):
        yaml_files.parse("\n".join(["a0: &a0 {x: 1}", *lines]).encode())


@pytest.mark.parametrize(
    ("merging", "count"),
    [
        ("{<<: [*first, *second]}", 1),
        ("{<<: [*second, *first]}", 2),
        ("{<<: *first, <<: *second}", 2),
        ("{count: 3, <<: [*first, *second]}", 3),
        ("{<<: [*first, *second], count: 3}", 3),
        ("{<<: [{<<: *second}, *first]}", 2),
        ("{<<: {<<: *second, count: 3}}", 3),
    ],
)
def test_of_merged_mappings_the_first_of_a_list_wins_with_every_pyyaml(merging: str, count: int) -> None:
    """PyYAML 6.0.4 has the last one win, so that a deployment had other settings after an upgrade."""
    document = f"first: &first {{count: 1, a: 1}}\nsecond: &second {{count: 2, b: 1}}\nmerged: {merging}\n"
    merged = yaml_files.parse(document.encode())["merged"]  # type: ignore[index]
    assert merged["count"] == count


@pytest.mark.parametrize("merging", ["&a {<<: *a}", "{<<: 1}", "{<<: [{a: 1}, 1]}", "&a {b: &b {<<: *a}, <<: *b}"])
def test_what_cannot_be_merged_is_refused(merging: str) -> None:
    """A mapping that merges itself got nothing, or only some of its keys, without a word."""
    with pytest.raises(ValueError, match="only mappings can be merged|recursion"):
        yaml_files.parse(f"redis_streams: {merging}".encode())


def test_a_path_that_no_file_can_have_is_a_config_error() -> None:
    for path in ("\0", "\ud800"):
        with pytest.raises(ConfigError, match="cannot be read"):
            config.load(path, {})


def test_an_environment_variable_that_is_no_utf_8_is_a_config_error(tmp_path: Path) -> None:
    """It raised UnicodeEncodeError, or was taken for a name that Redis can then not be told."""
    path = tmp_path / "config.yaml"
    path.write_text("redis_streams:")
    for name in ("GROUP", "GRACE", "REDIS_URL"):
        with pytest.raises(ConfigError, match=f"environment variable REDIS_STREAMS_{name}: "):
            config.load(path, {f"REDIS_STREAMS_{name}": "\udcff"})


def test_names_and_ids_are_what_redis_takes() -> None:
    """Halves of surrogate pairs were a name, and numbers that Redis refuses were an id, also as a stored checkpoint."""
    assert names.problem("a\udcff") == "'a\\udcff' cannot be written as UTF-8"
    largest = str(2**64 - 1)
    assert [entry_ids.is_id(text) for text in ("0", f"{largest}-{largest}")] == [True, True]
    for text in (str(2**64), f"1-{2**64}", "9" * 20, "\u0663-\u0663", "\u0663"):
        assert not entry_ids.is_id(text)
        with pytest.raises(ConfigError, match="expected"):
            entry_ids.start_position(text)


@pytest.mark.parametrize("query", ["foo=bar", "db=x", "health_check_interval=x", "max_connections=x", "protocol=x"])
async def test_options_in_a_url_that_make_no_connection_are_a_config_error(query: str) -> None:
    """They came out of redis-py as TypeError and ValueError, some only where the broker's tasks connect."""
    with pytest.raises(ConfigError, match=r"redis_url: redis://\*\*\*@127.0.0.1:1/0\?\*\*\*: "):
        await Connection(f"redis://u:secret@127.0.0.1:1/0?{query}", connect_timeout=0.1).open()


def test_a_password_with_a_slash_in_it_is_shown_nowhere() -> None:
    with pytest.raises(ConfigError, match="redis_url: ") as caught:
        address.parse("redis://:12/secret@host/0")
    assert "secret" not in str(caught.value)
    assert "secret" not in address.parse("unix://:12/secret@host/0").shown


class _Answering(Connection):
    """Answers everything with one reply."""

    reply: object = None

    async def run(self, *_: object, **__: object) -> object:
        return self.reply

    call = run

    async def send(self, _: bytes, expected: int) -> list[object]:
        return [self.reply] * expected

    def link(self, *_: object) -> _Answering:  # type: ignore[override]
        return self


@pytest.mark.parametrize(
    "record", [b"-5 0 0 0 x", b"7 x y z u", b"1 1 %d 5 far" % 10**17, b"1 1 9 99999999999 far", b"\xff"]
)
async def test_p11_a_failure_record_that_is_not_ours_is_a_new_start(record: bytes) -> None:
    """Half of it was taken over; fewer than no failures were tried for long; due in 3000 years was waited for."""
    connection = _Answering("redis://nowhere")
    connection.reply = [b"1700000000000", [2, record, None]]
    holdings = Holdings(Shared(connection, SILENT), SubscriptionOptions(stream="s", group="g", lease=1), "c")
    [entry] = await take_pending(holdings, [RawEntry(b"1-0", [b"a", b"b"])], counts=True)
    assert (entry.failures, entry.first_failure, entry.until, entry.deliveries) == (0, 0.0, 0.0, 2)


def test_the_command_pending_shows_entries_whose_failure_record_is_garbage() -> None:
    """It ended with a traceback."""
    message = PendingMessage("1-0", "c", 1.0, 2)
    nothing = pending.Known(0.0, {}, {})
    for garbage in (b"", b"1 2 3", b"x y z u error", b"1 %d 1 1 e" % 10**17, None):
        assert pending._row(message, *records.records_read(1, [garbage]), nothing).cells()[5:] == ("0", "-", "-")
    assert pending._row(message, *records.records_read(1, [b"1 0 0 0 \xff"]), nothing).cells()[7] == "\ufffd"


def test_the_last_day_of_the_calendar_is_shown_east_of_greenwich(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead letter may say that it failed first on 9999-12-31: the command line ended with a traceback."""
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert show.local_time(datetime.fromtimestamp(253402300799, UTC)) == "9999-12-31 23:59:59.000"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("parse", "reply"),
    [
        (replies.new_entries, b"OK"),
        (replies.new_entries, [[b"orders", [[b"1-0"]]]]),
        (replies.new_entries, [[b"orders", [[b"1-0", [b"a", 5]]]]]),
        (replies.new_entries, [[b"orders", [b"ab"]]]),
        (replies.entries, [[b"no id", []]]),
        (leases.renewed, [[[b"1-0"]], []]),
        (claims.claimed, [[]]),
        (checkpoints.checkpoint_read, None),
        (replies.clock, [b"soon", b"0"]),
        (describing.group_infos, [[b"name"]]),
        (describing.stream_info, [b"length", 1]),
        (replies.integer, b"9" * 400),
        (replies.integer, None),
        (replies.server, [b"server", b"redis"]),
    ],
)
def test_p16_what_is_no_reply_of_redis_is_a_server_error(parse: Callable[..., object], reply: Reply) -> None:
    """KeyError, TypeError and the like were taken for a bug of ours, and ended the broker."""
    given = ("orders", reply) if parse is describing.stream_info else (reply,)
    with pytest.raises(ServerError, match="Redis answered what cannot be read as "):
        parse(*given)


class _NothingAtOnce:
    """A connection to a server that answers a blocking read with nothing, and does not wait."""

    credential_provider = None
    reads = 0

    async def send_packed_command(self, *_: object, **__: object) -> None: ...

    async def read_response(self, **_: object) -> None:
        self.reads += 1


async def test_p16_a_server_that_does_not_wait_is_not_asked_without_a_pause() -> None:
    """A proxy that does not know of blocking reads kept a processor busy, and itself."""
    asked = _NothingAtOnce()

    async def dial() -> Any:
        return asked, Server("valkey", "9.1.2", 1)

    reading = reader.Reader(OneNode(dial, "nowhere"), "orders", dial, timeout=1.0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            while True:
                assert await reading.read(Consumer("s", "g", "c"), count=1, block=1.0) == []
    assert 1 < asked.reads < 50


async def test_p16_an_answer_to_a_retry_that_cannot_be_read_leaves_the_entry_pending() -> None:
    """Taken for a failure of the handler, it was decided on anew, and written again, without end."""
    connection = _Answering("redis://nowhere")
    connection.reply = b"soon"
    holdings = Holdings(Shared(connection, SILENT), SubscriptionOptions(stream="s", group="g", lease=1), "c")
    [entry] = holdings.take([RawEntry(b"1-0", [b"a", b"b"])])
    writer, writes = Settlement(holdings, DeadLetterOptions("dead")).writer, [Write(entry, Retry(1.0, 1, "why"))]
    results = await writer.send(writes)
    assert isinstance(results[0], Refused)
    writer.apply(writes, results)
    assert entry.lost
    assert len(holdings) == 0

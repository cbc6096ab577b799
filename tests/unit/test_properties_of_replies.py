"""Replies and errors of Redis, as its versions send them, become our records and our errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions as redis_errors

from redis_streams_aio import (
    AuthenticationFailedError,
    ConsumerInfo,
    GroupExistsError,
    GroupInfo,
    GroupNotFoundError,
    PendingMessage,
    PermissionDeniedError,
    RedisRefusedError,
    RedisUnavailableError,
    ServerError,
    StreamInfo,
    StreamNotFoundError,
    StreamTypeError,
    UnansweredError,
    UnsupportedServerError,
    WrongNodeError,
)
from redis_streams_aio.connection import errors, replies
from redis_streams_aio.connection.packing import pack
from redis_streams_aio.connection.replies import RawEntry
from redis_streams_aio.connection.steps import describing, pending
from redis_streams_aio.connection.steps.leases import leases
from redis_streams_aio.exceptions import ScriptMissingError

# -- replies ----------------------------------------------------------------------------------------------------

pairs = st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=5)), max_size=3).map(
    lambda found: [item for pair in found for item in pair]
)


@given(st.lists(st.tuples(st.integers(0, 99).map(b"%d-0".__mod__), st.none() | pairs), max_size=4))
def test_entries_are_read_with_those_that_are_gone(found: list[tuple[bytes, list[bytes] | None]]) -> None:
    reply = [list(entry) for entry in found]
    assert replies.entries(reply) == [RawEntry(*entry) for entry in found]
    assert replies.entries(None) == []


@given(st.lists(st.tuples(st.integers(0, 99).map(b"%d-0".__mod__), pairs), max_size=4))
def test_new_entries_are_read_as_they_came(found: list[tuple[bytes, list[bytes]]]) -> None:
    reply = [list(entry) for entry in found]
    assert [tuple(entry) for entry in replies.new_entries([[b"orders", reply]])] == found
    assert replies.new_entries(None) == replies.new_entries([[b"orders", []]]) == []


@pytest.mark.parametrize(
    "entry",
    [
        [b"1-0", None],
        [b"1-0", [b"a", 1]],
        [1, [b"a", b"b"]],
        [b"1-0", b"ab"],
        [b"1-0"],
        [b"1-0", [], []],
        (b"1-0", []),
        7,
    ],
)
def test_new_entries_that_are_none_are_no_reply(entry: object) -> None:
    for reply in ([entry], [[b"0-1", [b"a", b"b"]], entry], entry):
        with pytest.raises(ServerError, match="Redis answered what cannot be read as new_entries"):
            replies.new_entries([[b"orders", reply]])


def test_text_and_numbers() -> None:
    assert (replies.text(b"caf\xc3\xa9"), replies.text(b"\xff"), replies.text(7)) == ("café", "\ufffd", "7")
    assert (replies.optional_text(b"x"), replies.optional_text(None)) == ("x", None)
    assert (replies.integer(b"12"), replies.integer(12)) == (12, 12)
    assert (replies.rows([1]), replies.rows(None)) == ([1], [])
    with pytest.raises(ServerError, match="Redis answered what cannot be read as rows: b'x'"):
        replies.rows(b"x")


def test_pending_entries_have_their_idle_time_in_seconds() -> None:
    assert pending.pending_messages([[b"5-1", b"c", 1500, 3]]) == [PendingMessage("5-1", "c", 1.5, 3)]


STREAM = [b"length", 3, b"radix-tree-keys", 1, b"last-generated-id", b"9-0", b"entries-added", 12, b"groups", 2]


def test_a_stream_and_an_empty_one() -> None:
    full = [*STREAM, b"first-entry", [b"7-0", [b"a", b"b"]], b"last-entry", [b"8-0", [b"a", b"b"]]]
    assert describing.stream_info("s", full) == StreamInfo("s", 3, 2, "7-0", "8-0", "9-0", 12)
    empty = describing.stream_info("s", [*STREAM, b"first-entry", None, b"last-entry", None])
    assert (empty.first_id, empty.last_id) == (None, None)


def test_groups_with_and_without_what_redis_knows_of_their_lag() -> None:
    group = [b"name", b"g", b"consumers", 2, b"pending", 4, b"last-delivered-id", b"7-0"]
    known = [*group, b"entries-read", 5, b"lag", 6]
    assert describing.group_infos([known, [*group, b"entries-read", None, b"lag", None], group]) == [
        GroupInfo("g", 2, 4, "7-0", 5, 6),
        GroupInfo("g", 2, 4, "7-0", None, None),
        GroupInfo("g", 2, 4, "7-0", None, None),
    ]


@pytest.mark.parametrize(
    ("said", "inactive"), [([b"inactive", 2500], 2.5), ([b"inactive", 0], 0.0), ([b"inactive", -1], None), ([], None)]
)
def test_consumers_of_redis_7_0_and_later(said: list[bytes | int], inactive: float | None) -> None:
    reply = [[b"name", b"c", b"pending", 3, b"idle", 1500, *said]]
    assert describing.consumer_infos(reply) == [ConsumerInfo("c", 3, 1.5, inactive)]


@pytest.mark.parametrize(("name", "version"), [("redis", "7.0.0"), ("redis", "10.1.2"), ("valkey", "6.9"), ("x", "1")])
def test_servers_that_are_supported(name: str, version: str) -> None:
    reply = [b"server", name.encode(), b"version", version.encode(), b"proto", 2, b"id", 17]
    assert replies.server(reply) == (name, version, 17, "standalone", "master")
    assert replies.server([*reply, b"mode", b"cluster"]).mode == "cluster"


@pytest.mark.parametrize("version", ["6.2.5", "6.99.99", "5.0"])
def test_servers_that_are_too_old_are_told_so(version: str) -> None:
    with pytest.raises(UnsupportedServerError, match=rf"^the server is Redis {version}; redis_streams_aio needs Redis"):
        replies.server([b"server", b"redis", b"version", version.encode(), b"id", 17])


def test_p33_numbers_that_cannot_be_are_not_believed() -> None:
    """Fewer than none there cannot be, and nothing is younger than now; what Redis then knows of the lag is nothing."""
    group = [b"name", b"g", b"consumers", -1, b"pending", -5, b"last-delivered-id", b"5-0"]
    assert describing.group_infos([[*group, b"entries-read", -7, b"lag", -3]]) == [
        GroupInfo("g", 0, 0, "5-0", entries_read=None, lag=None)
    ]
    assert pending.pending_messages([[b"5-0", b"c", -1, -2]]) == [PendingMessage("5-0", "c", 0.0, 0)]
    lying = [b"name", b"c", b"pending", -1, b"idle", -1, b"inactive", -1]
    assert describing.consumer_infos([lying]) == [ConsumerInfo("c", 0, 0.0, None)]
    described = [
        *(b"length", -1, b"groups", -1, b"first-entry", None, b"last-entry", None),
        *(b"last-generated-id", b"0-0", b"entries-added", -1),
    ]
    assert describing.stream_info("s", described) == StreamInfo("s", 0, 0, None, None, "0-0", 0)


def test_a_name_without_a_value_is_no_reply_of_redis() -> None:
    with pytest.raises(ServerError, match="cannot be read as mapping"):
        replies.mapping([b"name"])


def test_commands_are_packed_in_the_wire_protocol() -> None:
    assert pack(("XADD", b"s", 1, 2.5)) == b"*4\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n1\r\n$3\r\n2.5\r\n"


# -- errors -----------------------------------------------------------------------------------------------------

PLAIN = redis_errors.ResponseError
WRONG = WrongNodeError


@pytest.mark.parametrize(
    ("error", "expected", "text"),
    [
        (PLAIN("NOGROUP No such key 's'"), GroupNotFoundError, "NOGROUP No such key 's'"),
        (PLAIN("UNBLOCKED the stream key no longer exists"), GroupNotFoundError, None),
        (PLAIN("BUSYGROUP Consumer Group name already exists"), GroupExistsError, None),
        (PLAIN("WRONGTYPE Operation against a key"), StreamTypeError, None),
        (
            PLAIN("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"),
            WRONG,
            None,
        ),
        (PLAIN("UNBLOCKED client unblocked via CLIENT UNBLOCK"), RedisRefusedError, None),
        (PLAIN("NOREPLICAS Not enough good replicas"), WRONG, None),
        (PLAIN("MISCONF Redis is configured"), RedisRefusedError, None),
        (PLAIN("ERR something else"), ServerError, "ERR something else"),
        (PLAIN("BUSY"), RedisRefusedError, "BUSY"),
        # redis-py cuts the word off where it has a class
        (redis_errors.BusyLoadingError("Redis is loading"), RedisRefusedError, "LOADING Redis is loading"),
        (redis_errors.ReadOnlyError("You can't write"), WRONG, "READONLY You can't write"),
        (redis_errors.OutOfMemoryError("command not allowed"), RedisRefusedError, "OOM command not allowed"),
        (redis_errors.OutOfMemoryError("OOM command not allowed"), RedisRefusedError, "OOM command not allowed"),
        (redis_errors.NoScriptError("No matching script"), ScriptMissingError, "NOSCRIPT No matching script"),
        (redis_errors.NoPermissionError("User x"), PermissionDeniedError, "NOPERM User x"),
        (redis_errors.ClusterDownError("CLUSTERDOWN Hash"), WRONG, "CLUSTERDOWN Hash"),
        (redis_errors.TryAgainError("TRYAGAIN Multiple"), RedisRefusedError, "TRYAGAIN Multiple"),
        (redis_errors.MasterDownError("Link down"), WRONG, "MASTERDOWN Link down"),
        (redis_errors.AuthenticationError("required"), AuthenticationFailedError, "NOAUTH required"),
        (PLAIN("ERR unknown command 'X', with args beginning with: 'SECRET'"), ServerError, "ERR unknown command 'X'"),
        (PLAIN("OOM command not allowed: NOGROUP is only text"), RedisRefusedError, None),
        # what is known by other words than the first
        (PLAIN("ERR no such key"), StreamNotFoundError, None),
        (PLAIN("no such key"), StreamNotFoundError, "no such key"),
        (PLAIN("ERR The XGROUP subcommand requires the key to exist."), StreamNotFoundError, None),
        (PLAIN("ERR The user executing the script can't access"), PermissionDeniedError, None),
        (PLAIN("ERR ACL failure in script: User x"), PermissionDeniedError, None),
        (PLAIN("ERR this user can't run this command"), PermissionDeniedError, None),
        (PLAIN("WRONGPASS invalid username-password pair"), AuthenticationFailedError, None),
        (PLAIN("ERR invalid username-password pair"), AuthenticationFailedError, None),
        # inside a script another word comes before it
        (PLAIN("ERR Error running script: -OOM command not allowed"), RedisRefusedError, None),
        (PLAIN("ERR Error running script (call to f_1): @user_script:1: -READONLY You can't write"), WRONG, None),
        (
            redis_errors.ReadOnlyError("You can't write against a read only replica. script: 1"),
            WRONG,
            "READONLY You can't write against a read only replica. script: 1",
        ),
        (PLAIN("NOREPLICAS Not enough good replicas to write. script: 1, on @user_script:1."), WRONG, None),
        (PLAIN("ERR user_script:3: NOGROUP No such key"), GroupNotFoundError, None),
        (PLAIN("ERR the word OOM: alone at the end is OOM"), ServerError, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_p16_error_replies_are_told_apart_by_their_words(
    error: Exception, expected: type[Exception], text: str | None
) -> None:
    ours = errors.from_reply(error)
    assert type(ours) is expected
    assert str(ours) == (text or str(error))


def test_p16_a_connection_that_did_not_come_about() -> None:
    refused = errors.from_connecting(redis_errors.AuthenticationError("WRONGPASS no"), "redis://h")
    assert (type(refused), str(refused)) == (
        AuthenticationFailedError,
        "redis://h: Redis refused the credentials: WRONGPASS no",
    )
    assert isinstance(errors.from_connecting(redis_errors.BusyLoadingError("x"), "redis://h"), RedisRefusedError)
    assert isinstance(errors.from_connecting(PLAIN("ERR x"), "redis://h"), ServerError)
    for error, reason in (
        (OSError("no route"), "no route"),
        (TimeoutError(), "timed out"),
        (ConnectionResetError(), "ConnectionResetError"),
    ):
        away = errors.from_connecting(error, "redis://h")
        assert (type(away), str(away)) == (RedisUnavailableError, f"redis://h: {reason}")


def test_p16_bytes_that_no_redis_sends_end_the_connection() -> None:
    for error, reason in ((ValueError("no number"), "no number"), (RecursionError(), "RecursionError")):
        unreadable = errors.unreadable(error)
        assert isinstance(unreadable, errors.LOST_CONNECTION)
        assert str(unreadable) == f"the bytes are not a reply of Redis ({reason})"


@pytest.mark.parametrize(
    ("problem", "advice"),
    [
        (
            "Hostname mismatch, certificate is not valid for 'h'.",
            "connect by a name that is in the server's certificate",
        ),
        ("IP address mismatch, certificate is not valid", "connect by a name that is in the server's certificate"),
        ("self-signed certificate", "name the authority that signed the server's certificate with ?ssl_ca_certs="),
    ],
)
def test_p16_a_certificate_that_is_refused_is_told_with_what_to_do(problem: str, advice: str) -> None:
    text = f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {problem}"
    told = str(errors.from_connecting(OSError(text), "rediss://h"))
    assert told.startswith(f"rediss://h: {text}; {advice}")
    assert "XX" not in told


def test_ids_numbers_and_words_are_read() -> None:
    assert replies.ids([b"1-0", b"2-7"]) == [b"1-0", b"2-7"]
    with pytest.raises(ServerError, match="cannot be read as ids"):
        replies.ids([b"no id"])
    assert replies.integer(2**64 - 1) == 2**64 - 1
    with pytest.raises(ServerError):
        replies.integer(2**64)
    assert replies.words(2, [b"a", b"b"]) == [b"a", b"b"]
    for odd in ([b"a"], [b"a", 1], [b"a", b"b", b"c"]):
        with pytest.raises(ServerError, match="cannot be read as words"):
            replies.words(2, odd)


def test_a_page_of_what_is_pending_has_those_that_are_idle_for_long_enough_or_have_no_consumer() -> None:
    page: replies.Reply = [[b"1-0", b"c", 999, 1], [b"2-0", b"c", 1000, 2], [b"3-0", b"", -1, 3]]
    assert [one.id for one in pending.pending_messages(page, idle=1.0)] == ["2-0", "3-0"]
    assert [one.id for one in pending.pending_messages(page)] == ["1-0", "2-0", "3-0"]
    assert pending.last_id(page) == b"3-0"
    for odd in ([], [[]], [[b"no id"]], b"OK"):
        with pytest.raises(ServerError, match="cannot be read as last_id"):
            pending.last_id(odd)


def test_a_lease_is_believed_where_it_can_be_one() -> None:
    """Whoever can write the hash cannot end the broker, nor have anything taken too soon or never."""
    hostile = (b"0", b"-1", b"", b"soon", b"1e3", b"9" * 400, str(367 * 86_400_000).encode(), "²".encode())
    reply = [item for at, value in enumerate(hostile) for item in (f"bad{at}".encode(), value)]
    assert leases([b"a", b"1500", *reply, b"b", b"30000"]) == {"a": 1.5, "b": 30.0}
    assert leases([]) == {}
    with pytest.raises(ServerError):
        leases([b"a"])


def test_the_servers_time_is_in_seconds() -> None:
    assert replies.clock([b"1700000000", b"250000"]) == 1_700_000_000.25
    assert replies.clock([b"5", b"999999"]) == pytest.approx(5.999999, abs=1e-9)


def test_p25_a_command_whose_answer_did_not_come_is_told_apart_from_one_never_sent() -> None:
    lost = errors.from_lost(ConnectionResetError(), "redis://h")
    assert type(lost) is UnansweredError
    assert str(lost) == (
        "redis://h: ConnectionResetError; the command was sent, and it is not known whether Redis executed it"
    )
    assert isinstance(errors.from_lost(redis_errors.BusyLoadingError("x"), "redis://h"), RedisRefusedError)
    assert isinstance(errors.from_lost(redis_errors.AuthenticationError("x"), "redis://h"), AuthenticationFailedError)

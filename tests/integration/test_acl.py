"""docs/acl/users.acl: each role can do all that it is for, nothing beside it, and needs every right that it has."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError

from redis_streams_aio import Broker, Delivery, PermissionDeniedError, Retention, RetryPolicy, Settings, StreamSettings
from redis_streams_aio.events import keys
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

FILE = Path(__file__).parents[2] / "docs" / "acl" / "users.acl"
RULES = {line.split()[1]: line.split(maxsplit=2)[2] for line in FILE.read_text().splitlines()}
"""What the file says of each user."""
DEAD = "{orders}:billing:dead"
NOT_NEEDED = {"client|setinfo", "client|unblock", "info"}
"""Asked for where it may be had, and gone on without."""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the file as it is shipped, and each user's name as the password, as nobody can log in before."""
    file = tmp_path_factory.mktemp("acl") / "users.acl"
    file.write_text("".join(f"user {name} {rules} >{name}\n" for name, rules in RULES.items() if name != "default"))
    file.write_text(file.read_text() + "user default off\n")
    server = Server("--aclfile", str(file)).start()
    yield server
    server.remove()


def url_of(locked: Server, user: str) -> str:
    return locked.url.replace("//", f"//{user}:{user}@")


@pytest.fixture
async def admin(locked: Server) -> AsyncIterator[Redis]:
    async with Redis.from_url(url_of(locked, "admin"), protocol=2, decode_responses=True) as redis:
        await redis.flushall()
        await redis.script_flush()
        await redis.execute_command("ACL", "LOG", "RESET")
        yield redis


async def refusals(admin: Redis) -> set[str]:
    """What was refused, and is missed."""
    return {str(line["object"]) for line in await admin.acl_log() if line["object"] not in NOT_NEEDED}


async def publish(admin: Redis, *numbers: int) -> None:
    for number in numbers:
        await admin.xadd(
            "orders", {"event_type": "Order", "payload": f'{{"number":{number}}}', "event_id": f"e{number}"}
        )


# -- a consumer's life --------------------------------------------------------------------------------------------

SETTINGS = Settings(
    block_ms=20,
    grace=0,
    connect_timeout=0.5,
    command_timeout=1,
    reclaim_interval=0.02,
    consumer_expiry=0.05,
    checkpoint_interval=0.02,
    lag_interval=0.02,
    dead_letter_maxlen=10,
    dead_letter_retention=3600,
)


def consumer(url: str, start: str = "0") -> Broker:
    """Handles 1 with a follow-up, 2 at the second try, and 3 never."""
    broker = Broker(url, group="billing", settings=SETTINGS)
    tried: set[int] = set()

    @broker.handler(
        "orders", start=start, lease=0.3, concurrency=5, deduplicate=60, retry=RetryPolicy(max_failures=2, base=0.02)
    )
    async def handle(order: Order, delivery: Delivery) -> None:
        delivery.publish("{orders}:invoices", order)
        if order.number == 5:
            delivery.publish(DEAD, order)  # is no stream then, so the first is taken back
        if order.number == 4:
            await asyncio.sleep(3600)  # until the drain gives it back
        if order.number % 10 == 3 or (order.number == 2 and order.number not in tried):
            tried.add(order.number)
            raise ValueError("no")

    return broker


async def settled(admin: Redis, pending: int) -> bool:
    groups = await admin.xinfo_groups("orders") if await admin.exists("orders") else []
    return [(group["pending"], group["lag"]) for group in groups] == [(pending, 0)]


async def live(url: str, admin: Redis, *, wait: float = 10.0) -> None:
    """Everything that a consumer ever does."""
    async with consumer(url, start="$") as broker:  # a group made at the end, which is told how much was before
        await publish(admin, 1, 2, 3, 3, 4)
        await until(lambda: settled(admin, 1), seconds=wait)
        await until(lambda: admin.exists("{orders}:billing:checkpoint"), seconds=wait)
        await broker.measure_lag()
        await admin.xgroup_createconsumer("orders", "billing", "gone")
        await until(lambda: gone(admin), seconds=wait)  # cleaned up; then 4 is given back
    await left_behind(admin)
    async with consumer(url):  # taken over
        await until(lambda: held(admin, 2), seconds=wait)
    await admin.xgroup_destroy("orders", "billing")
    await admin.set(DEAD, "no stream")
    async with consumer(url):  # made again at its checkpoint
        await publish(admin, 5)
        await until(lambda: tried_again(admin), seconds=wait)


async def gone(admin: Redis) -> bool:
    """Whether the name of the consumer that is gone is gone too, where it is seen at all (not by Redis 7.0)."""
    return "gone" not in {known["name"] for known in await admin.xinfo_consumers("orders", "billing")}


async def left_behind(admin: Redis) -> None:
    """A consumer that crashed had an event in its hands."""
    await publish(admin, 4)
    entry = (await admin.xrevrange("orders", count=1))[0][0]
    await admin.xreadgroup("billing", "crashed", {"orders": ">"})
    await admin.xclaim("orders", "billing", "crashed", 0, [entry], idle=60_000)


async def held(admin: Redis, count: int) -> bool:
    """Whether so many entries are in the hands of somebody who is there."""
    pending = await admin.xpending_range("orders", "billing", "-", "+", 10)
    return sum(one["consumer"] not in ("crashed", keys.RELEASED) for one in pending) == count


async def tried_again(admin: Redis) -> bool:
    return any("WRONGTYPE" in record for record in (await admin.hgetall("{orders}:billing:failures")).values())


async def test_a_consumer_can_do_all_that_it_is_for(locked: Server, admin: Redis) -> None:
    """P2, P5, P8, P11, P12, P17, P18, P22, P27, with not one step refused."""
    await live(url_of(locked, "consumer"), admin)
    assert await refusals(admin) == set()
    invoices = await admin.xrange("{orders}:invoices")
    assert [json.loads(invoice["payload"])["number"] for _, invoice in invoices] in ([1, 2], [2, 1])


# -- and needs all of it ------------------------------------------------------------------------------------------

PARTS = re.findall(r"\([^)]*\)|\S+", RULES["consumer"])


def without(part: int, right: str) -> list[str]:
    """The consumer's rules without a right of one part: a selector, or the user itself."""
    left = [rule for rule in PARTS[part].strip("()").split() if rule != right]
    selector = PARTS[part].startswith("(")
    instead = [f"({' '.join(left)})"] if selector else left
    return [*PARTS[:part], *instead, *PARTS[part + 1 :]]


RIGHTS = [
    pytest.param(part, right, id=f"{right} of {part}")
    for part, rules in enumerate(PARTS)
    for right in rules.strip("()").split()
    if right != "on" and ":parked " not in rules
]
"""Without those on parked entries: what they are for has its tests in `steps/test_parking.py`."""


FAILURES, DONE, INVOICES, RELEASED, LEASES, DELETED = (
    next(part for part, rules in enumerate(PARTS) if f"{key} +" in rules)
    for key in (":failures", ":done:*", ":invoices", ":released", ":leases", ":deleted")
)
QUIET = {
    (FAILURES, "+hget"),
    (DONE, "+get"),
    (DONE, "+del"),
    (FAILURES, "+hdel"),
    (FAILURES, "+hscan"),
    (INVOICES, "+xdel"),
} | {(part, right) for part in (RELEASED, LEASES, DELETED) for right in PARTS[part].strip("()").split()}
"""docs/security.md says what is lost: nobody is told by the library, only by `ACL LOG`."""


@pytest.mark.parametrize(("part", "right"), RIGHTS)
async def test_a_consumer_needs_each_right_and_is_told_which_it_has_not(
    locked: Server, admin: Redis, caplog: pytest.LogCaptureFixture, part: int, right: str
) -> None:
    await admin.execute_command("ACL", "SETUSER", "mutant", "reset", "on", ">mutant", *without(part, right))
    life = asyncio.create_task(live(url_of(locked, "mutant"), admin))
    try:
        await until(lambda: seen(admin, life))
        missed = await refusals(admin)
        assert missed, "it lived without"
        await until(lambda: life.done() or told(caplog.text, missed) or (part, right) in QUIET)
    finally:
        life.cancel()
        [outcome] = await asyncio.gather(life, return_exceptions=True)
    assert told(f"{caplog.text} {outcome!r}", missed) or (part, right) in QUIET, missed


async def seen(admin: Redis, life: asyncio.Task[None]) -> bool:
    return life.done() or bool(await refusals(admin))


def told(text: str, missed: set[str]) -> bool:
    """Whether somebody was told what is not permitted: the command, or the key."""
    named = any(right in text for right in missed)
    if "user executing the script can't" in text:  # Redis 7.0, which names no command in a script
        return named or "can't run this command" in text
    return named and bool(re.search("permission", text, re.IGNORECASE))


# -- producer and operator ----------------------------------------------------------------------------------------


async def test_a_producer_publishes_and_does_nothing_else(locked: Server, admin: Redis) -> None:
    """P23; its text names command and stream where something is not permitted."""
    settings = msgspec.structs.replace(
        SETTINGS, streams={"orders": StreamSettings(retention=Retention(max_length=1000))}
    )
    async with Broker(url_of(locked, "producer"), settings=settings) as broker:
        await broker.publish("orders", Order(1), key="k", event_id="e", headers={"h": "x"})
        await broker.publish_many("orders", [Order(2), Order(3)])
        assert await refusals(admin) <= {"eval"}, "sweeping, which is left to others"
        with pytest.raises(PermissionDeniedError, match="stream 'others': .*permission"):
            await broker.publish("others", Order(1))
    assert await admin.xlen("orders") == 3


async def operate(locked: Server, *arguments: str, user: str = "operator") -> str:
    """A command of the command line, as the operator runs it."""
    command = [sys.executable, "-m", "redis_streams_aio", *arguments, "--url", url_of(locked, user)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


async def test_an_operator_can_look_and_see_to_dead_letters(locked: Server, admin: Redis) -> None:
    """P12, P28, by the command line: groups, pending, tail, pause, resume, and all that is done to dead letters."""
    async with consumer(url_of(locked, "consumer")):
        await publish(admin, 3, 13, 23)
        await until(lambda: has_length(admin, DEAD, 3))
    first, second, third = [letter for letter, _ in await admin.xrange(DEAD)]
    assert "billing" in await operate(locked, "groups", "orders")
    assert "Order" in await operate(locked, "tail", "orders", "--no-follow")
    assert first in await operate(locked, "dead-letters", "ls", "orders", "billing")
    assert "ValueError" in await operate(locked, "dead-letters", "show", "orders", "billing", first)
    await operate(locked, "dead-letters", "replay", "orders", "billing", first, "--yes")
    assert "1 shown of 1 pending" in await operate(locked, "pending", "orders", "billing")
    assert "released" in await operate(locked, "consumers", "orders", "billing")
    assert "paused by ada" in await operate(
        locked, "pause", "orders", "billing", "--why", "poison", "--by", "ada", "--yes"
    )
    assert "goes on" in await operate(locked, "resume", "orders", "billing", "--yes")
    await admin.xtrim("orders", maxlen=0)
    await operate(locked, "dead-letters", "replay", "orders", "billing", second, "--yes")
    assert await admin.xlen("orders") == 1, "a copy, as its entry is gone"
    await operate(locked, "dead-letters", "purge", "orders", "billing", third, "--yes")
    assert await admin.xlen(DEAD) == 0
    assert await refusals(admin) == set()


async def test_a_sweeper_deletes_what_retention_lets_go(locked: Server, admin: Redis) -> None:
    """P21: a broker of its own, with no handlers."""
    kept = StreamSettings(retention=Retention(acknowledged=True, max_age=3600, max_length=1000))
    await publish(admin, 1, 2, 3)
    await admin.xgroup_create("orders", "billing", "$")
    await admin.xgroup_create("orders", "mail", "0")
    found = await admin.xreadgroup("mail", "ann", {"orders": ">"}, count=2)
    await admin.xack("orders", "mail", found[0][1][0][0])
    async with Broker(url_of(locked, "sweeper"), settings=Settings(streams={"orders": kept})):
        await until(lambda: has_length(admin, "orders", 2))
    await admin.xgroup_setid("orders", "mail", "$")
    await admin.xack("orders", "mail", found[0][1][1][0])
    await operate(locked, "trim", "orders", "--safe", "--dry-run", user="sweeper")
    await operate(locked, "trim", "orders", "--safe", "--yes", user="sweeper")
    assert await admin.xlen("orders") == 0
    assert await refusals(admin) == set()


async def has_length(admin: Redis, stream: str, length: int) -> bool:
    return await admin.xlen(stream) == length


EVERYBODYS_NOT = [
    ("FLUSHALL",),
    ("CONFIG", "GET", "*"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("DEL", "orders"),
    ("UNLINK", "orders"),
    ("XTRIM", "orders", "MAXLEN", "0"),
    ("XDEL", "orders", "1-1"),
    ("XGROUP", "DESTROY", "orders", "billing"),
    ("XADD", "others", "*", "a", "b"),
    ("XRANGE", "others", "-", "+"),
    ("GET", "others"),
    ("EVAL", "return redis.call('FLUSHALL')", "0"),
    ("EVAL", "return redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)", "1", "orders"),
    ("EVAL", "return redis.call('GET', 'others')", "0"),
    ("ACL", "LIST"),
    ("CLIENT", "LIST"),
    ("SHUTDOWN",),
]
FORBIDDEN = {
    "producer": [
        *EVERYBODYS_NOT,
        ("XRANGE", "orders", "-", "+"),
        ("XREAD", "STREAMS", "orders", "0"),
        ("XREADGROUP", "GROUP", "billing", "p", "STREAMS", "orders", ">"),
        ("XACK", "orders", "billing", "1-1"),
        ("XADD", DEAD, "*", "a", "b"),
        ("EVAL", "return 1", "0"),
    ],
    "consumer": [
        *EVERYBODYS_NOT,
        ("XADD", "orders", "*", "a", "b"),
        ("XADD", "{orders}:mail:dead", "*", "a", "b"),
        ("HSET", "{orders}:mail:failures", "1-1", "x"),
        ("SET", "{orders}:mail:checkpoint", "0-0"),
        ("XRANGE", DEAD, "-", "+"),
        ("XDEL", DEAD, "1-1"),
        ("DEL", "{orders}:billing:checkpoint"),
    ],
    "sweeper": [
        *(command for command in EVERYBODYS_NOT if "XTRIM" not in " ".join(command)),
        ("XTRIM", "{orders}:billing:dead", "MAXLEN", "0"),
        ("XADD", "orders", "*", "a", "b"),
        ("XREADGROUP", "GROUP", "billing", "s", "STREAMS", "orders", ">"),
        ("XACK", "orders", "billing", "1-1"),
        ("XGROUP", "CREATE", "orders", "mail", "0"),
    ],
    "operator": [
        *EVERYBODYS_NOT,
        ("XREADGROUP", "GROUP", "billing", "o", "STREAMS", "orders", ">"),
        ("XACK", "orders", "billing", "1-1"),
        ("XADD", DEAD, "*", "a", "b"),
        ("DEL", "{orders}:billing:checkpoint"),
        ("GET", "{orders}:billing:done:e1"),
    ],
}


@pytest.mark.parametrize("user", FORBIDDEN)
async def test_nobody_can_do_what_is_not_theirs(locked: Server, admin: Redis, user: str) -> None:
    async with Redis.from_url(url_of(locked, user), protocol=2) as theirs:
        for command in FORBIDDEN[user]:
            with pytest.raises(ResponseError, match="(?i)permission|user executing the script can't"):
                await theirs.execute_command(*command)


@pytest.mark.parametrize("user", ["default", "admin", "producer", "consumer", "sweeper", "operator"])
async def test_nobody_gets_in_before_passwords_are_set(
    new_server: Callable[..., Server], tmp_path: Path, user: str
) -> None:
    file = tmp_path / "users.acl"
    file.write_text(FILE.read_text())
    server = new_server("--aclfile", str(file))
    for password in ("", user, "secret"):
        async with Redis.from_url(server.url, username=user, password=password, protocol=2) as theirs:
            with pytest.raises((AuthenticationError, ResponseError)):
                await theirs.ping()


def test_the_docs_show_the_file_as_it_is() -> None:
    assert f"```text\n{FILE.read_text()}```" in (FILE.parents[1] / "security.md").read_text()

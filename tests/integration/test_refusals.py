"""Redis refuses, stalls, forgets and hangs up, under load (P16): nothing acknowledged is lost, and nobody hammers it.

Beside test_outages.py. After each outage the set algebra is done: lost = acknowledged publishes - handled, and
unexpected = handled - attempted publishes, are both empty.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as NotUp

from redis_streams_aio import (
    Broker,
    Delivery,
    RedisRefusedError,
    RedisUnavailableError,
    RetryPolicy,
    Settings,
    StreamManager,
    UnansweredError,
)
from redis_streams_aio.telemetry import Fact, StepFailed
from redis_streams_aio.testing.proxy import Proxy, proxy
from redis_streams_aio.testing.servers import Server
from redis_streams_aio.testing.waiting import until
from tests.events import Order

SOON = RetryPolicy(base=0.005, cap=0.02, max_failures=100)
DEAD = "{orders}:g:dead"
PUBLISHERS = 4

NewServer = Callable[..., Server]


class Ledger:
    """What was published, what of it Redis acknowledged, what was handled, and what went wrong meanwhile."""

    def __init__(self) -> None:
        self.attempted: set[int] = set()
        self.acknowledged: set[int] = set()
        self.handled: Counter[int] = Counter()
        self.errors: list[RedisUnavailableError] = []
        self.facts: list[Fact] = []
        self._numbers = itertools.count()
        self._stop = False

    @property
    def lost(self) -> set[int]:
        """To be handled still, or lost."""
        return self.acknowledged - set(self.handled)

    @property
    def unexpected(self) -> set[int]:
        return set(self.handled) - self.attempted

    def refused(self, word: str) -> bool:
        """Whether a publish was refused with that word."""
        return any(isinstance(error, RedisRefusedError) and word in str(error) for error in self.errors)

    def felt(self, word: str) -> bool:
        """Whether a duty of the broker failed with that word."""
        return any(isinstance(fact, StepFailed) and word in fact.error for fact in self.facts)

    async def more(self, count: int = 200, seconds: float = 15) -> None:
        """Wait until so many more publishes are acknowledged."""
        target = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= target, seconds, f"{count} more acknowledged publishes")

    async def publish(self, broker: Broker, payload: str) -> None:
        """Publish without end, about a thousand a second."""
        while not self._stop:
            number = next(self._numbers)
            self.attempted.add(number)
            try:
                await broker.publish("orders", Order(number, payload))
            except RedisUnavailableError as error:
                self.errors.append(error)
            else:
                self.acknowledged.add(number)
            await asyncio.sleep(0.001 * PUBLISHERS)

    def stop(self) -> None:
        self._stop = True


def consumer(url: str, ledger: Ledger, *, some_fail: bool, **settings: object) -> Broker:
    """Handles orders; where `some_fail`, every tenth fails once, so that retries are written in the outage too.

    The lease is long: what a lost reply left behind must be found at once (P5), not when it has run out.
    """
    broker = Broker(url, group="g", settings=Settings(**settings), observers=[ledger.facts.append])  # type: ignore[arg-type]

    @broker.handler("orders", concurrency=4, lease=600, retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        await asyncio.sleep(0)
        if some_fail and order.number % 10 == 7 and not delivery.failures:
            raise ValueError("once")
        ledger.handled[order.number] += 1

    return broker


@asynccontextmanager
async def load(
    url: str, *, publish_to: str | None = None, payload: str = "ada", some_fail: bool = True, **settings: object
) -> AsyncIterator[Ledger]:
    """Publishers and a consumer at work while the block runs; at its end, the set algebra."""
    ledger = Ledger()
    settings = {"command_timeout": 0.5, "block_ms": 300, **settings}
    async with (
        consumer(url, ledger, some_fail=some_fail, **settings),
        Broker(publish_to or url, settings=Settings(command_timeout=0.5)) as publisher,
    ):
        publishing = [asyncio.create_task(ledger.publish(publisher, payload)) for _ in range(PUBLISHERS)]
        try:
            await ledger.more()
            yield ledger
            await ledger.more()
        finally:
            ledger.stop()
            await asyncio.gather(*publishing)
        await until(lambda: not ledger.lost, 20, "all acknowledged publishes are handled")
    assert ledger.lost == set()
    assert ledger.unexpected == set()
    repeated = sum(1 for times in ledger.handled.values() if times > 1)
    print(f"{len(ledger.acknowledged)} acknowledged, {len(ledger.errors)} failed, {repeated} handled more than once")


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    """A plain client, to make trouble with."""
    redis = Redis.from_url(url, protocol=2, decode_responses=True)
    try:
        yield redis
    finally:
        await redis.aclose()


async def nothing_pending(redis: Redis) -> bool:
    return (await redis.xpending("orders", "g"))["pending"] == 0


# -- troubles, each with its end ----------------------------------------------------------------------------------


@asynccontextmanager
async def read_only(redis: Redis) -> AsyncIterator[None]:
    """READONLY: a replica of a master that is not there."""
    await redis.replicaof("127.0.0.1", "1")
    yield
    await redis.replicaof("NO", "ONE")


@asynccontextmanager
async def cannot_save(server: Server, redis: Redis) -> AsyncIterator[None]:
    """MISCONF: the dump cannot be put in its place, as a folder stands there."""
    folder = server.folder / "dump.rdb"
    folder.mkdir()
    await redis.config_set("save", "3600 1")
    await redis.bgsave()

    async def has_failed() -> bool:
        return (await redis.info("persistence"))["rdb_last_bgsave_status"] == "err"

    await until(has_failed)
    yield
    await redis.config_set("save", "")
    folder.rmdir()


SLOW_START = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")


@asynccontextmanager
async def loading(server: Server, redis: Redis, seconds: int) -> AsyncIterator[None]:
    """LOADING: killed, and started with so many keys that it loads for about so many seconds (see `SLOW_START`)."""
    async with redis.pipeline(transaction=False) as pipeline:
        for number in range(1000 * seconds):
            pipeline.set(f"key:{number}", "x" * 30)
        await pipeline.execute()
    await redis.bgrewriteaof()

    async def is_rewritten() -> bool:
        known = await redis.info("persistence")
        return not known["aof_rewrite_in_progress"] and not known["aof_rewrite_scheduled"]

    async def is_loading() -> bool:
        try:
            return bool((await redis.info("persistence"))["loading"])
        except NotUp:
            return False

    await until(is_rewritten)
    restarting = asyncio.create_task(asyncio.to_thread(server.restart, signal.SIGKILL))
    await until(is_loading)
    yield
    await restarting


# -- the network --------------------------------------------------------------------------------------------------


async def test_p16_a_half_open_connection_is_left_and_reading_resumes_and_handlers_run_on(
    url: str, server: Server
) -> None:
    """Nothing comes and nobody hangs up: publish fails within `command_timeout`, the handler knows nothing of it."""
    loop = asyncio.get_running_loop()
    started, may_end, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()
    async with proxy(server.port) as network, client(url) as redis:
        broker = Broker(network.url, group="g", settings=Settings(command_timeout=1, block_ms=300))
        got: list[int] = []

        @broker.handler("orders", concurrency=2)
        async def handle(order: Order) -> None:
            if order.number == 0:
                started.set()
                await may_end.wait()
                ended.set()
            got.append(order.number)

        async with broker:
            await broker.publish("orders", Order(0))
            await started.wait()
            network.black_hole()
            for number, error in ((1, UnansweredError), (2, RedisUnavailableError)):
                began = loop.time()
                with pytest.raises(error):
                    await broker.publish("orders", Order(number))
                assert loop.time() - began < 1.2
            may_end.set()
            await asyncio.wait_for(ended.wait(), 1)
            await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":3}'})
            await network.heal()
            await broker.publish("orders", Order(4))
            await until(lambda: {0, 3, 4} <= set(got))
            await until(lambda: nothing_pending(redis))
        assert Counter(got)[0] == 1


async def test_p16_half_open_under_load_loses_nothing(server: Server, url: str) -> None:
    """What Redis handed out into the black hole is pending under our name, and picked up at once (P5)."""
    async with proxy(server.port) as network, load(network.url, publish_to=url) as ledger:
        for _ in range(3):
            network.black_hole()
            await ledger.more()
            await network.heal()
            await until(lambda: len(ledger.lost) < 50)


async def test_p5_a_reply_cut_in_the_middle_under_load_loses_nothing(server: Server, url: str) -> None:
    async with proxy(server.port) as network, load(network.url) as ledger:
        for nbytes in (1, 3, 10, 50, 200, 500, 1000, 3000, 10_000, 2):
            network.cut_reply_after(nbytes)
            await until(lambda: network.cut_after is None)
            await ledger.more(50)


async def test_p16_every_connection_killed_ten_times_under_load_loses_nothing(url: str, redis: Redis) -> None:
    async with load(url) as ledger:
        for _ in range(10):
            assert await redis.client_kill_filter(_type="normal", skipme=True) >= 3
            await ledger.more(100)


async def test_p16_connection_refused_under_load_loses_nothing(server: Server, url: str) -> None:
    async with proxy(server.port) as network, load(network.url) as ledger:
        for _ in range(2):
            failed = len(ledger.errors)
            network.refuse()
            await until(lambda n=failed: len(ledger.errors) >= n + 2 * PUBLISHERS)
            await network.heal()
            await ledger.more(100)


async def test_p16_a_slow_network_loses_nothing(server: Server, url: str) -> None:
    async with proxy(server.port) as network, load(network.url) as ledger:
        network.delay(0.1)
        await ledger.more(40)
        await network.heal()


# -- Redis refuses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("only_writes", [True, False], ids=["WRITE", "ALL"])
async def test_p16_client_pause_under_load_loses_nothing(url: str, redis: Redis, only_writes: bool) -> None:
    """Paused for longer than block and `command_timeout`: publishes are unanswered, and reading resumes."""
    async with load(url) as ledger:
        await redis.client_pause(1500, all=not only_writes)
        await until(lambda: len(ledger.errors) >= PUBLISHERS)
        await ledger.more()
    assert any(isinstance(error, UnansweredError) for error in ledger.errors)


async def test_p16_misconf_under_load_loses_nothing(new_server: NewServer) -> None:
    server = new_server()
    async with client(server.url) as redis, load(server.url) as ledger:
        async with cannot_save(server, redis):
            await until(lambda: ledger.refused("MISCONF") and ledger.felt("MISCONF"))
        await ledger.more()


async def test_p16_readonly_under_load_loses_nothing(new_server: NewServer) -> None:
    server = new_server()
    async with client(server.url) as redis, load(server.url) as ledger:
        async with read_only(redis):
            await until(lambda: ledger.refused("READONLY") and ledger.felt("READONLY"))
        await ledger.more()


async def test_p16_loading_under_load_loses_nothing(new_server: NewServer) -> None:
    """Killed and started with an append-only file that takes a while to load."""
    server = new_server(*SLOW_START, appendonly=True)
    async with client(server.url) as redis, load(server.url) as ledger:
        async with loading(server, redis, 2):
            await until(lambda: ledger.refused("LOADING") and ledger.felt("LOADING"))
        await ledger.more()


async def test_p16_publishing_while_redis_is_loading_waits_for_it(new_server: NewServer) -> None:
    """What is refused for now is sent again, until `command_timeout` (10 s) is over: for LOADING as for any other."""
    server = new_server(*SLOW_START, appendonly=True)
    async with client(server.url) as redis, Broker(server.url) as broker:
        await broker.publish("orders", Order(1))
        async with loading(server, redis, 2):
            ids = [await broker.publish("orders", Order(2))]
            ids += await broker.publish_many("orders", [Order(3), Order(4)])
        assert [entry_id for entry_id, _ in await redis.xrange("orders")][1:] == ids


async def test_p16_a_full_redis_is_drained_under_load_and_then_publishing_resumes(new_server: NewServer) -> None:
    """OOM refuses publishes only: consumers settle all there is, and once it is trimmed there is room again."""
    server = new_server("--maxmemory-policy", "noeviction")
    async with client(server.url) as redis, load(server.url, payload="x" * 2000, some_fail=False) as ledger:
        used = (await redis.info("memory"))["used_memory"]
        await redis.config_set("maxmemory", used + 2_000_000)
        await until(lambda: ledger.refused("OOM"))
        await until(lambda: not ledger.lost, what="all is handled while Redis is full")
        await until(lambda: nothing_pending(redis), what="all is acknowledged while Redis is full")
        handled = len(ledger.handled)
        async with Broker(server.url) as operator:
            assert await StreamManager(operator.connection).trim("orders", maxlen=0, exact=True) >= handled
        await ledger.more()
        await redis.config_set("maxmemory", 0)


async def test_p16_events_that_fail_do_not_keep_the_others_from_draining_a_full_redis(new_server: NewServer) -> None:
    """A retry cannot be written then; that must not take the workers from events that could be settled."""
    server = new_server("--maxmemory-policy", "noeviction")
    full = asyncio.Event()
    handled: set[int] = set()
    broker = Broker(server.url, group="g")

    @broker.handler("orders", concurrency=4, retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        await full.wait()
        if order.number < 8 and not delivery.failures:
            raise ValueError("once")
        handled.add(order.number)

    async with client(server.url) as redis, broker:
        await broker.publish_many("orders", [Order(number) for number in range(50)])
        await until(lambda: broker.status[0].running == 4)
        await redis.config_set("maxmemory", 1)
        full.set()
        try:
            await until(lambda: set(range(8, 50)) <= handled, 5, "what does not fail is handled while Redis is full")
        finally:
            await redis.config_set("maxmemory", 0)
        await until(lambda: handled == set(range(50)))


async def test_p16_scripts_forgotten_again_and_again_under_load_lose_nothing(url: str, redis: Redis) -> None:
    async with load(url) as ledger:
        for _ in range(50):
            await redis.script_flush()
            await ledger.more(20)
        stats = (await redis.info("errorstats")).get("errorstat_NOSCRIPT")
        assert stats, "no script was ever missed"


# -- permissions --------------------------------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs"
DOCUMENTED = re.findall(r"^ACL SETUSER app on >secret (.*)$", (DOCS / "connections.md").read_text(), re.MULTILINE)[
    0
].split()
"""docs/connections.md, "Permissions"."""
USERS = {
    "documented": DOCUMENTED,
    "documented-without-client-unblock": [rule for rule in DOCUMENTED if rule != "+client|unblock"],
    "no-dangerous-no-admin": ["~*", "+@all", "-@dangerous", "-@admin"],
    "no-client-at-all": ["~*", "+@all", "-@dangerous", "-@admin", "-client"],
}


@pytest.mark.parametrize("rules", USERS.values(), ids=USERS.keys())
async def test_a_restricted_user_can_do_the_whole_cycle(new_server: NewServer, rules: list[str]) -> None:
    """Publish -> handle -> fail -> retry -> dead letter -> reclaim -> drain, with not one step refused."""
    server = new_server()
    facts: list[Fact] = []
    attempts: Counter[int] = Counter()
    async with client(server.url) as redis:
        await redis.execute_command("ACL", "SETUSER", "app", "on", ">secret", *rules)
        url = server.url.replace("127.0.0.1", "app:secret@127.0.0.1")
        settings = Settings(grace=0.3, block_ms=200, checkpoint_interval=0.01, lag_interval=0.01)
        broker = Broker(url, group="g", settings=settings, observers=[facts.append])

        @broker.handler("orders", concurrency=3, lease=0.3, retry=RetryPolicy(base=0.01, max_failures=3))
        async def handle(order: Order) -> None:
            attempts[order.number] += 1
            if order.number == 1:
                raise ValueError("always")
            if order.number == 2 and attempts[2] == 1:
                await asyncio.sleep(3600)  # until the drain gives it back

        async with broker:
            await broker.publish_many("orders", [Order(number) for number in range(3)])
            await until(lambda: redis.xlen(DEAD))
            await until(lambda: broker.status[0].settled == 2)
            assert {report.pending for report in await broker.measure_lag()} == {1}
        async with broker:
            await until(lambda: attempts[2] == 2)
            await until(lambda: nothing_pending(redis))
        assert attempts == {0: 1, 1: 3, 2: 2}
        assert [fact for fact in facts if isinstance(fact, StepFailed)] == []
        assert await redis.get("{orders}:g:checkpoint") == (await redis.xinfo_stream("orders"))["last-generated-id"]
        [released] = await redis.xinfo_consumers("orders", "g")
        assert released["pending"] == 0


# -- not more than 20 a second ------------------------------------------------------------------------------------

Count = Callable[[], Awaitable[int]]
"""How many commands (or connections, where there is no Redis to send any to) since the trouble began."""
Trouble = Callable[[Server, Redis, Proxy], "asynccontextmanager[Count]"]

_OURS = (
    "cmdstat_info",
    "cmdstat_ping",  # Server.start asks whether it is up
    "cmdstat_config",
    "cmdstat_replicaof",
    "cmdstat_acl",
    "cmdstat_client|kill",
    "cmdstat_client|pause",
)
_IN_SCRIPTS = ("cmdstat_xpending", "cmdstat_time", "cmdstat_hset")
"""Called by scripts that write a failure or a checkpoint; the script itself is counted."""


async def _commands(redis: Redis) -> int:
    """Commands that were sent to the server, refused ones too, without those of the test itself."""
    stats = await redis.info("commandstats")
    ignored = (*_OURS, *_IN_SCRIPTS)
    return sum(
        counts["calls"] + counts["rejected_calls"] for name, counts in stats.items() if not name.startswith(ignored)
    )


async def _scripts_sent(redis: Redis) -> int:
    """How often a script was sent in full: each caller does that once where the server does not know it."""
    sent = (await redis.info("commandstats")).get("cmdstat_eval")
    return int(sent["calls"]) if sent else 0


async def _has_sent(number: int, redis: Redis) -> bool:
    return await _scripts_sent(redis) >= number


async def _commands_since_now(redis: Redis) -> Count:
    before = await _commands(redis)

    async def count() -> int:
        return await _commands(redis) - before

    return count


@asynccontextmanager
async def _readonly(server: Server, redis: Redis, network: Proxy) -> AsyncIterator[Count]:
    count = await _commands_since_now(redis)
    async with read_only(redis):
        yield count


@asynccontextmanager
async def _misconf(server: Server, redis: Redis, network: Proxy) -> AsyncIterator[Count]:
    async with cannot_save(server, redis):
        yield await _commands_since_now(redis)


@asynccontextmanager
async def _oom(server: Server, redis: Redis, network: Proxy) -> AsyncIterator[Count]:
    """Reading works, so it is publishing that is counted."""
    count = await _commands_since_now(redis)
    await redis.config_set("maxmemory", 1)
    async with Broker(server.url) as publisher:
        publishing = asyncio.create_task(publisher.publish("orders", Order(-1)))
        yield count
        await redis.config_set("maxmemory", 0)
        await publishing


@asynccontextmanager
async def _wrong_password(server: Server, redis: Redis, network: Proxy) -> AsyncIterator[Count]:
    await redis.execute_command("ACL", "SETUSER", "app", "resetpass", ">two")
    count = await _commands_since_now(redis)
    await redis.execute_command("CLIENT", "KILL", "USER", "app")
    yield count
    await redis.execute_command("ACL", "SETUSER", "app", ">secret")


@asynccontextmanager
async def _loading(server: Server, redis: Redis, network: Proxy) -> AsyncIterator[Count]:
    async with loading(server, redis, 4):
        yield lambda: _commands(redis)  # a new server counts from 0


def _paused(*, only_writes: bool) -> Trouble:
    @asynccontextmanager
    async def pause(server: Server, redis: Redis, network: Proxy) -> AsyncIterator[Count]:
        """What waits in the pause is counted when it is over, as our own INFO waits too."""
        count = await _commands_since_now(redis)
        await redis.client_pause(3200, all=not only_writes)
        yield count

    return pause


@asynccontextmanager
async def _nobody_there(server: Server, redis: Redis, network: Proxy) -> AsyncIterator[Count]:
    """A listener that hangs up at once, in the place of Redis."""
    accepted = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        writer.close()

    async def count() -> int:
        return accepted

    network.refuse()
    listener = await asyncio.start_server(hang_up, "127.0.0.1", network.port)
    yield count
    listener.close()
    await listener.wait_closed()
    await network.heal()


@asynccontextmanager
async def _silence(server: Server, redis: Redis, network: Proxy) -> AsyncIterator[Count]:
    sent, accepted = network.requests, network.accepted

    async def count() -> int:
        return network.requests - sent + network.accepted - accepted

    network.black_hole()
    yield count
    await network.heal()
    network.cut()  # else it takes block + command_timeout until all is noticed, which other tests wait for


AS_APP = ("--user", "app", "on", ">secret", "~*", "&*", "+@all")
"""A user whose password can be changed, and who is there again after a restart."""
IMPATIENT = {"command_timeout": 0.2, "block_ms": 100}
"""So that silence is noticed, and noticed again, within the time of the count."""


@pytest.mark.parametrize(
    ("trouble", "settings"),
    [
        pytest.param(_readonly, {}, id="READONLY"),
        pytest.param(_misconf, {}, id="MISCONF"),
        pytest.param(_oom, {}, id="OOM"),
        pytest.param(_wrong_password, {}, id="wrong-password"),
        pytest.param(_loading, {}, id="LOADING"),
        pytest.param(_paused(only_writes=False), {}, id="CLIENT-PAUSE-ALL"),
        pytest.param(_paused(only_writes=True), {}, id="CLIENT-PAUSE-WRITE"),
        pytest.param(_nobody_there, {}, id="connection-refused"),
        pytest.param(_silence, {}, id="black-hole"),
        pytest.param(_silence, IMPATIENT, id="black-hole-impatient"),
    ],
)
async def test_p16_never_more_than_20_commands_a_second_while_something_is_wrong(
    new_server: NewServer, trouble: Trouble, settings: dict[str, object]
) -> None:
    """Counted over three seconds, with one subscription; and then it goes on by itself."""
    loop = asyncio.get_running_loop()
    server = new_server(*SLOW_START, *AS_APP, appendonly=trouble is _loading)
    got: list[int] = []
    async with client(server.url) as redis, proxy(server.port) as network:
        url = network.url.replace("127.0.0.1", "app:secret@127.0.0.1")
        broker = Broker(url, group="g", settings=Settings(**settings))  # type: ignore[arg-type]

        @broker.handler("orders")
        async def handle(order: Order) -> None:
            got.append(order.number)

        async with broker:
            await broker.publish("orders", Order(1))
            await until(lambda: broker.status[0].settled == 1)
            began = loop.time()
            async with trouble(server, redis, network) as count:
                await asyncio.sleep(3)  # the time over which is counted
                counted, took = await count(), loop.time() - began
            print(f"{counted} in {took:.1f} s")
            assert counted / took <= 20
            await redis.xadd("orders", {"event_type": "Order", "payload": '{"number":2}'})
            await until(lambda: 2 in got, 30 if not settings else 10)


async def test_p16_never_more_than_20_commands_a_second_also_when_many_wait_to_write(new_server: NewServer) -> None:
    """Ten failures to write down, and twenty publishers who wait: they take turns to ask, and nobody loses anything."""
    server = new_server()
    began, go_on = asyncio.Event(), asyncio.Event()
    handled: Counter[int] = Counter()
    broker = Broker(server.url, group="g")

    @broker.handler("orders", concurrency=10, retry=SOON)
    async def handle(order: Order, delivery: Delivery) -> None:
        if broker.status[0].running == 10:
            began.set()
        await go_on.wait()
        if order.number < 10 and not delivery.failures:
            raise ValueError("once")
        handled[order.number] += 1

    async with client(server.url) as redis, broker:
        await broker.publish_many("orders", [Order(number) for number in range(10)])
        await began.wait()
        async with read_only(redis):
            sent = await _scripts_sent(redis)
            go_on.set()
            publishing = [asyncio.create_task(broker.publish("orders", Order(10 + number))) for number in range(20)]
            await until(lambda: _has_sent(sent + 10, redis))  # each of them has to find out once
            count = await _commands_since_now(redis)
            await asyncio.sleep(3)  # the time over which is counted
            counted = await count()
        await asyncio.gather(*publishing)
        await until(lambda: set(handled) == set(range(30)))
        print(f"{counted} in 3 s")
        assert counted / 3 <= 20

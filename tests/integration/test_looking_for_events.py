"""The commands that look for one event: show and find."""

from __future__ import annotations

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from redis_streams_aio import Broker, DeadLetters, Delivery, Reject, RetryPolicy
from redis_streams_aio.testing.waiting import until
from tests.events import Order
from tests.integration.test_cli import invoke
from tests.terminal import SIZES, shown

# -- show -------------------------------------------------------------------------------------------------------


async def story(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = await invoke("show", "orders", *arguments, "--json")
    assert (done.exit_code, done.stderr) == (code, "")
    found: dict[str, Any] = json.loads(done.stdout)
    found["groups"] = {group.pop("group"): group for group in found["groups"]}
    return found


@pytest.mark.parametrize("size", SIZES)
async def test_p12_p19_show_tells_the_state_of_an_event_in_each_group(
    url: str, redis: Redis, size: tuple[int, int]
) -> None:
    """One that waits for its retry, one that gave up, one that handled it, and one that has not come to it."""
    broker = Broker(url)
    handled: list[Order] = []

    @broker.handler("orders", group="waiting", retry=RetryPolicy(base=3600, cap=3600, jitter=False))
    async def wait(order: Order) -> None:
        raise ValueError("no such customer")

    @broker.handler("orders", group="rejecting")
    async def reject(order: Order) -> None:
        raise Reject("nothing to bill")

    @broker.handler("orders", group="remembering", deduplicate=600)
    async def handle(order: Order) -> None:
        handled.append(order)

    async with broker:
        entry_id = await broker.publish("orders", Order(7), key="ada", event_id="o-7", headers={"trace": "t-1"})
        await until(lambda: redis.exists("{orders}:rejecting:dead", "{orders}:waiting:failures"))
        await until(lambda: redis.get("{orders}:remembering:done:o-7"))
        await redis.xgroup_create("orders", "behind", "0")
        await redis.xgroup_create("orders", "later", "$")
        await until(lambda: _is_told(url, entry_id))
        found = await story(entry_id, "--url", url)
        seen = await shown("show", "orders", entry_id, "--url", url, size=size)
    event = found["event"]
    assert found["exists"]
    assert (event["event_type"], event["key"], event["event_id"]) == ("Order", "ada", "o-7")
    assert (event["headers"], event["payload"]["number"]) == ({"trace": "t-1"}, 7)
    groups = found["groups"]
    assert {name: group["state"] for name, group in groups.items()} == {
        "behind": "waits",
        "later": "settled",
        "rejecting": "dead letter",
        "remembering": "settled",
        "waiting": "waiting",
    }
    assert [name for name, group in groups.items() if group["remembered"]] == ["remembering"]
    assert (groups["waiting"]["failures"], groups["waiting"]["error"]) == (1, "ValueError: no such customer")
    [letter] = groups["rejecting"]["dead_letters"]
    assert (groups["rejecting"]["reason"], groups["rejecting"]["error"]) == ("rejected", "nothing to bill")
    assert seen.process.returncode == 0
    assert f"redis-streams-aio dead-letters show orders rejecting {letter}" in " ".join(seen.text.split())
    assert {f"orders {entry_id}", "  key  ada", "  header trace  t-1", "behind       not delivered yet"} <= {
        *seen.lines
    }


async def _is_told(url: str, entry_id: str) -> bool:
    """Whether all groups that run have come to the event's end."""
    groups = (await story(entry_id, "--url", url))["groups"]
    return bool(groups["waiting"]["error"] and groups["remembering"]["state"] == "settled")


async def test_p12_show_tells_of_replays_in_place_and_as_copies(url: str, redis: Redis) -> None:
    broker = Broker(url, group="billing")
    tries: list[str] = []

    @broker.handler("orders")
    async def reject(order: Order, delivery: Delivery) -> None:
        tries.append(delivery.event.id)
        raise Reject("nothing to bill")

    async with broker:
        entry_id = await broker.publish("orders", Order(1))
        letters = DeadLetters(broker.connection, "orders", "billing")
        await until(letters.count)
        await letters.replay()
        await until(lambda: len(tries) == 2)
        await until(letters.count)
        [group] = (await story(entry_id, "--url", url))["groups"].values()
        assert (group["state"], group["replays"]) == ("dead letter", 1)
        await redis.xtrim("orders", maxlen=0)
        await letters.replay()
        await until(lambda: len(tries) == 3)
        await until(letters.count)
        copy = await story((await redis.xrange("orders"))[-1][0], "--url", url)
        assert (copy["replayed_for"], copy["replay_of"]) == ("billing", entry_id)
        assert (copy["event"]["event_type"], copy["event"]["payload"]["number"]) == ("Order", 1)
        assert (copy["groups"]["billing"]["state"], copy["groups"]["billing"]["replays"]) == ("dead letter", 2)
        first = await story(entry_id, "--url", url)
        assert (first["exists"], first["event"], first["groups"]["billing"]["state"]) == (False, None, "dead letter")


async def test_show_of_an_event_that_is_not_there_says_so(url: str, redis: Redis) -> None:
    entry_id = await redis.xadd("orders", {"a": "1"})
    await redis.xgroup_create("orders", "billing", "0")
    found = await story("1-1", "--url", url, code=1)
    assert (found["exists"], found["groups"]["billing"]["state"]) == (False, "waits")
    told = await invoke("show", "orders", "1-1", "--url", url)
    assert (told.exit_code, "no such entry is in the stream" in told.stdout) == (1, True)
    assert (await story(entry_id, "--url", url))["event"]["fields"] == {"a": "1"}
    other = await invoke("show", "orders", "o-7", "--url", url)
    assert (other.exit_code, "`find` looks for other ids" in other.stderr) == (2, True)
    nowhere = await invoke("show", "clicks", "1-1", "--url", url)
    assert (nowhere.exit_code, nowhere.stderr) == (1, "Error: there is no stream 'clicks'\n")


# -- find -------------------------------------------------------------------------------------------------------


async def published(redis: Redis, count: int) -> list[str]:
    async with redis.pipeline(transaction=False) as pipeline:
        for number in range(count):
            fields = {
                "event_type": "Odd" if number % 2 else "Even",
                "payload": f'{{"number": {number}, "name": "Zoë"}}',
            }
            pipeline.xadd(
                "orders", {**fields, "key": f"k{number % 5}", "event_id": f"e-{number}", "h:trace": f"t{number}"}
            )
        return [str(each) for each in await pipeline.execute()]


async def found(*arguments: str) -> tuple[list[str], str]:
    """The ids that were found, and what was told."""
    done = await invoke("find", "orders", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    return [json.loads(line)["id"] for line in done.stdout.splitlines()], done.stderr.strip()


async def test_find_finds_by_each_property_and_by_several(url: str, redis: Redis) -> None:
    ids = await published(redis, 20)
    assert (await found("--event-id", "e-3", "--url", url))[0] == [ids[3]]
    assert (await found("--type", "Odd", "--url", url))[0] == ids[1::2][::-1]
    assert (await found("--key", "k2", "--oldest-first", "--url", url))[0] == ids[2::5]
    assert (await found("--header", "trace=t7", "--url", url))[0] == [ids[7]]
    assert (await found("--text", "zOË", "--type", "Even", "--key", "k4", "--url", url))[0] == [ids[14], ids[4]]
    assert await found("--text", "nobody", "--url", url) == ([], "0 found in 20 events: all there are")


async def test_find_stops_and_goes_on_where_it_stopped(url: str, redis: Redis) -> None:
    """In both directions, at the number of matches and at the number of events that are looked at."""
    ids = await published(redis, 1_201)
    for way, wanted in ((["--oldest-first"], ids[1::2]), ([], ids[1::2][::-1])):
        for bounds in (["--count", "100"], ["--limit", "333", "--count", "1000"]):
            seen: list[str] = []
            more: list[str] = []
            while True:
                some, told = await found("--type", "Odd", *bounds, *way, *more, "--url", url)
                seen += some
                if "all there are" in told:
                    break
                more = ["--from", told.partition("--from '")[2].partition("'")[0]]
                assert (" --oldest-first" in told) == bool(way)
            assert seen == wanted


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "say what to find"),
        (["--key", "k", "--from", "yesterday"], "is not an entry id"),
        (["--header", "trace"], "NAME=VALUE"),
        (["--key", "k", "--count", "0"], "--count"),
    ],
)
async def test_find_used_wrongly_ends_with_2(arguments: list[str], problem: str) -> None:
    result = await invoke("find", "orders", *arguments)
    assert result.exit_code == 2
    assert problem in result.stderr


async def test_find_in_a_stream_that_is_not_there_says_so(url: str) -> None:
    done = await invoke("find", "orders", "--key", "k", "--url", url)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "stream 'orders' is empty or does not exist\n")


async def test_find_finds_in_what_others_wrote(url: str, redis: Redis) -> None:
    entry_id = await redis.xadd("orders", {"__data__": '{"order": 17}'})
    assert (await found("--text", '"order": 17', "--url", url))[0] == [entry_id]

"""The demo: it handles every flight, checks it, cleans up after itself, and says when something is wrong."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from redis_streams_aio import LagReport
from redis_streams_aio.cli.demo import verdict
from redis_streams_aio.cli.demo.flights import FLIGHTS, failures_of, is_rejected, load
from redis_streams_aio.cli.demo.handlers import GROUPS
from redis_streams_aio.cli.demo.tally import Logbook, Tally
from redis_streams_aio.testing.asking import ask
from redis_streams_aio.testing.clusters import Cluster
from redis_streams_aio.testing.waiting import until
from tests.integration.test_cli import invoke, process, started


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder in which a socket's path is not too long, whatever user and run pytest's own folders are named for."""
    with tempfile.TemporaryDirectory(prefix="rsa-") as folder:
        yield Path(folder)


async def test_the_demo_handles_every_flight_on_an_embedded_server(short_path: Path) -> None:
    done = await process("demo", "--events", "2000", TMPDIR=str(short_path))
    assert (await done.ended(60), done.err) == (0, [])
    assert done.out[-1] == "Checked: every group handled every flight exactly as expected."
    rows = {line.split()[0]: line.split() for line in done.out if line.split()[:1] and line.split()[0] in GROUPS}
    flights = load(2_000)
    handled = {group: row[1] for group, row in rows.items()}
    assert handled == dict.fromkeys(GROUPS, "2,000") | {"tickets": f"{2_000 - sum(map(is_rejected, flights)):,}"}
    assert rows["tickets"][7:9] == [str(sum(map(failures_of, flights))), str(sum(map(is_rejected, flights)))]
    assert int(rows["mail"][9]) > 0
    assert any(line.startswith("Order: the flights of each of") for line in done.out)
    assert any(": published " in line and "lag" in line for line in done.out)
    assert list(short_path.iterdir()) == []


async def test_the_demo_leaves_nothing_in_a_redis_that_it_was_given(url: str, redis: Redis) -> None:
    await redis.set("mine", "1")
    done = await process("demo", "--events", "300", "--url", url)
    assert await done.ended(60) == 0
    assert await redis.keys("*") == ["mine"]


async def test_the_demo_runs_on_a_cluster_and_leaves_nothing_there(cluster: Cluster) -> None:
    done = await process("demo", "--events", "300", "--url", cluster.url)
    assert (await done.ended(60), done.err) == (0, [])
    assert done.out[-1] == "Checked: every group handled every flight exactly as expected."
    assert [ask(primary, "DBSIZE") for primary in cluster.primaries] == [0, 0, 0]


async def test_a_single_flight_is_enough(url: str) -> None:
    done = await process("demo", "--events", "1", "--url", url)
    assert (await done.ended(60), done.out[-1][:8]) == (0, "Checked:")


async def test_in_a_terminal_there_are_bars() -> None:
    done = await process("demo", "--events", "100", "--url", "memory://", FORCE_COLOR="1", COLUMNS="100")
    assert await done.ended(60) == 0
    text = "\n".join(done.out)
    assert "100/100" in text
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in text


async def test_a_signal_ends_the_demo_and_its_server(short_path: Path) -> None:
    async with started("demo", TMPDIR=str(short_path)) as running:
        await until(lambda: any(": published " in line for line in running.out), 30)
        assert list(short_path.glob("*/valkey.sock")) != []
        running.process.send_signal(signal.SIGTERM)
        assert (await running.ended(), running.err) == (130, [])
    assert list(short_path.iterdir()) == []


async def test_a_signal_ends_the_demo_and_its_keys(url: str, redis: Redis) -> None:
    async with started("demo", "--url", url) as running:
        await until(lambda: any(": published " in line for line in running.out), 30)
        assert await redis.keys("*") != []
        running.process.send_signal(signal.SIGINT)
        assert (await running.ended(), running.err) == (130, [])
    assert await redis.keys("*") == []


async def test_a_redis_that_is_down_is_one_line_and_1() -> None:
    done = await process("demo", "--url", "redis://127.0.0.1:1/0")
    assert await done.ended() == 1
    assert [line[:7] for line in done.err] == ["Error: "]


async def test_what_is_not_as_expected_is_said_and_1(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "failures_of", lambda _: 1)
    result = await invoke("demo", "--events", "100", "--url", url)
    assert result.exit_code == 1
    assert "WRONG: tickets: retries:" in result.stdout
    assert "Checked:" not in result.stdout


async def test_more_flights_than_there_are_is_wrong_usage() -> None:
    assert (await invoke("demo", "--events", "6100")).exit_code == 2
    assert (await invoke("demo", "--events", "0")).exit_code == 2


def test_all_flights_are_there_in_order() -> None:
    flights = load(FLIGHTS + 1)
    assert len(flights) == FLIGHTS
    assert [flight.position for flight in flights] == list(range(FLIGHTS))
    assert [flight.scheduled for flight in flights] == sorted(flight.scheduled for flight in flights)


# -- the verdict ------------------------------------------------------------------------------------------------


def all_well() -> verdict.Outcome:
    """What comes out when all is well."""
    flights = load(2_000)
    rejected = [flight.position for flight in flights if is_rejected(flight)]
    tallies = {group: Tally(group) for group in GROUPS}
    logbook = Logbook()
    for flight in flights:
        logbook.begin(flight)
        logbook.end(flight)
    for tally in tallies.values():
        tally.handled = Counter(flight.position for flight in flights)
    for position in rejected:
        del tallies["tickets"].handled[position]
    tallies["tickets"].retried = sum(map(failures_of, flights))
    tallies["mail"].reclaimed = 25
    return verdict.Outcome(
        flights=flights,
        tallies=tallies,
        logbook=logbook,
        dead_letters={group: rejected if group == "tickets" else [] for group in GROUPS},
        abandoned=25,
        lag=[LagReport("flights", group, 0, 0, None) for group in GROUPS],
    )


def a_flight_is_missing(outcome: verdict.Outcome) -> None:
    del outcome.tallies["board"].handled[17]


def a_flight_is_handled_twice(outcome: verdict.Outcome) -> None:
    outcome.tallies["mail"].handled[17] += 1


def a_rejected_flight_is_handled(outcome: verdict.Outcome) -> None:
    outcome.tallies["tickets"].handled[outcome.dead_letters["tickets"][0]] += 1


def a_dead_letter_is_missing(outcome: verdict.Outcome) -> None:
    outcome.dead_letters["tickets"].pop()  # type: ignore[attr-defined]  # a list here


def a_retry_is_missing(outcome: verdict.Outcome) -> None:
    outcome.tallies["tickets"].retried -= 1


def a_retry_was_not_expected(outcome: verdict.Outcome) -> None:
    outcome.tallies["board"].retried += 1


def a_flight_was_not_reclaimed(outcome: verdict.Outcome) -> None:
    outcome.tallies["mail"].reclaimed -= 1


def flights_of_an_aircraft_are_swapped(outcome: verdict.Outcome) -> None:
    next(places for places in outcome.logbook.positions.values() if len(places) > 1).reverse()


def flights_of_an_aircraft_overlap(outcome: verdict.Outcome) -> None:
    outcome.logbook.begin(outcome.flights[-1])
    outcome.logbook.begin(outcome.flights[-1])


def a_lag_remains(outcome: verdict.Outcome) -> None:
    outcome.lag[0] = LagReport("flights", "board", 3, 0, 1.0)  # type: ignore[index]  # a list here


def an_entry_remains_pending(outcome: verdict.Outcome) -> None:
    outcome.lag[0] = LagReport("flights", "board", 0, 1, 1.0)  # type: ignore[index]  # a list here


def a_lag_is_unknown(outcome: verdict.Outcome) -> None:
    outcome.lag[0] = LagReport("flights", "board", None, 0, 1.0)  # type: ignore[index]  # a list here


def a_lag_was_not_measured(outcome: verdict.Outcome) -> None:
    outcome.lag.pop()  # type: ignore[attr-defined]  # a list here


def test_the_verdict_is_content_when_all_is_well() -> None:
    assert verdict.problems(all_well()) == []


@pytest.mark.parametrize(
    ("mishap", "said"),
    [
        (a_flight_is_missing, "board: 1 flights were not handled: 17"),
        (a_flight_is_handled_twice, "mail: 1 flights were handled more than once: 17"),
        (a_rejected_flight_is_handled, "tickets: 1 flights were handled that must not be: 1423"),
        (a_dead_letter_is_missing, "tickets: dead letters: [1423, 1455, 1856], where [1423, 1455, 1856, 1997] was"),
        (a_retry_is_missing, "tickets: retries: "),
        (a_retry_was_not_expected, "board: retries: 1, where 0 was expected"),
        (a_flight_was_not_reclaimed, "mail: reclaimed: 24, where 25 was expected"),
        (flights_of_an_aircraft_are_swapped, "aircraft: 1 aircraft had their flights out of order: "),
        (flights_of_an_aircraft_overlap, "aircraft: 1 flights began before the one ahead of them had ended"),
        (a_lag_remains, "board: at the end its lag is 3, and 0 are pending"),
        (an_entry_remains_pending, "board: at the end its lag is 0, and 1 are pending"),
        (a_lag_is_unknown, "board: at the end its lag is None, and 0 are pending"),
        (a_lag_was_not_measured, "mail: its lag was not measured"),
    ],
)
def test_the_verdict_finds_every_mishap(mishap: Callable[[verdict.Outcome], None], said: str) -> None:
    outcome = all_well()
    mishap(outcome)
    assert any(problem.startswith(said) for problem in verdict.problems(outcome)), verdict.problems(outcome)

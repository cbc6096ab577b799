"""No stage of an event costs more than its budget, and no event needs a task, a timer or a turn of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from redis import Redis

from redis_streams_aio import Broker

from . import callgrind, table
from .counting import CountsRequests
from .measure import PYTHON, Figures, measure
from .stages import STAGES, by_stage, stage_of

EVENTS = 1_000
ROUNDS = 4
SELDOM = 0.5
"""Times that something may be asked of the event loop per event: well below once, and above what a busy machine causes,
where turns end early and wake all workers. The budget of the loop, on canned replies, is exact."""


# -- on canned replies: the same at each run ----------------------------------------------------------------------


def test_no_stage_costs_more_than_its_budget() -> None:
    measured, budgets = measure(), table.load()
    assert list(table.problems_of_the_loop(measured, budgets)) == []
    if budgets.python != PYTHON:
        pytest.skip(f"bytecode instructions are those of Python {budgets.python}; what the loop is asked for is held")
    assert list(table.problems(measured, budgets)) == []


@pytest.mark.timeout(650)
def test_no_way_costs_more_machine_instructions_than_its_budget() -> None:
    budgets = table.load()
    if not callgrind.is_installed():
        pytest.skip("machine instructions are counted by valgrind: apt-get install valgrind")
    if budgets.python != PYTHON:
        pytest.skip(f"machine instructions are those of Python {budgets.python}")
    assert list(table.problems_of_the_machine(callgrind.measure(), budgets)) == []


def test_the_page_shows_the_table() -> None:
    page = table.PAGE.read_text("utf-8")
    assert page == table.filled(page, table.shown(table.load())), table.RENEW


# -- on a real server ---------------------------------------------------------------------------------------------


class CountingLoop(CountsRequests, asyncio.SelectorEventLoop):
    """The event loop of asyncio, counting."""


class Numbered(msgspec.Struct):
    number: int
    customer: str


@pytest.mark.parametrize(
    "options",
    [{}, {"concurrency": 100}, {"concurrency": 100, "key": lambda event: event.customer}, {"batch": 100}],
    ids=["one by one", "100 at once", "per key", "batches"],
)
def test_an_event_needs_no_task_timer_future_or_suspension_of_its_own(url: str, options: Mapping[str, Any]) -> None:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        asked = runner.run(asked_of_the_loop(url, options))
    assert {name: count for name, count in asked.items() if count > EVENTS * SELDOM} == {}
    assert asked["tasks"] <= 5  # of duties, which measure lag or keep the checkpoint meanwhile


async def asked_of_the_loop(url: str, options: Mapping[str, Any]) -> Counter[str]:
    """What the event loop is asked for while waiting events are handled, in the best of some rounds.

    A busy machine ends turns and wakes workers in between; what an event needs, it needs in each round.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    broker, handled, wanted, done = Broker(url, group="g"), 0, 0, loop.create_future()
    rounds = []

    def count(events: int) -> None:
        nonlocal handled
        handled += events
        if handled == wanted:
            done.set_result(None)

    async def one(event: Numbered) -> None:
        count(1)

    async def many(events: list[Numbered]) -> None:
        count(len(events))

    broker.handler("numbers", **options)(many if "batch" in options else one)
    async with broker:
        for each in range(1 + ROUNDS):
            wanted, done = wanted + EVENTS, loop.create_future()
            fill(url)  # the loop stands still meanwhile
            loop.asked.clear()
            await done
            rounds += [loop.asked.copy()] if each else []  # in the first one reads learn how much to ask for
    return Counter({name: min(asked[name] for asked in rounds) for name in table.LOOP})


def fill(url: str) -> None:
    """Add the events at once."""
    with Redis.from_url(url) as client, client.pipeline() as pipeline:
        for number in range(EVENTS):
            event = Numbered(number, f"c-{number % 100}")
            pipeline.xadd("numbers", {"event_type": "Numbered", "payload": msgspec.json.encode(event)})
        pipeline.execute()


# -- the table itself ---------------------------------------------------------------------------------------------

BUDGETS = table.Budgets(
    "3.11", table.BUILD, {"consume: so": Figures({"work": 100.0}, {"timers": 0.01}, {"hiredis": 2_000.0})}
)


@pytest.mark.parametrize(("cost", "told"), [(88, 0), (100, 0), (105, 0), (106, 1), (87, 1), (0, 1)])
def test_a_stage_is_told_of_when_it_is_above_or_far_below_its_budget(cost: float, told: int) -> None:
    assert len(list(table.problems({"consume: so": Figures({"work": cost})}, BUDGETS))) == told


def test_a_stage_without_a_budget_is_told_of() -> None:
    [problem] = table.problems({"consume: so": Figures({"work": 100, "take in": 7.0})}, BUDGETS)
    assert problem.startswith("consume: so, take in: 7 is more than the budget of 0")


def test_a_timer_for_each_event_is_told_of() -> None:
    [problem] = table.problems_of_the_loop({"consume: so": Figures(loop={"timers": 1.01})}, BUDGETS)
    assert problem == "consume: so: 1.01 timers set, budget 0.01"


@pytest.mark.parametrize(("build", "most"), [(table.BUILD, 2_062), ("another", 2_202)])
def test_machine_instructions_of_another_build_may_differ_more(build: str, most: int) -> None:
    budgets = msgspec.structs.replace(BUDGETS, build=build)
    assert list(table.problems_of_the_machine({"consume: so": {"hiredis": most}}, budgets)) == []
    assert len(list(table.problems_of_the_machine({"consume: so": {"hiredis": most + 1}}, budgets))) == 1


def test_a_module_belongs_to_the_longest_name_of_a_stage() -> None:
    assert stage_of("consumer.work.schedule") == "put in order"
    assert stage_of("consumer.work.pool") == "work"
    assert stage_of("consumer.workshop") == "take in"
    assert by_stage({"consumer.work.pool": 1.04, "consumer.work.single": 2, "nowhere": 0.2}) == {"work": 3.0}


def test_every_name_of_a_stage_is_there() -> None:
    package = table.ROOT / "redis_streams_aio"
    paths = {name: package.joinpath(*name.split(".")) for name in STAGES}
    assert [name for name, path in paths.items() if not (path.is_dir() or path.with_suffix(".py").exists())] == []

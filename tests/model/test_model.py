"""Any order of steps of consumers, operators and disasters, against a real server: see `books` and `machine`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from redis_streams_aio.testing.servers import Server
from tests.model.machine import Machine, machine_on
from tests.model.processes import Hurried

SEARCHING = settings().max_examples > 1000
STEPS = 40
EXAMPLES = settings().max_examples if SEARCHING else 35


@pytest.fixture
def machine(server: Server) -> Iterator[type[Machine]]:
    loop = Hurried()
    asyncio.set_event_loop(loop)
    redis = Redis(port=server.port, protocol=2)
    yield machine_on(server.url, loop, redis)
    redis.close()
    loop.close()
    asyncio.set_event_loop(None)


@pytest.mark.timeout(0 if SEARCHING else 300)
def test_nothing_is_lost_whatever_happens(machine: type[Machine]) -> None:
    """P1 to P5, P9, P10, P12, P17, P18, P20, P22, P25, P27, over thousands of steps in any order."""
    began = time.monotonic()
    Machine.steps = 0
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        took = time.monotonic() - began
        print(f"{Machine.steps} steps in {took:.1f} s, {Machine.steps / took:.0f} a second")


# -- what the machine found, step by step -------------------------------------------------------------------------

Call = tuple[str, dict[str, Any]]


def call(name: str, **arguments: Any) -> Call:
    return name, arguments


A, B = {"pick": 0}, {"pick": 1}
"""The two processes, as long as both are busy with the same."""
ONE, TWO = call("publish", count=1, event_id=None), call("publish", count=2, event_id=None)
READ, READ_TWO = call("fetch", **A, room=1), call("fetch", **A, room=2)
CUT = call("cut", pick=1, how="delete")
FIRST = {**A, "which": 0}
FAIL = call("retry", **FIRST, delay=0.0, wish=False)
GIVE_UP, HANDLE = call("give_up", **FIRST), call("ack", **FIRST)
FLUSH, SAVE, STOP = call("flush", **A), call("save_checkpoint", **A), call("stop", **A, release=True)
REPLAY = call("replay", group="g", pick=0, everything=True)
RUN_OUT = call("leases_run_out", group="g", pick=0, everything=True)
LOOKS_AROUND, ALSO = call("fetch", **A, room=1), call("fetch", **B, room=1)
TAKE_OVER, TAKE_BACK = call("reclaim", **B, room=1), call("reclaim", **A, room=1)
HIS = {**B, "which": 0}

FOUND: dict[str, tuple[dict[str, Any], list[Call]]] = {
    "an entry that was deleted while held is reported when it is released": ({}, [TWO, READ_TWO, CUT, STOP]),
    "the failure record of an entry that was deleted goes when it is released": ({}, [TWO, READ_TWO, FAIL, CUT, STOP]),
    "the failure record of an entry that was deleted goes when it is recovered": (
        {},
        [ONE, READ, FAIL, call("crash", **A), CUT, call("start", pick=0, stable=True), call("fetch", **B, room=1)],
    ),
    "entries that were deleted do not hide the ones behind them from who recovers its own": (
        {},
        [TWO, READ_TWO, call("crash", **A), CUT, call("start", pick=0, stable=True), call("fetch", **B, room=1)],
    ),
    "the history of a replayed entry goes when it was deleted": (
        {},
        [TWO, READ_TWO, GIVE_UP, REPLAY, CUT, LOOKS_AROUND, TAKE_BACK],
    ),
    "a replay takes the stored checkpoint back": ({}, [TWO, READ_TWO, GIVE_UP, HANDLE, FLUSH, SAVE, SAVE, REPLAY]),
    "what was replayed is not lost with the group": (
        {},
        [
            *(TWO, READ_TWO, GIVE_UP, HANDLE, FLUSH, SAVE, SAVE, REPLAY),
            *(call("disaster", what="group", group="g"), LOOKS_AROUND, LOOKS_AROUND),
        ],
    ),
    "a checkpoint that was taken back goes on": (
        {},
        [*(TWO, READ_TWO, GIVE_UP, HANDLE, FLUSH, SAVE, SAVE, REPLAY), *(TAKE_BACK, HANDLE, FLUSH, SAVE, SAVE)],
    ),
    "a consumer that joined a group with a checkpoint remembers it": (
        {"starts": ("$", "$")},
        [call("disaster", what="everything", group="g"), ONE, call("fetch", **B, room=1), call("fetch", **B, room=1)],
    ),
    "failures are counted also by a consumer that lost the entry and has it again": (
        {},
        [
            *(ONE, READ, RUN_OUT, ALSO, TAKE_OVER, call("retry", **HIS, delay=0.0, wish=False)),
            *(RUN_OUT, TAKE_BACK, FAIL),
        ],
    ),
    "a lost delivery writes no failure, though its consumer has the entry again": (
        {},
        [ONE, READ, RUN_OUT, ALSO, TAKE_OVER, call("renew", **A), RUN_OUT, TAKE_BACK, FAIL],
    ),
    "failures outlive a group that was lost with the consumer that had the entry": (
        {},
        [
            *(ONE, READ, FAIL, call("crash", **A)),
            *(call("disaster", what="group", group="g"), LOOKS_AROUND, LOOKS_AROUND),
        ],
    ),
    "a handler that goes on, and has its entry again, writes its failure": (
        {},
        [
            *(ONE, ALSO, RUN_OUT, READ, TAKE_BACK, FAIL, call("renew", **B)),
            *(RUN_OUT, TAKE_OVER, call("retry", **HIS, delay=0.0, wish=False)),
        ],
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_it_found_before(machine: type[Machine], name: str) -> None:
    options, calls = FOUND[name]
    stage = {"starts": ("0", "0"), "store": "redis", "third": "g", "before": 1, "names": (True, True), **options}
    one = machine()
    try:
        one.begin(**stage)
        one.check()
        if "starts" not in options:  # all begin with nothing to do
            for step in (READ, HANDLE, FLUSH):
                getattr(one, step[0])(**step[1])
        for method, arguments in calls:
            getattr(one, method)(**arguments)
            one.check()
    finally:
        one.teardown()

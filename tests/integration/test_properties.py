"""Properties of rules that need a real server: the checkpoint, the order of ids beside it (P18), reclaiming (P2)."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from redis_streams_aio import Connection
from redis_streams_aio.checkpoint import current
from redis_streams_aio.connection.steps.checkpoints import CHECKPOINT
from redis_streams_aio.connection.steps.replaying import REPLAY
from redis_streams_aio.consumer.holdings import Holdings, Shared
from redis_streams_aio.consumer.intake.abandoned import Reclaimer
from redis_streams_aio.events import entry_ids
from redis_streams_aio.handlers.subscription_options import SubscriptionOptions
from redis_streams_aio.telemetry import SILENT

ids = st.tuples(st.integers(1, 2**48), st.sampled_from([0, 1, 9, 10, 2**53 + 1, 2**63, 2**64 - 2]))
on_a_server = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_a_server
@given(st.sets(ids, min_size=1, max_size=12), st.data())
async def test_p18_a_group_made_at_the_checkpoint_misses_nothing_and_repeats_as_little_as_can_be(
    connection: Connection, entries: set[tuple[int, int]], data: st.DataObject
) -> None:
    """Whatever is delivered, to whom, and settled in which order; also where pending entries were deleted."""
    stream = [f"{milliseconds}-{sequence}" for milliseconds, sequence in sorted(entries)]
    delivered = stream[: data.draw(st.integers(0, len(stream)), label="delivered")]
    settled = {entry for entry in delivered if data.draw(st.booleans(), label="settled")}
    deleted = {entry for entry in stream if data.draw(st.integers(0, 4), label="deleted") == 0}
    await connection.call("DEL", "s")
    for entry in stream:
        await connection.call("XADD", "s", entry, "a", "b")
    await connection.call("XGROUP", "CREATE", "s", "g", "0")
    for entry in delivered:
        consumer = data.draw(st.sampled_from("xy"), label="consumer")
        await connection.call("XREADGROUP", "GROUP", "g", consumer, "COUNT", 1, "STREAMS", "s", ">")
        if entry in settled:
            await connection.call("XACK", "s", "g", entry)
    if deleted:
        await connection.call("XDEL", "s", *deleted)

    checkpoint = entry_ids.parse(await current(connection, "s", "g"))

    unsettled = [entry for entry in stream if entry not in settled]
    assert all(entry_ids.parse(entry) > checkpoint for entry in unsettled), "it ran ahead of an unsettled entry"
    lowest_pending = next((entry for entry in delivered if entry not in settled), None)
    again = [entry for entry in settled if entry_ids.parse(entry) > checkpoint]
    if lowest_pending is None:
        assert again == [], "nothing is handled twice where nothing is pending"
    else:
        assert min(map(entry_ids.parse, [*again, lowest_pending])) == entry_ids.parse(lowest_pending)


@on_a_server
@given(ids, ids)
@example((7, 2**53), (7, 2**53 + 1))
@example((7, 2**53 + 1), (7, 2**53))
@example((7, 2**64 - 1), (7, 2**64 - 2))
@example((7, 9), (7, 10))
@example((9, 5), (10, 5))
async def test_p18_the_script_of_replays_orders_ids_as_we_do(
    connection: Connection, one: tuple[int, int], other: tuple[int, int]
) -> None:
    """It compares text digit by digit, as Lua's numbers are too short for some sequences."""
    begin = REPLAY.source.index("local function beyond")
    function = REPLAY.source[begin : REPLAY.source.index("\nend\n", begin) + 5]
    texts = [f"{milliseconds}-{sequence}" for milliseconds, sequence in (one, other)]
    script = function + "return beyond(ARGV[1], ARGV[2]) and 1 or 0"
    assert await connection.call("EVAL", script, 0, *texts) == (one > other)
    bare = entry_ids.parse(str(one[0]))
    assert await connection.call("EVAL", script, 0, str(one[0]), texts[1]) == (bare > other)
    assert await connection.call("EVAL", script, 0, "no id", texts[1]) == 0


@on_a_server
@given(ids)
@example((0, 0))
@example((5, 0))
@example((1000, 0))
@example((7, 2**53 + 1))
@example((7, 10**19))
async def test_p18_the_script_of_checkpoints_knows_the_id_before_as_we_do(
    connection: Connection, one: tuple[int, int]
) -> None:
    begin, end = CHECKPOINT.source.index("local function less_one"), CHECKPOINT.source.index("local lowest")
    script = CHECKPOINT.source[begin:end] + "return previous(ARGV[1])"
    text = f"{one[0]}-{one[1]}"
    assert await connection.call("EVAL", script, 0, text) == entry_ids.previous(text).encode()


@pytest.mark.parametrize("room", [1, 7, 100])
async def test_p2_what_a_crash_left_behind_many_that_are_held_is_found_at_the_first_look(
    connection: Connection, room: int
) -> None:
    """However little room there is: a slow worker must not take several intervals to come past what others hold."""
    held = 1500
    for number in range(1, held + 2):
        await connection.call("XADD", "s", f"{number}-0", "a", "b")
    await connection.call("XGROUP", "CREATE", "s", "g", "0")
    await connection.call("XREADGROUP", "GROUP", "g", "alive", "COUNT", held, "STREAMS", "s", ">")
    await connection.call("XREADGROUP", "GROUP", "g", "crashed", "COUNT", 1, "STREAMS", "s", ">")
    await connection.call("XCLAIM", "s", "g", "crashed", 0, f"{held + 1}-0", "IDLE", 60_000, "JUSTID")
    holdings = Holdings(Shared(connection, SILENT), SubscriptionOptions(stream="s", group="g", lease=30.0), "me")
    taken = [delivery async for part in Reclaimer(holdings).run(room) for delivery in part]
    assert [delivery.raw_id.decode() for delivery in taken] == [f"{held + 1}-0"]

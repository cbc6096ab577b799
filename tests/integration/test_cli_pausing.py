"""`pause` and `resume` of the command line (P28)."""

from __future__ import annotations

import asyncio
import json
import re

import pytest
from click.testing import CliRunner, Result
from redis.asyncio import Redis

from redis_streams_aio.cli.app import app

CONTROLS = "{orders}:billing:controls"
PAUSE = ("pause", "orders", "billing", "--why", "a bad deploy", "--by", "ada")
RESUME = ("resume", "orders", "billing", "--by", "bob")


@pytest.fixture(autouse=True)
async def group(redis: Redis) -> None:
    await redis.xgroup_create("orders", "billing", "0", mkstream=True)


async def cli(url: str, *arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--url", url])


async def test_p28_a_group_is_paused_and_resumed_and_who_did_it_is_told(url: str, redis: Redis) -> None:
    paused = await cli(url, *PAUSE, "--yes")
    assert paused.exit_code == 0
    assert re.fullmatch(r"paused by ada since 20.{17} UTC: a bad deploy\n", paused.stdout)
    assert paused.stderr.startswith("ada: pause orders/billing: paused by ada since ")
    record = json.loads(await redis.hget(CONTROLS, "paused"))
    assert (record["by"], record["why"]) == ("ada", "a bad deploy")
    resumed = await cli(url, *RESUME, "--why", "it is mended", "--yes")
    assert (resumed.exit_code, resumed.stdout) == (0, "goes on\n")
    assert resumed.stderr == "bob: resume orders/billing: goes on\n"
    assert not await redis.hexists(CONTROLS, "paused")
    again = await cli(url, *RESUME, "--yes")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "was not paused\n", "")


async def test_p28_groups_shows_who_has_paused(url: str) -> None:
    assert "paused" not in (await cli(url, "groups", "orders")).stdout
    await cli(url, *PAUSE, "--yes")
    assert "\norders / billing: paused by ada since 20" in (await cli(url, "groups", "orders")).stdout
    [row] = (await cli(url, "groups", "orders", "--json")).stdout.splitlines()
    assert json.loads(row)["paused"]["why"] == "a bad deploy"


async def test_a_dry_run_changes_nothing_and_shows_the_commands(url: str, redis: Redis) -> None:
    dry = await cli(url, *PAUSE, "--dry-run")
    assert dry.exit_code == 0
    assert dry.stdout.startswith("orders / billing would be paused; it has 0 consumers\n")
    assert CONTROLS in dry.stdout
    assert not await redis.exists(CONTROLS)
    assert (await cli(url, *RESUME, "--dry-run")).stdout == "orders / billing is not paused\n"
    await cli(url, *PAUSE, "--yes")
    assert "would be paused (paused by ada since " in (await cli(url, *PAUSE, "--dry-run")).stdout
    assert "would go on; it is paused by ada since " in (await cli(url, *RESUME, "--dry-run")).stdout
    assert await redis.hexists(CONTROLS, "paused")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("pause", "orders", "nobody", "--why", "x", "--yes"), 1, "stream 'orders' has no group 'nobody'"),
        (("pause", "nowhere", "billing", "--why", "x", "--yes"), 1, "there is no stream 'nowhere'"),
        (("pause", "orders", "billing", "--yes"), 2, "Missing option '--why'"),
        (("pause", "orders", "billing", "--why", "a\nb", "--yes"), 2, "expected one line of text"),
        (("pause", "orders", "billing", "--why", "", "--yes"), 2, "expected one line of text"),
        (PAUSE, 2, "there is no terminal to ask"),
    ],
)
async def test_what_cannot_be_done_is_said_in_one_line(
    url: str, redis: Redis, arguments: tuple[str, ...], code: int, told: str
) -> None:
    wrong = await cli(url, *arguments)
    assert wrong.exit_code == code
    assert told in " ".join(wrong.stderr.replace("│", " ").split())
    assert not await redis.exists(CONTROLS)

"""Acts of the command line: tried dry, asked about, and told with who did them (P34)."""

from __future__ import annotations

import getpass
import json
import logging

import click
import pytest
from click.testing import CliRunner, Result

from redis_streams_aio.cli import acting
from redis_streams_aio.cli.acting import Done, How, Plan, Target
from redis_streams_aio.cli.command_lines import command_line, explained
from redis_streams_aio.connection.steps import groups
from redis_streams_aio.connection.steps.script import Step

DELETED: list[str] = []
COMMANDS = [("XDEL", "orders", f"{number}-0") for number in range(25)]


@click.command("cut")
@click.argument("what")
@acting.acting
def cut(what: str, how: How) -> None:
    """Act on what is named."""

    async def plan() -> Plan:
        if what == "nothing":
            return Plan(count=0, told="0 would be cut")
        return Plan(count=25, told="25 would be cut", question="Cut 25?", commands=COMMANDS)

    async def act(planned: Plan | None) -> Done:
        if what == "stopped":
            raise KeyboardInterrupt
        DELETED.append("all" if planned is None else str(planned.count))
        return Done(count=25, told="25 cut", changed=what != "nothing")

    acting.carry_out(Target("cut", "orders", "billing"), how, plan, act)


@pytest.fixture(autouse=True)
def _nothing_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    DELETED.clear()
    monkeypatch.setenv("LOGNAME", "ada")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cut, arguments)


def test_a_dry_run_changes_nothing_and_has_the_commands() -> None:
    done = invoke("all", "--dry-run")
    assert (done.exit_code, done.stderr, DELETED) == (0, "", [])
    said, heading, *lines, more = done.stdout.splitlines()
    assert (said, heading) == ("25 would be cut", "these commands would be sent:")
    assert lines == [f"  XDEL orders {number}-0" for number in range(20)]
    assert more == "  ... and 5 more (--json prints all)"


def test_a_dry_run_as_json_has_all_commands() -> None:
    record = json.loads(invoke("all", "--dry-run", "--json").stdout)
    assert len(record.pop("commands")) == 25
    assert record == {
        "act": "cut",
        "stream": "orders",
        "group": "billing",
        "dry_run": True,
        "count": 25,
        "told": "25 would be cut",
    }


def test_without_a_terminal_and_without_yes_it_is_wrong_usage() -> None:
    done = invoke("all")
    assert (done.exit_code, DELETED) == (2, [])
    assert "add --yes" in done.stderr


def test_yes_acts_without_a_plan_and_says_who_did_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "redis_streams_aio"):
        done = invoke("all", "--yes", "--by", "grace")
    assert (done.exit_code, done.stdout, DELETED) == (0, "25 cut\n", ["all"])
    assert done.stderr == "grace: cut orders/billing: 25 cut\n"
    [record] = caplog.records
    assert record.getMessage() == "grace: cut orders/billing: 25 cut"
    assert vars(record)["fact"] == "Acted"
    assert (vars(record)["act"], vars(record)["by"], vars(record)["count"]) == ("cut", "grace", 25)


def test_who_did_it_is_the_login_name() -> None:
    assert invoke("all", "--yes").stderr == "ada: cut orders/billing: 25 cut\n"


def test_a_user_without_a_name_acts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def unnamed() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr(getpass, "getuser", unnamed)
    assert invoke("all", "--yes").stderr == "(unknown): cut orders/billing: 25 cut\n"


def test_a_result_as_json() -> None:
    assert json.loads(invoke("all", "--yes", "--json").stdout) == {
        "act": "cut",
        "stream": "orders",
        "group": "billing",
        "by": "ada",
        "count": 25,
        "told": "25 cut",
    }


def test_nobody_acted_where_nothing_was_changed() -> None:
    assert invoke("nothing", "--yes").stderr == ""


def test_a_signal_is_told_because_part_of_it_may_be_done() -> None:
    done = invoke("stopped", "--yes")
    assert done.exit_code == 130
    assert done.stderr == "ada: cut orders/billing: stopped by a signal; part of it may be done\n"


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_a_terminal_is_asked(monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    monkeypatch.setattr(acting, "_at_a_terminal", lambda: True)
    done = CliRunner().invoke(cut, ["all"], input=f"{answer}\n")
    assert "Cut 25? [y/N]:" in done.stderr
    assert done.exit_code == code
    assert (["25"] if code == 0 else []) == DELETED
    assert ("nothing was changed" in done.stderr) == (code == 1)


def test_nothing_is_asked_where_there_is_nothing_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "_at_a_terminal", lambda: True)
    assert invoke("nothing").exit_code == 0


@pytest.mark.parametrize(
    ("argument", "shown"),
    [
        ("orders", "orders"),
        ("{orders}:billing:dead", "{orders}:billing:dead"),
        (5, "5"),
        ("", '""'),
        ("two words", '"two words"'),
        ('say "no"', '"say \\"no\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("a\nb\r\t", '"a\\nb\\r\\t"'),
        ("größe", '"größe"'),
        (b"\xff\x00", '"\\xff\\x00"'),
        ("\x1b[2J", '"\\x1b[2J"'),
        ("\ud800", '"\\xed\\xa0\\x80"'),
    ],
)
def test_arguments_are_written_as_redis_cli_takes_them(argument: str | bytes | int, shown: str) -> None:
    assert command_line(("ECHO", argument)) == f"ECHO {shown}"


def test_a_step_is_shown_with_what_it_may_run() -> None:
    step = Step(groups.DELETE_CONSUMER, ("orders", "{orders}:billing:leases"), ("billing", "host-1", 0), bool)
    call = f"EVALSHA {groups.DELETE_CONSUMER.sha} 2 orders {{orders}}:billing:leases billing host-1 0"
    assert list(explained([step, step])) == [
        call,
        "  one atomic step, which may run",
        "    orders: XGROUP DELCONSUMER, XINFO CONSUMERS",
        "    {orders}:billing:leases: HDEL",
        call,
    ]

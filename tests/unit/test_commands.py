"""The list of commands, and what `--help` says of them."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from types import UnionType

import click
import msgspec
import pytest
from click.testing import CliRunner

from redis_streams_aio.cli.app import COMMANDS, NAMES, app
from redis_streams_aio.cli.commands import check, consumers, doctor, groups, pending, show, streams
from redis_streams_aio.cli.live.measuring import LiveRow
from redis_streams_aio.monitoring.doctor.findings import Finding
from tests.test_architecture import modules_after
from tests.unit.test_docs import code, rows, section

MODULES = Path(__file__).parents[2] / "redis_streams_aio/cli/commands"
LOOKING = MODULES.parents[2] / "docs/looking.md"
WATCHING = MODULES.parents[2] / "docs/watching.md"
LINES = [line for section in COMMANDS.values() for line in section.values()]


def test_each_module_of_a_command_is_listed_once() -> None:
    files = [path.stem.replace("_", "-") for path in MODULES.glob("*.py") if path.stem != "__init__"]
    assert sorted(NAMES) == sorted(files)


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_the_name_it_is_listed_by_and_says_what_it_does(name: str) -> None:
    command = app.get_command(click.Context(app), name)
    assert command is not None
    assert command.name == name
    assert command.help


@pytest.mark.parametrize("columns", [80, 120])
def test_help_cuts_no_line(columns: int) -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=columns).output.splitlines()
    for line in LINES:
        assert any(each.endswith(f" {line}") for each in shown), line


def test_a_command_that_is_not_there_is_told_with_the_nearest_one() -> None:
    done = CliRunner().invoke(app, ["pendin"])
    assert done.exit_code == 2
    assert "there is no command 'pendin' (did you mean pending?)" in done.output


def test_help_imports_neither_the_broker_nor_rich() -> None:
    """It is what people wait for, and each of these takes longer than all of click."""
    program = "from redis_streams_aio.cli.app import app; app(['--help'], standalone_mode=False)"
    imported = modules_after(f"import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()):\n    {program}")
    assert imported & {"rich", "redis", "asyncio", "redis_streams_aio.broker", "redis_streams_aio.connection"} == set()


# -- what is printed with --json --------------------------------------------------------------------------------

SCHEMAS: dict[str, type[msgspec.Struct]] = {
    "streams": streams.StreamRow,
    "groups": groups.GroupRow,
    "consumers": consumers.ConsumerRow,
    "pending": pending.PendingRow,
    "show": show.EventStory,
    "doctor": Finding,
    "lag": LiveRow,
}
STATES = {
    "consumers": consumers.STATES,
    "pending": pending.STATES,
    "check": check._CODES,
    "doctor": doctor.LEVELS,
    "show": {state: text for state, text in show.STATES.items() if state not in pending.STATES},
}
TYPES: dict[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    datetime: "time",
    list: "array",
}


def page_of(name: str) -> Path:
    """The page that describes a command."""
    return next(page for page in (LOOKING, WATCHING) if f"\n## `{name}`\n" in page.read_text())


def type_of(field: msgspec.structs.FieldInfo) -> str:
    """The type as the docs name it."""
    kinds = field.type.__args__ if isinstance(field.type, UnionType) else (field.type,)
    return " or ".join(
        "null" if kind is type(None) else TYPES.get(getattr(kind, "__origin__", kind), "object") for kind in kinds
    )


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_fields_of_json_are_documented_with_their_types(name: str) -> None:
    documented = {}
    for first, kind, *_ in rows(section(page_of(name), f"`{name}`")):
        if kind.split()[0] in {*TYPES.values(), "object", "array"}:
            documented |= dict.fromkeys(re.findall(r"`(\w+)`", first), kind)
    assert documented == {field.name: type_of(field) for field in msgspec.structs.fields(SCHEMAS[name])}


@pytest.mark.parametrize("name", STATES)
def test_states_are_documented_and_in_the_help(name: str) -> None:
    documented = {code(row[0]): row[1] for row in rows(section(page_of(name), f"`{name}`")) if len(row) == 2}
    shown = " ".join(CliRunner().invoke(app, [name, "--help"]).output.split())
    for state, text in STATES[name].items():
        assert documented[state] == text
        assert f"{state} {text}" in shown


def test_the_fields_of_a_group_of_an_event_are_documented() -> None:
    [row] = [row for row in rows(section(LOOKING, "`show`")) if row[0] == "`groups`"]
    assert re.findall(r"`(\w+)`", row[2]) == list(show.GroupState.__struct_fields__)


def test_the_checks_of_doctor_are_documented() -> None:
    """Each word that a finding is made with."""
    source = "".join(path.read_text() for path in (MODULES.parents[1] / "monitoring/doctor").glob("*.py"))
    made = set(re.findall(r'finding\(\s*\w+(?: if .*? else \w+)?, "([\w ]+)"', source)) | {"dead consumers"}
    documented = {row[0].strip("`") for row in rows(section(WATCHING, "`doctor`")) if len(row) == 2}
    assert len(made) > 12
    assert made - documented == set()

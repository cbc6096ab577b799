"""`config check`: says what is wrong with a configuration file, or prints the settings that are in force with it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from ... import config
from ...config import Settings
from ...config.environment import settings_in
from ...config.lines import line_of
from ...exceptions import ConfigError
from ..session import connect, one_line
from ..show import console, table, visible

_CREDENTIALS = re.compile(r"//[^/]*@")


class Setting(msgspec.Struct, frozen=True):
    """A setting that is in force."""

    key: str
    value: object
    source: str
    """`file`, `environment` or `default`."""


@click.group("config")
def command() -> None:
    """Check configuration files."""


@command.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for machines.")
def check_command(file: Path, *, as_json: bool) -> None:
    """Check a configuration file, and print the settings in force with it. Redis is not asked.

    The environment overrides the file, as in a broker that loads it. Credentials are not shown.
    """
    try:
        settings = config.load(file)
        connect(settings)  # checks the URL
    except ConfigError as error:
        raise click.ClickException(f"{_with_line(file, one_line(error))}") from error
    found = list(in_force(settings, file))
    if as_json:
        for setting in found:
            click.echo(msgspec.json.encode(setting))
        return
    rows = ((one.key, visible(_shown(one.value)), one.source) for one in found)
    console().print(table(("setting", "value", "from"), rows, title=f"{visible(str(file))} is valid"))


def in_force(settings: Settings, file: Path) -> Iterator[Setting]:
    """Yield the settings, each with the place where it was set."""
    default = Settings()
    from_environment = settings_in(os.environ)
    in_file = config.load(file, {})
    for name, value in msgspec.structs.asdict(settings).items():
        source = "file" if getattr(in_file, name) != getattr(default, name) else "default"
        plain = msgspec.to_builtins(value)
        if isinstance(plain, str):
            plain = _CREDENTIALS.sub("//***@", plain)
        yield Setting(name, plain, "environment" if name in from_environment else source)


def _with_line(file: Path, problem: str) -> str:
    """Add the line to an error of the file: `config.yaml, line 3: ...`."""
    try:
        line = line_of(problem, file.read_bytes())
    except (OSError, ValueError):
        return problem
    if line is None or not problem.startswith(f"{file}: "):
        return problem
    return f"{file}, line {line}: {problem.removeprefix(f'{file}: ')}"


def _shown(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

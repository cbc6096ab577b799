"""`doctor`: looks for settings and states that lose, delay or block events, and says what to do."""

from __future__ import annotations

import textwrap

import click

from ...config import Settings
from ...monitoring.doctor.examining import examine
from ...monitoring.doctor.findings import CRITICAL, LEVELS, UNKNOWN, WARNING, Finding
from .. import show
from ..parameters import connection_options, json_option, meanings
from ..session import connect, run
from ..show import visible

CODES = {WARNING: 1, CRITICAL: 2, UNKNOWN: 3}
"""Exit codes by the worst level; all others are 0."""
_INDENT = " " * 10
_HELP = {
    **LEVELS,
    "exit code": "0 if nothing is worse than a hint, 1 a warning, 2 critical, 3 something is not known.",
}


@click.command("doctor", epilog=meanings(_HELP))
@click.option("--all", "with_ok", is_flag=True, help="Also what is as it should be.")
@json_option
@connection_options
def command(*, with_ok: bool, as_json: bool, settings: Settings) -> None:
    """Look for what loses, delays or blocks events: the servers, their settings, permissions, groups and consumers.

    Nothing is changed. Each finding says what to do. With --config, the bounds of streams are known too.
    """
    found = run(_examined(settings))
    shown = [each for each in found if with_ok or each.level != "ok"]
    if as_json:
        show.print_json(shown)
    else:
        width = show.console().width
        for each in shown:
            _print(each, width)
        click.echo(f"{len(found):,} things looked at, {sum(each.level != 'ok' for each in found):,} to read", err=True)
    code = _code(found)
    if code:
        raise click.exceptions.Exit(code)


async def _examined(settings: Settings) -> list[Finding]:
    async with connect(settings) as connection:
        return await examine(connection, settings)


def _code(found: list[Finding]) -> int:
    levels = {each.level for each in found}
    return next((CODES[level] for level in (CRITICAL, WARNING, UNKNOWN) if level in levels), 0)


def _print(found: Finding, width: int) -> None:
    lines = [f"{found.level.upper():8}  {found.check}: {visible(found.where)}: {visible(found.told)}"]
    if found.advice is not None:
        lines.append(f"{_INDENT}-> {visible(found.advice)}")
    for line in lines:
        whole = textwrap.wrap(
            line, width, subsequent_indent=_INDENT + "   ", break_long_words=False, break_on_hyphens=False
        )
        click.echo("\n".join(whole))

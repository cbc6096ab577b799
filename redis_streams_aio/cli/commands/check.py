"""`check`: measures groups against thresholds, for monitors; its exit code is the worst state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import click
import msgspec

from ...config import Settings
from ...connection import Connection
from .. import check_formats
from ..parameters import CommandT, connection_options, meanings, redis_name
from ..session import connect, run
from ..thresholds import CODES, CRITICAL, OK, UNKNOWN, Bounds, BoundsType, Measured, measured
from .consumers import rows_of as consumers_of
from .groups import GroupRow, rows_of

_CODES = {
    "0": "Everything is within its bounds.",
    "1": "Something has reached its warning.",
    "2": "Something is critical, or a group that was named does not exist.",
    "3": "Something is not known: a lag that nobody knows, no answer of Redis, wrong usage.",
}


class _Wrong(click.ClickException):
    """Wrong usage, or a wrong configuration."""

    exit_code = CODES[UNKNOWN]


class _Check(click.Command):
    """A command that ends with 3 when it is used wrongly: 2 would be a critical state. click has no option for that."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,  # noqa: ANN401  # as click has it
    ) -> click.Context:
        """Parse the arguments."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            raise _Wrong(error.format_message()) from error

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise _Wrong(error.format_message()) from error


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The bounds of each value."""

    lag: Bounds
    pending: Bounds
    age: Bounds
    dead_letters: Bounds
    consumers: Bounds


def _bounds(name: str, default: str, told: str, **kind: bool) -> Callable[[CommandT], CommandT]:
    """Return an option for two bounds."""
    return click.option(f"--{name}", type=BoundsType(**kind), default=default, show_default=True, help=told)


@click.command("check", cls=_Check, epilog=meanings(_CODES))
@click.argument("streams", nargs=-1, metavar="[STREAM]...", callback=redis_name)
@click.option("--group", "groups", multiple=True, callback=redis_name, help="Only this group; may be repeated.")
@_bounds("lag", "1000,10000", "Entries not yet delivered.")
@_bounds("pending", "none", "Entries delivered and not settled.")
@_bounds("age", "5min,30min", "Age of the oldest unsettled entry: 90s, 5min, 2h, 1d.", is_age=True)
@_bounds("dead-letters", "1", "Dead letters.")
@_bounds("consumers", "none", "Living consumers; fewer than this are bad.", is_least=True)
@click.option(
    "--unknown-lag",
    type=click.Choice(tuple(CODES)),
    default=UNKNOWN,
    show_default=True,
    help="The state of a lag that nobody knows.",
)
@click.option("--format", "style", type=click.Choice(tuple(check_formats.FORMATS)), default="text", show_default=True)
@connection_options
def command(
    *,
    streams: tuple[str, ...],
    groups: tuple[str, ...],
    lag: Bounds,
    pending: Bounds,
    age: Bounds,
    dead_letters: Bounds,
    consumers: Bounds,
    unknown_lag: str,
    style: str,
    settings: Settings,
) -> None:
    """Check groups against thresholds, for Nagios, Prometheus or a script.

    Without STREAM: all groups. A threshold is WARNING,CRITICAL, one of them (`100` or `,100`), or `none`; a value
    reaches it at that number.
    """
    limits = Limits(lag=lag, pending=pending, age=age, dead_letters=dead_letters, consumers=consumers)
    try:
        found = run(_measured(settings, streams, groups, limits))
    except click.ClickException as error:
        _end(style, check_formats.Report([], problem=error.format_message(), problem_state=UNKNOWN))
    found = [_with_unknown_lag(each, unknown_lag) for each in found]
    _end(style, _report(found, groups))


def _report(found: list[Measured], wanted: Sequence[str]) -> check_formats.Report:
    """Return the report; a group that was named and does not exist is critical."""
    missing = [name for name in wanted if all(each.group != name for each in found)]
    if missing:
        return check_formats.Report(found, problem=f"no such group: {', '.join(missing)}", problem_state=CRITICAL)
    if not found:
        return check_formats.Report(found, problem="no stream has a group", problem_state=UNKNOWN)
    return check_formats.Report(found)


def _end(style: str, report: check_formats.Report) -> NoReturn:
    for line in check_formats.FORMATS[style](report):
        click.echo(line)
    raise click.exceptions.Exit(CODES[report.state])


def _with_unknown_lag(each: Measured, state: str) -> Measured:
    is_unknown = each.what == "lag" and each.value is None and each.state != OK
    return msgspec.structs.replace(each, state=state) if is_unknown else each


async def _measured(
    settings: Settings, streams: tuple[str, ...], groups: tuple[str, ...], limits: Limits
) -> list[Measured]:
    async with connect(settings) as connection:
        found = []
        for row in await rows_of(connection, streams):
            if not groups or row.group in groups:
                found += [*_values(row, limits), *await _consumers(connection, row, limits.consumers)]
        return found


def _values(row: GroupRow, limits: Limits) -> Iterator[Measured]:
    """Yield the values of a group. If all is settled, the oldest entry is 0 s old."""
    yield measured(row.stream, row.group, "lag", row.lag, limits.lag)
    yield measured(row.stream, row.group, "pending", row.pending, limits.pending)
    yield measured(row.stream, row.group, "age", round(row.oldest_age or 0.0, 3), limits.age)
    yield measured(row.stream, row.group, "dead letters", row.dead_letters, limits.dead_letters)


async def _consumers(connection: Connection, row: GroupRow, bounds: Bounds) -> list[Measured]:
    """Return the number of living consumers, where it is asked for."""
    if bounds.warning is None and bounds.critical is None:
        return []
    living = [each for each in await consumers_of(connection, row.stream, row.group) if each.state == "alive"]
    return [measured(row.stream, row.group, "consumers", len(living), bounds)]

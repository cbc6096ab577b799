"""Arguments and options that the commands `dead-letters ...` share."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import TypeVar, cast

import click

from ..parameters import connection_options, moment, redis_name
from .access import Place, Selection

CommandT = TypeVar("CommandT", bound=Callable[..., object])

REASONS = ("failures", "gave_up", "deadline", "rejected", "deliveries", "undecodable", "unhandled")
"""The reasons for which the library gives up on an event."""


def of_a_group(command: CommandT) -> CommandT:
    """Add STREAM, GROUP and `--dead-letter`, which the command gets as `place`, and `--url` and `--config`."""

    @wraps(command)
    def with_place(*given: object, stream: str, group: str, dead_letter: str | None, **options: object) -> object:
        return command(*given, place=Place(stream, group, dead_letter), **options)

    named = click.option(
        "--dead-letter",
        callback=redis_name,
        metavar="STREAM",
        help="The stream that the handler names as dead_letter, if it does.  [default: {STREAM}:GROUP:dead]",
    )(connection_options(with_place))
    with_group = click.argument("group", callback=redis_name)(named)
    return cast("CommandT", click.argument("stream", callback=redis_name)(with_group))


def filtered(command: CommandT) -> CommandT:
    """Add the options `--reason`, `--since`, `--until` and `--fingerprint`, which the command gets as `which`."""

    @wraps(command)
    def with_filter(
        *given: object,
        reason: str | None,
        since: datetime | None,
        until: datetime | None,
        fingerprint: str | None,
        **options: object,
    ) -> object:
        return command(*given, which=_filter(reason, since, until, fingerprint), **options)

    return _filters(cast("CommandT", with_filter))


def selected(command: CommandT) -> CommandT:
    """Add IDs, `--all` and the filters, one of which must be given; the command gets them as `which`."""

    @wraps(command)
    def with_selection(
        *given: object,
        ids: tuple[str, ...],
        everything: bool,
        reason: str | None,
        since: datetime | None,
        until: datetime | None,
        fingerprint: str | None,
        **options: object,
    ) -> object:
        which = _filter(reason, since, until, fingerprint)
        _check_one_way(("IDs", bool(ids)), ("--all", everything), ("a filter", which != Selection()))
        which = Selection(ids=ids) if ids else which
        return command(*given, which=which, **options)

    with_filters = _filters(cast("CommandT", with_selection))
    with_all = click.option("--all", "everything", is_flag=True, help="All dead letters.")(with_filters)
    return click.argument("ids", nargs=-1, metavar="[ID]...")(with_all)


def _filters(command: CommandT) -> CommandT:
    when = "2026-01-31T12:00 (local time if it has no zone), or an age: 90s, 30min, 2h, 7d."
    until = click.option("--until", callback=moment, metavar="TIME", help="Only dead letters from this time or before.")
    since = click.option(
        "--since", callback=moment, metavar="TIME", help=f"Only dead letters from this time or later. TIME: {when}"
    )
    reason = click.option("--reason", type=click.Choice(REASONS), help="Only dead letters with this reason.")
    fingerprint = click.option(
        "--fingerprint", callback=_fingerprint, metavar="HEX", help="Only those of one cause, as `groups` shows it."
    )
    return reason(fingerprint(since(until(command))))


def _fingerprint(_: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    if given is not None and not re.fullmatch("[0-9a-f]{8}", given.lower()):
        raise click.BadParameter(f"expected eight hexadecimal digits, not {given!r}", param=parameter)
    return given if given is None else given.lower()


def _check_one_way(*ways: tuple[str, bool]) -> None:
    given = [way for way, is_given in ways if is_given]
    if not given:
        raise click.UsageError("say which dead letters: IDs, --all, or a filter (--reason, --since, --fingerprint ...)")
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)} cannot be combined: give either IDs, or --all, or a filter")


def _filter(reason: str | None, since: datetime | None, until: datetime | None, fingerprint: str | None) -> Selection:
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is later than --until")
    return Selection(reason=reason, since=since, until=until, fingerprint=fingerprint)

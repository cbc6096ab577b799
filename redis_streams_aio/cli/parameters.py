"""Options and arguments that commands share, and how their texts become values."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TypeVar, cast

import click

from ..checks import names, values
from ..exceptions import ConfigError
from .session import DEFAULT_URL, settings_from

T = TypeVar("T")
CommandT = TypeVar("CommandT", bound=Callable[..., object])

_AGE = re.compile(r"(?P<count>\d+(\.\d+)?) ?(?P<unit>s|min|h|d|w)")
_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}

json_option: Callable[[CommandT], CommandT] = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object a line, for machines."
)


def meanings(words: Mapping[str, str]) -> str:
    """Return an epilog for a command that shows words: each with its meaning."""
    width = max(map(len, words)) + 2
    lines = (textwrap.fill(f"{word:{width}}{text}", 76, subsequent_indent=" " * width) for word, text in words.items())
    return "\b\n" + "\n".join(lines)


def connection_options(command: CommandT) -> CommandT:
    """Add the options `--url` and `--config`; the command gets what they say as `settings`."""

    @wraps(command)
    def with_settings(*given: object, url: str | None, config_file: Path | None, **options: object) -> object:
        return command(*given, settings=settings_from(url, config_file), **options)

    with_config = click.option(
        "--config", "config_file", type=click.Path(path_type=Path), help="A config.yaml with a section redis_streams."
    )(with_settings)
    with_url = click.option(
        "--url",
        envvar="REDIS_STREAMS_REDIS_URL",
        show_envvar=True,
        help=f"Where Redis is; overrides the config file.  [default: {DEFAULT_URL}]",
    )(with_config)
    return cast("CommandT", with_url)


def headers_of(given: Iterable[str]) -> dict[str, str]:
    """Read `NAME=VALUE` of the options `--header`."""
    headers = {}
    for header in given:
        name, separator, value = header.partition("=")
        if not name or not separator:
            raise click.BadParameter(f"expected NAME=VALUE, not {header!r}", param_hint="--header")
        headers[name] = value
    return headers


def redis_name(_: click.Context, parameter: click.Parameter, given: T) -> T:
    """Refuse names that no stream, group or consumer can have. A click callback."""
    for name in given if isinstance(given, tuple) else (given,):
        if name is not None and (wrong := names.problem(name)):
            raise click.BadParameter(f"the name {wrong}", param=parameter)
    return given


def one_line(_: click.Context, parameter: click.Parameter, given: str) -> str:
    """Refuse a text that is not one line; an option that may be left out may be empty. A click callback."""
    try:
        return values.line(parameter.opts[0], given, least=int(parameter.required))
    except ConfigError as wrong:
        raise click.BadParameter(str(wrong), param=parameter) from None


def moment(_: click.Context, parameter: click.Parameter, given: str | None) -> datetime | None:
    """Parse a point in time in ISO 8601 (local time if it has no zone), or an age. A click callback."""
    if given is None:
        return None
    try:
        if age := _AGE.fullmatch(given.strip()):
            return datetime.now(UTC) - timedelta(**{_UNITS[age["unit"]]: float(age["count"])})
        return datetime.fromisoformat(given.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{given!r} is neither a time such as 2026-01-31T12:00 nor an age such as 90s, 30min, 2h, 7d",
            param=parameter,
        ) from None


def duration(_: click.Context, parameter: click.Parameter, given: str | None) -> float | None:
    """Parse a length of time, e.g. `7d`, into seconds. A click callback."""
    if given is None:
        return None
    if length := _AGE.fullmatch(given.strip()):
        return timedelta(**{_UNITS[length["unit"]]: float(length["count"])}).total_seconds()
    raise click.BadParameter(f"{given!r} is not an age such as 90s, 30min, 2h, 7d", param=parameter)

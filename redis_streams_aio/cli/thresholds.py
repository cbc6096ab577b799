"""Thresholds: values of groups are measured against two bounds each, and the worst state is the exit code. Pure.

States and codes are those of Nagios plugins: ok 0, warning 1, critical 2, unknown 3. A value reaches a bound at it:
`--lag 1000,10000` warns from 1,000 on, and is critical from 10,000 on. A number that nobody knows is `unknown`, and
worse than a warning: a monitor that cannot see must say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click
import msgspec

OK, WARNING, CRITICAL, UNKNOWN = "ok", "warning", "critical", "unknown"
CODES = {OK: 0, WARNING: 1, CRITICAL: 2, UNKNOWN: 3}
_BY_SEVERITY = (OK, WARNING, UNKNOWN, CRITICAL)
_NUMBER = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|h|d|w)?")
_SECONDS = {None: 1, "s": 1, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
OFF = "none"


class Bounds(msgspec.Struct, frozen=True):
    """From where on a value is a warning, and from where on it is critical; `None`: never."""

    warning: float | None = None
    critical: float | None = None
    is_least: bool = False
    """Whether values below the bounds are bad, not values from them on."""

    def state(self, value: float | None) -> str:
        """Return the state of a value."""
        if self.warning is None and self.critical is None:
            return OK
        if value is None:
            return UNKNOWN
        if self._is_reached(self.critical, value):
            return CRITICAL
        return WARNING if self._is_reached(self.warning, value) else OK

    def _is_reached(self, bound: float | None, value: float) -> bool:
        if bound is None:
            return False
        return value < bound if self.is_least else value >= bound


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A value of a group, and its state."""

    stream: str
    group: str
    what: str
    value: float | None
    warning: float | None
    critical: float | None
    state: str


def measured(stream: str, group: str, what: str, value: float | None, bounds: Bounds) -> Measured:
    """Measure a value against its bounds."""
    return Measured(
        stream=stream,
        group=group,
        what=what,
        value=value,
        warning=bounds.warning,
        critical=bounds.critical,
        state=bounds.state(value),
    )


def worst(states: Iterable[str]) -> str:
    """Return the worst of some states; `ok` for none."""
    return max(states, key=_BY_SEVERITY.index, default=OK)


if TYPE_CHECKING:
    _ParamType = click.ParamType[Bounds]
else:
    _ParamType = click.ParamType  # not generic in click 8.2


class BoundsType(_ParamType):
    """`WARNING,CRITICAL`, one of them alone (`100` or `,100`), or `none`. Numbers, or ages such as `5min`."""

    name = "WARNING,CRITICAL"

    def __init__(self, *, is_least: bool = False, is_age: bool = False) -> None:
        self._is_least = is_least
        self._is_age = is_age

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Bounds:
        """Read what was typed."""
        if isinstance(value, Bounds):
            return value
        if value == OFF:
            return Bounds()
        warning, _, critical = str(value).partition(",")
        bounds = Bounds(self._number(warning), self._number(critical), self._is_least)
        if bounds.warning is None and bounds.critical is None:
            self._refuse(value, param, ctx)
        return bounds

    def _number(self, text: str) -> float | None:
        if not text.strip():
            return None
        match = _NUMBER.fullmatch(text.strip())
        if match is None or (match[2] and not self._is_age):
            self._refuse(text, None, None)
            raise AssertionError  # for mypy: `_refuse` raises
        return float(match[1]) * _SECONDS[match[2]]

    def _refuse(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> None:
        example = "5min,30min" if self._is_age else "1000,10000"
        self.fail(f"{value!r}: expected WARNING,CRITICAL such as {example}, one of them, or {OFF}", param, ctx)

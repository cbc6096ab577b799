"""Formats of `check`: lines for people, one line for Nagios, JSON, and the text format of Prometheus. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from .show import age, number, visible
from .thresholds import CODES, OK, Measured, worst

_STATE = "redis_streams_check_state"
_VALUE = "redis_streams_check_value"


class Report(msgspec.Struct, frozen=True):
    """All values that were measured, and a problem that is not about one of them."""

    checks: list[Measured]
    problem: str = ""
    problem_state: str = OK

    @property
    def state(self) -> str:
        """The worst state."""
        return worst([self.problem_state, *(each.state for each in self.checks)])

    @property
    def groups(self) -> int:
        """The number of groups that were checked."""
        return len({(each.stream, each.group) for each in self.checks})

    @property
    def bad(self) -> list[Measured]:
        """The values that are not ok, the worst first."""
        order = sorted((each for each in self.checks if each.state != OK), key=lambda each: each.stream)
        return sorted(order, key=lambda each: worst([each.state, "warning"]) == "warning")


def text(report: Report) -> Iterator[str]:
    """Yield a line for each problem, and one with the result."""
    if report.problem:
        yield f"{report.problem_state.upper()} {visible(report.problem)}"
    for each in report.bad:
        yield f"{each.state.upper()} {visible(each.stream)} / {visible(each.group)}: {_told(each)}"
    if report.state == OK:
        yield f"OK {_all_well(report)}"


def nagios(report: Report) -> Iterator[str]:
    """Yield one line: the state, the problems, and the values as performance data."""
    problems = [report.problem] if report.problem else []
    problems += [f"{each.stream}/{each.group} {_told(each)}" for each in report.bad]
    told = "; ".join(problems) or _all_well(report)
    data = " ".join(_performance(each) for each in report.checks if each.value is not None)
    line = f"REDIS STREAMS {report.state.upper()} - {visible(told)}".replace("|", "/")
    yield f"{line} | {data}" if data else line


def json(report: Report) -> Iterator[str]:
    """Yield one JSON object."""
    shown = {"state": report.state, "code": CODES[report.state], "problem": report.problem or None}
    yield msgspec.json.encode({**shown, "checks": report.checks}).decode()


def prometheus(report: Report) -> Iterator[str]:
    """Yield the text format, for the textfile collector of node_exporter. Unknown values have no sample."""
    yield f"# HELP {_STATE} 0 ok, 1 warning, 2 critical, 3 unknown; without labels the worst of all."
    yield f"# TYPE {_STATE} gauge"
    yield f"{_STATE} {CODES[report.state]}"
    yield from (f"{_STATE}{_labels(each)} {CODES[each.state]}" for each in report.checks)
    yield f"# HELP {_VALUE} Value that was checked; ages are seconds."
    yield f"# TYPE {_VALUE} gauge"
    yield from (f"{_VALUE}{_labels(each)} {each.value:g}" for each in report.checks if each.value is not None)


FORMATS: dict[str, Callable[[Report], Iterator[str]]] = {
    "text": text,
    "nagios": nagios,
    "json": json,
    "prometheus": prometheus,
}


def _all_well(report: Report) -> str:
    return f"{report.groups:,} {'group is' if report.groups == 1 else 'groups are'} within bounds"


def _told(each: Measured) -> str:
    """Return a value in words, with the bound that it has reached."""
    bound = each.critical if each.state == "critical" else each.warning
    if each.value is None:
        return f"{each.what} is unknown"
    shown = age(each.value) if each.what == "age" else number(round(each.value))
    limit = "" if bound is None else age(bound) if each.what == "age" else number(round(bound))
    below = "below" if each.what == "consumers" else "from"
    return f"{each.what} {shown}" + (f" ({each.state} {below} {limit})" if limit else "")


def _performance(each: Measured) -> str:
    """Return `'label'=value;warning;critical`, as Nagios reads it. A quote in a label is doubled."""
    label = f"{each.stream}/{each.group} {each.what}".replace("'", "''").replace("=", "_").replace("|", "/")
    unit = "s" if each.what == "age" else ""
    limits = ";".join("" if bound is None else f"{bound:g}" for bound in (each.warning, each.critical))
    return f"'{visible(label)}'={each.value:g}{unit};{limits}"


def _labels(each: Measured) -> str:
    pairs = (("stream", each.stream), ("group", each.group), ("check", each.what.replace(" ", "_")))
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""Log lines as JSON, in one schema, and repeats that are counted."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from redis_streams_aio import ConfigError, telemetry
from redis_streams_aio.integrations import log_repeats
from redis_streams_aio.integrations.json_logs import OF_PYTHON, JsonFormatter
from redis_streams_aio.integrations.log_repeats import CountRepeats
from redis_streams_aio.models import LagReport
from redis_streams_aio.telemetry import DeadLettered, Fact, LagHigh, LoopBlocked, RetryScheduled, StepFailed, write
from redis_streams_aio.telemetry.logs import log

PAGE = (Path(__file__).parent.parent.parent / "docs" / "observability.md").read_text("utf-8")
LOGGER = logging.getLogger("redis_streams_aio")
NAMED = {"stream": "orders", "group": "billing", "id": "1-0", "event_type": "Order", "handler": "bill"}
FACTS: list[type[Fact]] = [
    each for each in vars(telemetry).values() if isinstance(each, type) and issubclass(each, Fact) and each.line
]


class Lines(logging.Handler):
    """Keeps lines as JSON; `written` is set with each."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[dict[str, Any]] = []
        self.written = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))
        self.written.set()

    @property
    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines]


@pytest.fixture
def behind() -> Iterator[Lines]:
    yield from hung(Lines())


@pytest.fixture
def counting() -> Iterator[Lines]:
    """Lines behind a handler that counts repeats."""
    lines = Lines()
    front = CountRepeats(lines, 3600)
    yield from hung(front, lines)
    front.close()


def hung(handler: logging.Handler, lines: Any = None) -> Iterator[Any]:
    before = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.DEBUG)
    yield lines or handler
    LOGGER.removeHandler(handler)
    LOGGER.setLevel(before)


def retry(number: int, **changed: Any) -> RetryScheduled:
    return RetryScheduled(**{**NAMED, "id": f"{number}-0", "failures": 1, "delay": 0.4, "error": "KeyError", **changed})


# -- the schema ---------------------------------------------------------------------------------------------------


def test_a_line_has_the_fields_of_its_fact(behind: Lines) -> None:
    try:
        raise KeyError("missing")
    except KeyError as error:
        write(retry(1700, seconds=0.012), error)
    [line] = behind.lines
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert line.pop("traceback").startswith("Traceback (most recent call last)")
    assert isinstance(line.pop("process"), int)
    assert line == {
        "level": "WARNING",
        "logger": "redis_streams_aio",
        "message": "orders/billing: retry in 0.4 s after failure 1 of Order 1700-0 in bill: KeyError",
        "fact": "RetryScheduled",
        **NAMED,
        "id": "1700-0",
        "failures": 1,
        "delay": 0.4,
        "error": "KeyError",
        "seconds": 0.012,
        **{name: "" for name in ("consumer",) if name in RetryScheduled.__struct_fields__},
    }


def test_an_unknown_lag_is_null_and_not_0(behind: Lines) -> None:
    write(LagHigh(report=LagReport("orders", "billing", None, 5, None)))
    [line] = behind.lines
    assert (line["lag"], line["pending"], line["stream"]) == (None, 5, "orders")


def test_lines_that_are_no_facts_and_fields_of_your_own(behind: Lines) -> None:
    logging.getLogger("redis_streams_aio").info(
        "billed %s", "o-1", extra={"order": "o-1", "total": 4.5, "level": "mine"}
    )
    [line] = behind.lines
    assert (line["message"], line["order"], line["total"], line["level"]) == ("billed o-1", "o-1", 4.5, "INFO")
    assert not {"args", "msg", "levelno", "lineno"} & line.keys()


class Rude:
    def __repr__(self) -> str:
        raise ZeroDivisionError


def inside_itself() -> list[object]:
    here: list[object] = []
    here.append(here)
    return here


@pytest.mark.parametrize(
    "value",
    [
        object(),
        Rude(),
        inside_itself(),
        {1: 2, (3, 4): 5},
        float("nan"),
        "\ud800",
        b"\xff",
        {"\ud800": 1},
        ValueError("x"),
    ],
)
def test_p14_a_value_that_json_cannot_carry_loses_no_line(behind: Lines, value: object) -> None:
    LOGGER.info("here", extra={"value": value, "after": 1})
    [line] = behind.lines
    assert (line["message"], line["after"], "value" in line) == ("here", 1, True)


def schema() -> dict[str, tuple[str, str]]:
    """The table of docs/observability.md: type and where, by field."""
    section = PAGE.partition("## JSON lines")[2].partition("\n## ")[0]
    return {
        name: (kind, where)
        for name, kind, where in re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|", section, re.MULTILINE)
    }


def fields_of(fact: type[Fact]) -> dict[str, object]:
    fields = {each.name: each.type for each in msgspec.structs.fields(fact) if each.name != "exception"}
    if fields.pop("report", None) is not None:
        fields |= {each.name: each.type for each in msgspec.structs.fields(LagReport)}
    return fields


def type_in_words(kind: object) -> str:
    kinds = set(get_args(kind) or (kind,))
    words = "string" if str in kinds else "number" if kinds & {int, float} else str(kind)
    return f"{words} or null" if type(None) in kinds else words


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.__name__)
def test_the_schema_of_the_docs_has_every_field_or_the_table_of_facts_has(fact: type[Fact]) -> None:
    documented, [row] = schema(), re.findall(rf"^\| `{fact.__name__}` \|.*$", PAGE, re.MULTILINE)
    for name, kind in fields_of(fact).items():
        assert name in documented or f"`{name}`" in row or "`report`" in row, name
        if name in documented:
            told, _ = documented[name]
            assert type_in_words(kind) in (told, told.removesuffix(" or null")), name
    assert not fields_of(fact).keys() & OF_PYTHON, "these names belong to Python's records"


def test_the_schema_of_the_docs_names_no_field_that_is_not_there(behind: Lines) -> None:
    try:
        raise KeyError
    except KeyError as error:
        log.error("raised", error=error)
    own = {name for name, (_, where) in schema().items() if where == "facts"} - {"fact"}
    assert own <= {name for fact in FACTS for name in fields_of(fact)}
    assert {name for name, (_, where) in schema().items() if where == "all lines"} | {"traceback"} == behind.lines[
        0
    ].keys()
    assert set(schema()) - own == behind.lines[0].keys() | {"fact", "repeated"}


# -- repeats ------------------------------------------------------------------------------------------------------


def test_a_line_in_a_hot_loop_is_written_once_and_counted(counting: Lines) -> None:
    for number in range(15):
        write(retry(number))
    assert len(counting.lines) == 1
    LOGGER.handlers[-1].close()
    first, last = counting.lines
    assert first["id"] == "0-0"
    assert (last["id"], last["repeated"], last["fact"]) == ("14-0", 14, "RetryScheduled")
    assert re.fullmatch(
        r"orders/billing: retry in 0.4 s after .* 1 of Order 14-0 in bill: KeyError \(repeated 14 times in \d+ s\)",
        last["message"],
    )


def test_other_lines_are_other_kinds(counting: Lines) -> None:
    write(retry(1))
    write(retry(2, error="ValueError"))
    write(retry(3, handler="ship"))
    write(retry(4, group="shipping"))
    write(retry(5, stream="clicks"))
    write(StepFailed(duty="read", error="refused", delay=1))
    write(StepFailed(duty="clean up", error="refused", delay=2))
    write(StepFailed(duty="clean up", error="silent", delay=2))
    write(LoopBlocked(seconds=1, handler="bill", where="here"))
    write(LoopBlocked(seconds=1, handler="bill", where="there"))
    log.info("one")
    log.info("two")
    assert len(counting.lines) == 12
    write(StepFailed(duty="read", error="refused", delay=3))
    log.info("one")
    assert len(counting.lines) == 12


def test_what_tells_of_one_loss_each_is_never_left_out_nor_lines_of_others(counting: Lines) -> None:
    for number in range(3):
        write(DeadLettered(**{**NAMED, "id": f"{number}-0"}, reason="failures", error="KeyError"))  # type: ignore[arg-type]
    record = logging.LogRecord("shop", logging.INFO, "", 0, "here", (), None)
    for _ in range(3):
        LOGGER.handlers[-1].handle(record)
    assert [line.get("id", "") for line in counting.lines] == ["0-0", "1-0", "2-0", "", "", ""]


def test_errors_that_are_no_facts_are_counted_by_text_and_exception(counting: Lines) -> None:
    for error in (KeyError(), KeyError(), ValueError()):
        log.error("callback raised", error=error)
    assert len(counting.lines) == 2
    LOGGER.handlers[-1].close()
    assert [line.get("repeated") for line in counting.lines] == [None, None, 1]
    assert "(repeated once in 0 s)" in counting.lines[-1]["message"]


def test_the_count_is_written_when_its_time_is_over_though_nothing_else_is_logged() -> None:
    lines = Lines()
    front = CountRepeats(lines, 0.05)
    for _ in hung(front):
        write(retry(1))
        lines.written.clear()
        write(retry(2))
        assert lines.written.wait(30)
        assert lines.lines[-1]["repeated"] == 1
        lines.written.clear()
        write(retry(3))
        assert lines.written.wait(30), "a new time has begun: at once, or counted"
        front.close()
    assert sum(line.get("repeated", 1) for line in lines.lines) == 3


def test_a_late_timer_loses_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(log_repeats, "monotonic", lambda: now)
    lines = Lines()
    front = CountRepeats(lines, 60)
    for _ in hung(front):
        for number in range(3):
            write(retry(number))
        now = 161.0
        write(retry(3))
        assert [line.get("repeated") for line in lines.lines] == [None, 2, None]
        front.close()


def test_the_kinds_that_are_counted_are_bounded(monkeypatch: pytest.MonkeyPatch, counting: Lines) -> None:
    monkeypatch.setattr(log_repeats, "MOST_KINDS", 3)
    for _ in range(2):
        for number in range(5):
            log.info("line %d", number)
    assert len(counting.lines) == 3 + 2 * 2


def test_it_takes_the_place_of_the_handler_that_it_stands_before(capsys: pytest.CaptureFixture[str]) -> None:
    front = CountRepeats(logging.StreamHandler(sys.stderr), 60)
    front.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    front.setFormatter(JsonFormatter())
    for _ in hung(front):
        log.info("here")
        front.flush()
        front.close()
    assert "INFO: here\n" in capsys.readouterr().err, "the first formatter stays"


@pytest.mark.parametrize(
    ("handler", "seconds"), [("stderr", 60), (None, 60), (logging.NullHandler(), 0), (logging.NullHandler(), "60")]
)
def test_wrong_values_are_refused(handler: Any, seconds: Any) -> None:
    with pytest.raises(ConfigError, match="handler|seconds"):
        CountRepeats(handler, seconds)

"""The fenced log: nothing of the application's logging comes out of it, whatever raises there and at whatever level."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

import msgspec
import pytest

from redis_streams_aio import telemetry
from redis_streams_aio.models import LagReport
from redis_streams_aio.telemetry import DeadLettered, Fact, LagHigh, RetryScheduled, StepFailed, Telemetry, bases, facts
from redis_streams_aio.telemetry.logs import Log, shown

LOGGER = logging.getLogger("redis_streams_aio")
LEVELS = [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL]


class Handler(logging.Handler):
    """Keeps what comes; `broken` raises where it is hung."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def handler() -> Iterator[Handler]:
    one, before, factory = Handler(), LOGGER.level, logging.getLogRecordFactory()
    LOGGER.addHandler(one)
    LOGGER.setLevel(logging.DEBUG)
    yield one
    LOGGER.removeHandler(one)
    LOGGER.setLevel(before)
    logging.setLogRecordFactory(factory)
    for added in LOGGER.filters[:]:
        LOGGER.removeFilter(added)


def in_filter_of_handler(handler: Handler, broken: Callable[..., object]) -> None:
    handler.addFilter(broken)  # type: ignore[arg-type]


def in_filter_of_logger(handler: Handler, broken: Callable[..., object]) -> None:
    LOGGER.addFilter(broken)  # type: ignore[arg-type]


def in_emit(handler: Handler, broken: Callable[..., object]) -> None:
    handler.emit = broken  # type: ignore[method-assign,assignment]


def in_formatter(handler: Handler, broken: Callable[..., object]) -> None:
    handler.emit = handler.format  # type: ignore[method-assign,assignment,return-value]
    handler.formatter = logging.Formatter()
    handler.formatter.format = broken  # type: ignore[method-assign,assignment]


def in_factory(handler: Handler, broken: Callable[..., object]) -> None:
    logging.setLogRecordFactory(broken)


PLACES = [in_filter_of_handler, in_filter_of_logger, in_emit, in_formatter, in_factory]
RAISED = [LookupError("request_id"), RecursionError(), asyncio.CancelledError(), GeneratorExit(), KeyError("group")]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", PLACES)
def test_p14_what_the_applications_logging_raises_harms_nothing(
    handler: Handler,
    capsys: pytest.CaptureFixture[str],
    place: Callable[[Handler, Callable[..., object]], None],
    error: BaseException,
    level: int,
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise error

    place(handler, broken)
    told: list[Fact] = []
    log = Log()
    for number in range(3):
        log.write(level, "line %d", number, error=ValueError("mine"), details={"stream": "s"})
    Telemetry([told.append]).emit(StepFailed(duty="read", error="away", delay=1.0))
    printed = capsys.readouterr().err
    assert len(told) == 1, "observers are told whatever the log does"
    assert printed.count("The line was: line") == 1, "once for each kind, not in a loop"
    assert "The line was: line 0" in printed
    assert type(error).__name__ in printed


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("place", PLACES)
def test_what_ends_the_program_goes_through(
    handler: Handler, place: Callable[[Handler, Callable[..., object]], None], leaving: type[BaseException]
) -> None:
    def broken(*_: object, **__: object) -> object:
        raise leaving

    place(handler, broken)
    with pytest.raises(leaving):
        Log().warning("line")


def test_it_says_nothing_where_the_application_wants_no_errors_of_logging(
    handler: Handler, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler.addFilter(lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr(logging, "raiseExceptions", False)
    Log().warning("line")
    assert capsys.readouterr().err == ""


def test_an_error_that_cannot_be_printed_harms_nothing(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    handler.addFilter(lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    monkeypatch.setattr("sys.stderr", None)
    Log().warning("line")


def test_the_record_names_who_logged_and_has_the_error(handler: Handler) -> None:
    error = ValueError("mine")
    Log().warning("line %d", 7, error=error)
    [record] = handler.records
    assert record.getMessage() == "line 7"
    assert record.funcName == "test_the_record_names_who_logged_and_has_the_error"
    assert record.pathname == __file__
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_what_the_applications_factory_says_stays(handler: Handler) -> None:
    made = logging.getLogRecordFactory()

    def with_group(*args: object, **kwargs: object) -> logging.LogRecord:
        record = made(*args, **kwargs)  # type: ignore[arg-type]
        record.group = "mine"
        return record

    logging.setLogRecordFactory(with_group)
    Log().write(logging.WARNING, "line", details={"group": "ours", "stream": "s"})
    [record] = handler.records
    assert vars(record)["group"] == "mine"
    assert vars(record)["stream"] == "s"


class NoTextError(ValueError):
    """`traceback` asks for the notes of an error, and shields itself from what `__str__` raises, but not from this."""

    @property
    def __notes__(self) -> list[str]:
        raise KeyboardInterruptedError

    def __str__(self) -> str:
        raise ValueError("no text")


class KeyboardInterruptedError(BaseException):
    pass


@pytest.mark.parametrize(
    ("error", "last"),
    [
        (ValueError("caf\udce9"), "ValueError: caf\\udce9"),
        (NoTextError(), "NoTextError"),
        (ValueError("as it is"), "ValueError: as it is"),
    ],
    ids=["a lone surrogate", "no text", "a plain one"],
)
def test_p14_a_traceback_can_be_written_whatever_the_error_says(handler: Handler, error: Exception, last: str) -> None:
    try:
        raise error
    except ValueError as raised:
        Log().error("line", error=raised)
    [record] = handler.records
    written = logging.Formatter().format(record).encode()
    assert written.decode().splitlines()[-1] == last
    assert b"in test_p14_a_traceback" in written
    assert record.exc_info is not None
    assert record.exc_info[1] is error, "error trackers get the error itself"


class Unfriendly:
    def __repr__(self) -> str:
        raise ValueError("no repr")

    def __call__(self, fact: Fact) -> None:
        raise KeyError("no call")


def test_p14_an_observer_without_a_repr_is_told_of_all_the_same(handler: Handler) -> None:
    Telemetry([Unfriendly()]).emit(StepFailed(duty="read", error="away", delay=1.0))
    assert handler.records[-1].getMessage().startswith("callback <Unfriendly object at 0x")
    assert shown(7) == "7"


# -- facts as lines and as attributes ---------------------------------------------------------------------------

EXAMPLES: dict[str, object] = {
    "ids": ("1-0", "2-0"),
    "handlers": ("bill",),
    "report": LagReport("orders", "billing", 3, 2, 1.0),
    "order": "key",
    "exception": KeyError("x"),
    "batch": None,
}


def example(kind: type[Fact]) -> Fact:
    values = {
        field.name: EXAMPLES.get(field.name, "text" if field.type is str else 3)
        for field in msgspec.structs.fields(kind)
    }
    return kind(**values)


KINDS = [one for one in vars(facts).values() if isinstance(one, type) and issubclass(one, Fact) and one.line]


@pytest.mark.parametrize("kind", KINDS)
def test_every_fact_is_one_line_and_has_attributes_that_collide_with_no_record(
    handler: Handler, kind: type[Fact]
) -> None:
    fact = example(kind)
    Telemetry().emit(fact)
    [record] = handler.records
    assert record.getMessage() == str(fact)
    assert "\n" not in str(fact)
    assert len(str(fact)) < 150
    assert record.args == (fact,)
    own = {"name", "msg", "args", "message", "asctime", "taskName", *vars(logging.makeLogRecord({}))}
    details = fact.details()
    assert details.pop("fact") == kind.__name__
    assert "exception" not in details
    assert not own & set(details)
    assert {name: vars(record)[name] for name in details} == details


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        (
            RetryScheduled(
                stream="orders",
                group="billing",
                id="1700-0",
                event_type="OrderPlaced",
                handler="bill",
                failures=1,
                delay=0.4,
                error="KeyError: 'missing'",
            ),
            "orders/billing: retry in 0.4 s after failure 1 of OrderPlaced 1700-0 in bill: KeyError: 'missing'",
        ),
        (
            DeadLettered(stream="s", group="g", id="1-0", reason="unhandled", error="no handler takes it"),
            "s/g: dead letter (unhandled): 1-0 after 0 failures: no handler takes it",
        ),
        (
            telemetry.Subscribed(stream="orders", group="billing", handlers=("bill",), concurrency=64, order="key"),
            "orders/billing: bill, 64 at once, per key",
        ),
        (
            telemetry.Subscribed(stream="s", group="g", handlers=("a", "b"), concurrency=1, order="stream", batch=50),
            "s/g: a, b, one at a time, in batches of 50, in order",
        ),
        (telemetry.ReadingAgain(stream="s", group="g", seconds=12.34), "s/g: reading again after 12.3 s"),
        (
            telemetry.Starved(stream="s", group="g", waiting=300, unwritten=0, seconds=60),
            "s/g: starving: 300 entries wait, 0 acknowledgements are unwritten, the first is due in 60 s",
        ),
        (
            telemetry.Starved(stream="s", group="g", waiting=0, unwritten=2000, seconds=None),
            "s/g: starving: 0 entries wait, 2000 acknowledgements are unwritten",
        ),
        (LagHigh(report=LagReport("s", "g", 7, 3, None)), "s/g: has fallen behind: 10 entries"),
        (
            telemetry.EntriesVanished(stream="s", group="g", ids=tuple("abcdefg")),
            "s/g: 7 entries deleted or trimmed while pending, and cannot be handled: a, b, c, d, e, ...",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Fact) else "",
)
def test_the_lines_are_for_eyes(fact: Fact, line: str) -> None:
    assert str(fact) == line


def test_an_exception_is_no_part_of_comparing_and_showing() -> None:
    shared = {"stream": "s", "group": "g", "id": "1-0", "failures": 1, "delay": 0.1, "error": "x" * 1000}
    one, other = (RetryScheduled(**shared, exception=error) for error in (KeyError("a"), None))  # type: ignore[arg-type]
    assert one == other
    assert hash(one) == hash(other)
    assert one != RetryScheduled(**{**shared, "id": "2-0"})  # type: ignore[arg-type]
    assert one != DeadLettered(stream="s", group="g", id="1-0", reason="x", error="x")
    assert "exception" not in repr(one)
    assert len(repr(one)) < 500


def test_a_fact_without_a_line_of_its_own_is_readable() -> None:
    class QueueFull(bases.GroupFact, frozen=True, kw_only=True):
        count: int

    assert str(QueueFull(stream="s", group="g", count=2)) == "s/g: queue full count=2"

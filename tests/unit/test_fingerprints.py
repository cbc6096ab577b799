"""Dead letters of one cause have one fingerprint, however their texts differ; the captured test is valid Python."""

from __future__ import annotations

import ast
import traceback
from collections.abc import Callable

import msgspec
import pytest

from redis_streams_aio import DeadLetterMessage, Reject
from redis_streams_aio.cli.dead_letters.access import Place
from redis_streams_aio.cli.dead_letters.capture import test_file as file_of
from redis_streams_aio.events import dead_letter
from redis_streams_aio.monitoring.fingerprints import kind_of, merged, most_first


def letter(entry_id: str = "1700000000000-0", **became: str) -> DeadLetterMessage:
    whole = {"reason": "failures", "error": "ValueError: no", "traceback": "", "stream": "orders", "group": "billing"}
    fields = [item.encode() for name, value in (whole | became).items() for item in (f"dead:{name}", value)]
    return dead_letter.parse(entry_id, [b"event_type", b"Order", b"payload", b"{}", *fields])


def raised(call: Callable[[], object]) -> dict[str, str]:
    """What a dead letter has of an error that was raised."""
    try:
        call()
    except Exception as error:  # noqa: BLE001  # whatever it is
        return {"error": f"{type(error).__name__}: {error}", "traceback": "".join(traceback.format_exception(error))}
    raise AssertionError


def fails(text: str) -> None:
    raise ValueError(text)


def fails_too(text: str) -> None:
    raise ValueError(text)


def fails_in_a_library() -> None:
    msgspec.json.decode(b"{")
    ast.parse("(")


def fails_while_handling() -> None:
    try:
        fails("first")
    except ValueError as error:
        raise LookupError("then") from error


async def fails_together() -> None:
    raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])


PLACE = "unit/test_fingerprints.py in "


def test_the_text_of_an_error_makes_no_difference_its_place_and_type_do() -> None:
    one, other, elsewhere = (
        kind_of(letter(**raised(lambda text=text, call=call: call(text))))  # type: ignore[misc]
        for text, call in (("customer 7", fails), ("customer 8\nand more", fails), ("customer 7", fails_too))
    )
    assert (one.error_type, one.place) == ("ValueError", PLACE + "fails")
    assert one.fingerprint == other.fingerprint != elsewhere.fingerprint
    assert elsewhere.place == PLACE + "fails_too"
    assert kind_of(letter(**raised(lambda: fails("x")) | {"reason": "gave_up"})).fingerprint != one.fingerprint


def test_the_line_of_an_error_makes_no_difference() -> None:
    error = raised(lambda: fails("x"))
    moved = error | {"traceback": error["traceback"].replace(", line ", ", line 1")}
    assert kind_of(letter(**error)).fingerprint == kind_of(letter(**moved)).fingerprint


def test_the_place_is_the_last_one_of_user_code() -> None:
    kind = kind_of(letter(**raised(lambda: ast.parse("("))))
    assert (kind.error_type, kind.place) == ("SyntaxError", PLACE + "<lambda>")


def test_a_chain_is_the_error_that_was_raised_last() -> None:
    kind = kind_of(letter(**raised(fails_while_handling)))
    assert (kind.error_type, kind.place) == ("LookupError", PLACE + "fails_while_handling")


def test_a_group_of_exceptions_has_the_type_of_the_group() -> None:
    async def both() -> None:
        raise ExceptionGroup("two", [ValueError("a"), KeyError("b")])

    kind = kind_of(letter(**raised(lambda: both().send(None))))
    assert (kind.error_type, kind.place) == ("ExceptionGroup", PLACE + "both")


def test_a_rejected_event_has_the_place_where_it_was_rejected() -> None:
    def reject() -> None:
        raise Reject("nothing to bill")

    error = raised(reject) | {"error": "nothing to bill", "reason": "rejected"}
    kind = kind_of(letter(**error))
    assert (kind.error_type, kind.place) == ("Reject", PLACE + "reject")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("payload is not an Order: got 'x' at 3", "payload is not an Order: got 'yy' at 12", True),
        ("payload is not an Order: got 'x'", "payload is not an Invoice: got 'x'", False),
    ],
)
def test_without_a_traceback_values_make_no_difference(one: str, other: str, same: bool) -> None:
    kinds = [kind_of(letter(reason="undecodable", error=error)) for error in (one, other)]
    assert [kind.place for kind in kinds] == ["", ""]
    assert (kinds[0].fingerprint == kinds[1].fingerprint) is same


@pytest.mark.parametrize("text", ["", "nonsense", 'File "', '  File "x", line 1, in ', "\udcff", "a\nb: c\n" * 1000])
def test_any_text_has_a_fingerprint(text: str) -> None:
    made = letter()
    made = msgspec.structs.replace(made, traceback=text, error=text)
    assert len(kind_of(made).fingerprint) == 8


def test_kinds_are_merged_and_the_most_numerous_is_first() -> None:
    error = raised(lambda: fails("x"))
    early, late = (kind_of(letter(entry_id, **error)) for entry_id in ("1700000000000-0", "1700000001000-0"))
    both = merged(early, late)
    assert (both.count, both.first, both.last, both.newest_id) == (2, early.first, late.last, "1700000001000-0")
    other = kind_of(letter("1800000000000-0", error="Other: no"))
    assert most_first([other, both]) == [both, other]


HOSTILE = '"""\\\n\x1b\udcff{}%s'


@pytest.mark.parametrize("entry_id", ["1700000000000-0", "nonsense", "0-0", HOSTILE])
def test_a_captured_test_is_valid_python_whatever_the_event_has(entry_id: str) -> None:
    made = letter(**raised(lambda: fails(HOSTILE.replace("\udcff", ""))))
    fields = (b"payload", b'\xff"""\n{}', HOSTILE.encode("utf-8", "surrogateescape"), b"")
    made = msgspec.structs.replace(made, fields=fields, entry_id=entry_id, event_type=HOSTILE)
    text = file_of(made, Place("or{d}ers'", 'bil"ling', None), "shop.events", "app.broker")
    tree = ast.parse(text)
    [listed] = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)]
    pairs = [ast.literal_eval(star.value) for star in listed.elts]
    assert tuple(item for pair in pairs for item in pair) == fields
    assert "from shop.events import app\n" in text

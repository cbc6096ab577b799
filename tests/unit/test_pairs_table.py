"""The table of pairs: its cells are all there are, the docs show it, and no invariant is one that cannot fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from redis_streams_aio.telemetry import EntriesVanished, LeaseLost
from tests.pairs import invariants, table
from tests.pairs.books import At, Attempt, Books, Entry, Letter, Outcome
from tests.pairs.invariants import Terms
from tests.pairs.play import script
from tests.pairs.times import AGAIN, MOST_FAILURES
from tests.pairs.traits import BATCH, DEDUPLICATE, FOLLOW_UP, KEY_ORDER, LOST_GROUP, REPLAY, RETRY, TRAITS, Trait, Word

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
AT = At("stream", "g")


def test_each_pair_is_played_or_has_a_reason_not_to_be() -> None:
    names = {cell.names for cell in table.PAIRS}
    assert len(names) == len(TRAITS) * (len(TRAITS) - 1) / 2 == 136
    assert set(table.NO_SENSE) <= names
    assert {cell.names for cell in table.CELLS} == names - set(table.NO_SENSE)
    assert len({cell.id for cell in table.CELLS}) == len(table.CELLS)
    assert all(cell.promises for cell in table.CELLS)


def test_the_docs_show_the_table() -> None:
    assert table.of_page(PAGE.read_text(encoding="utf-8")) == table.table(), (
        "python -m tests.pairs.table docs/reliability.md"
    )


def test_a_page_without_the_table_is_told() -> None:
    with pytest.raises(ValueError, match="no table below the heading '## Pairs'"):
        table.of_page("# Page\n")


# -- the invariants ---------------------------------------------------------------------------------------------


class Course:
    """Books that are written by hand."""

    def __init__(self) -> None:
        self.books = Books()
        self.now = 100.0

    def attempt(
        self, number: int, outcome: Outcome, *, who: str = "A", failures: int = 0, after: float = 0.1, call: int = -1
    ) -> Attempt:
        """One of a hundred seconds' length."""
        entry = Entry(AT, f"{number}-0")
        self.books.entries[entry] = number % 100
        call = len(self.books.attempts) if call == -1 else call
        attempt = Attempt(who, entry, number % 100, call, failures, False, None, self.now + after)
        attempt.ended, attempt.outcome, attempt.own = attempt.began + 0.01, outcome, True
        attempt.again = AGAIN if outcome in ("raise", "later") else 0.0
        self.now = attempt.ended
        self.books.attempts.append(attempt)
        return attempt


def terms(trait: Trait) -> Terms:
    words: dict[int, tuple[Word, ...]] = {1: ("raise",), 2: ("later",), 3: ("reject",)}
    return Terms((trait, Trait("calm", ())), {"stream": "stream"}, words, filling=frozenset())


def right() -> Course:
    """All as it should be: one fails once, one asks for later, one is rejected, and one is handled at once."""
    course = Course()
    course.attempt(1, "raise")
    course.attempt(1, "ok", failures=1, after=AGAIN)
    course.attempt(2, "later")
    course.attempt(2, "ok", after=AGAIN)
    course.attempt(3, "reject")
    course.attempt(4, "ok")
    course.books.letters.append(Letter(Entry(AT, "3-0"), "rejected", 0, 0))
    return course


def test_where_all_is_right_nothing_is_broken() -> None:
    assert invariants.broken(right().books, terms(RETRY)) == []


def lost(course: Course) -> None:
    course.books.published["stream"]["9-0"] = 9


def never_settled(course: Course) -> None:
    del course.books.attempts[-1]


def handled_twice(course: Course) -> None:
    course.attempt(4, "ok", who="B")


def at_once(course: Course) -> None:
    course.attempt(5, "cut")
    course.attempt(5, "ok", who="B", after=-0.015)


def overtaken(course: Course) -> None:
    course.attempt(6, "ok")
    course.attempt(5, "ok")


def early(course: Course) -> None:
    course.books.attempts[1].began -= 0.1


def counted_too_much(course: Course) -> None:
    course.books.attempts[1].failures = 2


def letter_too_many(course: Course) -> None:
    course.books.letters.append(Letter(Entry(AT, "4-0"), "failures", 0, 0))


def letter_missing(course: Course) -> None:
    course.books.letters.clear()


def letter_with_other_failures(course: Course) -> None:
    course.books.letters[0] = course.books.letters[0]._replace(failures=MOST_FAILURES)


def leaked(course: Course) -> None:
    course.books.attempts[1].foreign = 1


def lease_lost(course: Course) -> None:
    course.books.facts.append(LeaseLost(stream="stream", group="g", id="1-0"))


def vanished(course: Course) -> None:
    course.books.facts.append(EntriesVanished(stream="stream", group="g", ids=("1-0",)))


@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (lost, invariants.nothing_published_is_lost),
        (never_settled, invariants.each_is_settled_as_its_script_says),
        (handled_twice, invariants.nothing_is_handled_after_it_was_settled),
        (at_once, invariants.no_two_at_once),
        (overtaken, invariants.each_begins_behind_those_before_it),
        (early, invariants.no_retry_is_early),
        (counted_too_much, invariants.failures_are_those_that_were_raised),
        (letter_too_many, invariants.dead_letters_are_those_expected),
        (letter_missing, invariants.dead_letters_are_those_expected),
        (letter_with_other_failures, invariants.dead_letters_are_those_expected),
        (leaked, invariants.nothing_leaks_between_events),
        (lease_lost, invariants.no_lease_is_lost),
        (vanished, invariants.no_lease_is_lost),
    ],
)
def test_what_is_wrong_is_seen(spoil: Callable[[Course], None], broken: invariants.Invariant) -> None:
    course = right()
    assert list(broken(course.books, terms(RETRY))) == []
    spoil(course)
    assert list(broken(course.books, terms(RETRY)))


def test_a_copy_that_is_handled_too_is_seen() -> None:
    course = right()
    course.attempt(104, "ok")  # a copy of the fourth
    check = invariants.nothing_is_handled_after_it_was_settled
    assert list(check(course.books, terms(RETRY))) == [], "events without copies are told apart by their entries"
    assert list(check(course.books, terms(DEDUPLICATE)))


@pytest.mark.parametrize("times", [0, 2])
def test_what_is_followed_never_or_twice_is_seen(times: int) -> None:
    course = right()
    handled = [Entry(AT, f"{number}-0") for number in (1, 2, 4)]
    course.books.follow_ups = [*handled]
    assert list(invariants.each_is_followed_once(course.books, terms(FOLLOW_UP))) == []
    course.books.follow_ups = [*handled[1:], *handled[:1] * times]
    assert list(invariants.each_is_followed_once(course.books, terms(FOLLOW_UP)))


def test_what_is_followed_though_it_was_not_handled_is_seen() -> None:
    course = right()
    course.books.follow_ups = [Entry(AT, "3-0")]
    assert list(invariants.each_is_followed_once(course.books, terms(RETRY)))


@pytest.mark.parametrize(("back", "seen"), [([1, 2], False), ([1], True), ([2, 1], True)])
def test_a_batch_that_comes_back_in_pieces_or_backwards_is_seen(back: list[int], seen: bool) -> None:
    course = Course()
    for number in (1, 2):
        course.attempt(number, "later", call=1, after=0)
    for number in back:
        course.attempt(number, "ok", call=2, after=AGAIN)
    check = invariants.a_batch_that_asked_for_later_comes_back_together
    assert bool(list(check(course.books, terms(BATCH)))) is seen
    assert list(check(course.books, terms(RETRY))) == []


def test_a_lost_group_explains_a_second_run_and_forgotten_failures_of_what_it_gave_up() -> None:
    course = right()
    handled_twice(course)
    course.books.attempts[1].failures = 0
    assert len(invariants.broken(course.books, terms(LOST_GROUP))) == 3
    course.books.excused |= {Entry(AT, "1-0"), Entry(AT, "4-0")}
    assert invariants.broken(course.books, terms(LOST_GROUP)) == []


def test_a_replay_begins_anew() -> None:
    course = right()
    course.books.letters.clear()
    course.attempt(3, "ok")
    course.books.attempts[-1].replayed = True
    assert invariants.broken(course.books, terms(REPLAY)) == []
    assert invariants.broken(course.books, terms(RETRY))


def test_events_of_other_keys_go_on_beside_one_that_waits() -> None:
    course = Course()
    course.attempt(1, "raise")
    course.attempt(2, "ok")  # of another key
    course.attempt(4, "ok")  # of the same one
    course.attempt(1, "ok", failures=1, after=AGAIN)
    by_key = Terms((KEY_ORDER, RETRY), {"stream": "key"}, {1: ("raise",)}, filling=frozenset())
    wrong = list(invariants.each_begins_behind_those_before_it(course.books, by_key))
    assert len(wrong) == 1
    assert "4-0 began before 1-0 was settled" in wrong[0]


def test_the_event_in_question_has_the_scripts_of_both() -> None:
    both = script(RETRY, REPLAY)
    assert both.words == {0: ("raise", "reject"), 1: ("raise",), 2: ("reject",)}
    assert both.holding == {0, 1, 2}

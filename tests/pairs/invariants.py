"""What must hold after each play, computed from the books. Each returns what is wrong, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise

from redis_streams_aio.events.entry_ids import parse
from redis_streams_aio.telemetry import EntriesVanished, LeaseLost
from tests.pairs.books import SAID, At, Attempt, Books, Entry, Letter
from tests.pairs.times import CLOCK, MOST_FAILURES
from tests.pairs.traits import Order, Trait, Word


class Terms:
    """What the play was about."""

    def __init__(
        self,
        traits: tuple[Trait, Trait],
        orders: Mapping[str, Order],
        words: Mapping[int, tuple[Word, ...]],
        *,
        filling: frozenset[int],
    ) -> None:
        self.traits = traits
        self.orders = orders
        """By stream."""
        self.words = words
        self.filling = filling
        """Events that ask for later as often as they like."""
        self.copies = any(trait.copies for trait in traits)
        self.batches = any("batch" in trait.options for trait in traits)
        self.replays = any(trait.replays for trait in traits)
        self.follows = any(trait.follows for trait in traits)
        self.loses_leases = any(trait.loses_leases for trait in traits)
        self.forgets = self.loses_leases
        """Failures, and times to wait, of what comes to another process because its group was lost."""


Invariant = Callable[[Books, Terms], Iterator[str]]


def nothing_published_is_lost(books: Books, _: Terms) -> Iterator[str]:
    """What `publish` gave an id for is in the stream."""
    there = {(entry.at.stream, entry.id) for entry in books.entries}
    for stream, ids in books.published.items():
        yield from (
            f"{stream} {entry_id}: published, and not there" for entry_id in ids if (stream, entry_id) not in there
        )


def each_is_settled_as_its_script_says(books: Books, terms: Terms) -> Iterator[str]:
    """Its own outcomes, in order, are those of its script; then it returned. A copy of what was handled has none."""
    for entry, number in books.entries.items():
        story = [str(attempt.outcome) for attempt in books.of(entry) if attempt.own]
        if number in terms.filling:
            story = story[-1:]
        words = list(terms.words.get(number, ()))
        if not terms.replays and "reject" in words:
            expected = words[: words.index("reject") + 1]
        elif words.count("raise") >= MOST_FAILURES and not terms.replays:
            expected = words[:MOST_FAILURES]
        else:
            expected = [*words, "ok"]
        if story == expected or (entry in books.excused and story[: len(expected)] == expected):
            continue
        if terms.copies and "ok" not in story and any(one.outcome == "ok" for one in books.at(entry.at, number)):
            continue
        replays = max((letter.replays for letter in books.letters if letter.entry == entry), default=0)
        if terms.replays and replays and story == expected[: len(story)]:
            continue  # what was given up once more stays
        yield f"{number} {entry.id} of {entry.at}: {story}, expected {expected}"


def nothing_is_handled_after_it_was_settled(books: Books, terms: Terms) -> Iterator[str]:
    """Handled twice only where a crash or a lost group explains it; copies of one event are one."""
    groups: dict[tuple[At, object], list[Attempt]] = {}
    for attempt in books.attempts:
        key = attempt.number if terms.copies else attempt.entry.id
        groups.setdefault((attempt.entry.at, key), []).append(attempt)
    for (at, key), attempts in groups.items():
        if any(attempt.entry in books.excused for attempt in attempts):
            continue
        handled = [attempt.ended for attempt in attempts if attempt.outcome == "ok"]
        if len(handled) > 1 or any(handled and attempt.began > handled[0] for attempt in attempts):
            yield f"{key} of {at}: handled {len(handled)} times, begun {len(attempts)} times"


def no_two_at_once(books: Books, terms: Terms) -> Iterator[str]:
    """No entry, and of copies no event, is in two handlers at the same time."""
    for entry in books.entries:
        attempts = [one for one in books.of(entry) if one.ended]
        if entry in books.excused:
            continue
        for one, other in pairwise(sorted(attempts, key=lambda attempt: attempt.began)):
            if other.began < one.ended:
                yield f"{entry}: in two handlers at once"


def each_begins_behind_those_before_it(books: Books, terms: Terms) -> Iterator[str]:
    """In one process, of one stream or key, in the order of the stream, and not before those before it are settled.

    But for what came from elsewhere, and for copies: these wait aside.
    """
    lanes: dict[tuple[str, At, object], dict[str, list[Attempt]]] = {}
    apart = books.moved | books.excused | (books.copies() if terms.copies else set())
    for attempt in books.attempts:
        order = terms.orders[attempt.entry.at.stream]
        if order == "none" or attempt.entry in apart or attempt.replayed:
            continue
        lane = attempt.who, attempt.entry.at, key_of(attempt.number) if order == "key" else None
        lanes.setdefault(lane, {}).setdefault(attempt.entry.id, []).append(attempt)
    for lane, entries in lanes.items():
        for one, other in pairwise(sorted(entries, key=parse)):
            together = {attempt.call for attempt in entries[one]}  # in a batch
            settled = entries[one][-1].ended
            if any(late.began < settled and late.call not in together for late in entries[other]):
                yield f"{lane}: {other} began before {one} was settled"


def no_retry_is_early(books: Books, terms: Terms) -> Iterator[str]:
    """From the end of an attempt that failed, or asked for later, to the next one, of whatever process."""
    for entry in books.entries:
        for (one, _, given_up), (other, *_) in pairwise(lives(books.of(entry))):
            early = one.ended + one.again - CLOCK - other.began if one.again and not given_up else 0
            if early > 0 and not (terms.forgets and entry in books.excused):
                yield f"{one.number} {entry}: again {early:.3f} s early"


def failures_are_those_that_were_raised(books: Books, terms: Terms) -> Iterator[str]:
    """A drain, a crash, a wish and a lost lease add none; a replay begins anew."""
    for entry in books.entries:
        for attempt, failures, _ in lives(books.of(entry)):
            forgotten = terms.forgets and entry in books.excused and attempt.failures < failures
            if attempt.failures != failures and not forgotten:
                yield f"{attempt.number} {entry}: {attempt.failures} failures, {failures} were raised"


def lives(attempts: Iterable[Attempt]) -> Iterator[tuple[Attempt, int, bool]]:
    """Each attempt at an entry, with what was raised before it in this life, and whether it ends this life."""
    before = 0
    for attempt in attempts:
        failures = attempt.failures + (attempt.outcome == "raise")
        given_up = attempt.outcome == "reject" or failures >= MOST_FAILURES
        yield attempt, before, given_up
        before = 0 if given_up else failures


def dead_letters_are_those_expected(books: Books, terms: Terms) -> Iterator[str]:
    """One for each entry that was given up in the end, with the failures of all its lives."""
    found: dict[Entry, list[Letter]] = {}
    for letter in books.letters:
        found.setdefault(letter.entry, []).append(letter)
    for entry in books.entries:
        story = [life for life in lives(books.of(entry)) if life[0].outcome in (*SAID, "ok")]
        letters = found.pop(entry, [])
        if terms.forgets and entry in books.excused:
            if not letters and all(attempt.outcome != "ok" for attempt, *_ in story) and not terms.copies:
                yield f"{entry}: neither handled nor given up"
            continue
        expected = []
        if story and story[-1][2]:
            reason = "rejected" if story[-1][0].outcome == "reject" else "failures"
            expected = [(reason, sum(attempt.outcome == "raise" for attempt, *_ in story))]
        if [(letter.reason, letter.failures) for letter in letters] != expected:
            yield f"{entry}: expected {expected or 'no'} dead letter, found {letters or 'none'}"
    yield from (f"dead letters of {entry}, which is not there" for entry in found)


def each_is_followed_once(books: Books, terms: Terms) -> Iterator[str]:
    """What a handler publishes with its acknowledgement is there once for each entry that was handled."""
    handled = Counter(attempt.entry for attempt in books.attempts if attempt.outcome == "ok")
    found = Counter(books.follow_ups)
    for entry in handled if terms.follows else ():
        most = handled[entry] if terms.loses_leases and entry in books.excused else 1
        if not 1 <= found[entry] <= most:
            yield f"{entry}: followed {found[entry]} times"
    yield from (f"{entry}: followed, and not handled" for entry in found - handled)


def a_batch_that_asked_for_later_comes_back_together(books: Books, terms: Terms) -> Iterator[str]:
    """The same events, in the same order, where nobody took them away."""
    calls: dict[tuple[str, At, int], list[Attempt]] = {}
    for attempt in books.attempts if terms.batches else ():
        calls.setdefault((attempt.who, attempt.entry.at, attempt.call), []).append(attempt)
    for (who, at, number), attempts in calls.items():
        batch = [attempt.entry.id for attempt in attempts]
        if attempts[0].outcome != "later" or any(one.entry in books.moved | books.excused for one in attempts):
            continue
        following = next(
            (
                [one.entry.id for one in others]
                for (_, where, later), others in calls.items()
                if where == at and others[0].began > attempts[0].ended and batch[0] in [one.entry.id for one in others]
            ),
            [],
        )
        if following[: len(batch)] != batch:
            yield f"{who} {at} call {number}: {len(batch)} asked for later, {len(following)} came back"


def nothing_leaks_between_events(books: Books, _: Terms) -> Iterator[str]:
    """Each attempt begins in a context of its own."""
    leaked = [attempt for attempt in books.attempts if attempt.foreign is not None]
    if leaked:
        yield f"{len(leaked)} of {len(books.attempts)} attempts saw what another had left in the context"


def no_lease_is_lost(books: Books, terms: Terms) -> Iterator[str]:
    """Nobody takes what a living process holds; nothing vanishes."""
    for fact in books.facts:
        if isinstance(fact, EntriesVanished) or (isinstance(fact, LeaseLost) and not terms.loses_leases):
            yield str(fact)


def key_of(number: int) -> str:
    """The ordering key of an event."""
    return f"k{number % 3}"


ALL: tuple[Invariant, ...] = (
    nothing_published_is_lost,
    each_is_settled_as_its_script_says,
    nothing_is_handled_after_it_was_settled,
    no_two_at_once,
    each_begins_behind_those_before_it,
    no_retry_is_early,
    failures_are_those_that_were_raised,
    dead_letters_are_those_expected,
    each_is_followed_once,
    a_batch_that_asked_for_later_comes_back_together,
    nothing_leaks_between_events,
    no_lease_is_lost,
)


def broken(books: Books, terms: Terms) -> list[str]:
    """What does not hold."""
    return [f"{check.__name__.replace('_', ' ')}: {wrong}" for check in ALL for wrong in check(books, terms)]

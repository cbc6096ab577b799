"""The English of the project: phrases that stop a reader in a hurry may not come back.

Noun, verb, consequence. `RULES` names each phrase and what to write instead. `STILL_TO_DO` counts the phrases that old
files still have; a count may only fall. After a rewrite, `python -m tests.test_words` lowers the counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.docs.prose import CODE, PAGES, ROOT, Passage, passages


class Rule(msgspec.Struct, frozen=True):
    """A phrase that is not used, and what to write instead."""

    pattern: str
    instead: str
    docstrings_only: bool = False
    allowed_in: tuple[str, ...] = ()

    def found_in(self, passage: Passage) -> Iterator[re.Match[str]]:
        """Each place of the phrase; a space in a pattern is any white space in the text."""
        if passage.is_docstring or not self.docstrings_only:
            yield from re.finditer(self.pattern.replace(" ", r"\s+"), passage.text)


PROMISES = ("docs/promises.md", "docs/reliability.md", "docs/conformance.md", "redis_streams_aio/testing/conformance/")
"""Where promises are named by their numbers: the pages that list them, and the suite that shows them."""

RULES = {
    "See the module": Rule(r"See the module", "the sentence itself: `help()` shows nothing else"),
    "promise number": Rule(r"\bP\d{1,2}\b", "the promise in words", allowed_in=PROMISES),
    "first word": Rule(
        r"\A\s*(What|Whoever|Those|It|Of|None|One (of|that|to|which|who|whose))\b",
        "a first sentence with a subject or an imperative verb, which stands alone in `help()`",
        docstrings_only=True,
    ),
    "sentence without a noun": Rule(
        r"[.] (What|Whoever|Those|Of (what|that|those)) (?!else\b|to do:)(?=[^.?]*[.;])",
        "the noun: 'Entries that ...', 'The process that ...'",
    ),
    "is no X": Rule(
        r"(?<![Tt]here)(?<!\s) (is|are|was|were) no (?!longer\b|more than\b|\w+er than\b|\*)(?=\w)", "'is not a X'"
    ),
    "whoever": Rule(r"\b[Ww]hoever\b", "who it is: 'the caller', 'the consumer that ...'"),
    "made again": Rule(r"\b(made|make|makes|making) again\b|\banew\b", "recreated, again"),
    "given back": Rule(r"\b(give|gives|given|giving|gave)( (it|them|the|what|one|all))?( \w+)? back\b", "released"),
    "at it": Rule(r"\b(is|are|was|were|still|be) at it\b", "'is handling it'"),
    "so many": Rule(r"\bso many\b", "the name of the number: '`count` entries', '`lease` seconds'"),
    "of ours": Rule(
        r"\bof (ours|theirs|one's own)\b|\bof (a|the) user's(?= (is|may|own|that|which)\b|[^\w\s]|\Z)",
        "'our X', 'user code', 'a user's X'",
    ),
    "no more": Rule(r"\bno more(?=[.,:;)]|\Z)|\bof no more use\b", "'no longer'; 'the connection is unusable'"),
    "hands": Rule(r"\bin (other|our|its|their|his|other's) hands\b", "'held by ...'"),
    "end": Rule(r"\bbrought to (its|an|their) end\b", "settled, finished"),
    "nobody is": Rule(r"\bthat nobody is\b", "'the reserved consumer name ...'"),
    "looked at once more": Rule(r"\blook(s|ed)? at once more\b", "'checked again'"),
    "mend": Rule(r"\bmend(s|ed|ing)?\b", "fix, repair"),
    "upon": Rule(r"\b(up)on (which|whom)\b|\bupon\b", "on, when"),
}

TO_DO = ROOT / "tests/docs/still_to_do.txt"
STILL_TO_DO = {path: int(count) for path, count in map(str.split, TO_DO.read_text(encoding="utf-8").splitlines())}
"""Phrases left in each file. Counts only fall: lower the number in the commit that rewrites the file."""


def path_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def hits(file: Path) -> list[str]:
    """A line for each phrase that a file has."""
    path = path_of(file)
    rules = [(name, rule) for name, rule in RULES.items() if not path.startswith(rule.allowed_in)]
    return [
        f"{path}:{passage.line + passage.text[: match.start()].count(chr(10))}: {name}: "
        f"{shown(passage.text, match)!r}; write {rule.instead}"
        for passage in passages(file)
        for name, rule in rules
        for match in rule.found_in(passage)
    ]


def shown(text: str, match: re.Match[str]) -> str:
    """The phrase and a few words around it, on one line."""
    return " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())


@pytest.mark.parametrize("file", [*CODE, *PAGES], ids=path_of)
def test_the_phrases_that_stop_a_reader_only_become_fewer(file: Path) -> None:
    found, allowed = hits(file), STILL_TO_DO.get(path_of(file), 0)
    assert len(found) <= allowed, "\n".join(["write these in plain words:", *found])
    assert len(found) == allowed, "fewer phrases than tests/docs/still_to_do.txt says: run python -m tests.test_words"


def test_the_list_of_files_to_do_names_files_that_are_there() -> None:
    assert set(STILL_TO_DO) <= set(map(path_of, [*CODE, *PAGES])), "a file has moved: move its line too"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("See the module", "See the module."),
        ("promise number", "in order (P5)"),
        ("first word", "What a handler raised, as a value from here on."),
        ("first word", "Of one consumer."),
        ("sentence without a noun", "It is stored. What was written is checked."),
        ("is no X", "the payload is no\n    JSON"),
        ("whoever", "for whoever is a reader"),
        ("made again", "the group is made again"),
        ("given back", "entries given back"),
        ("given back", "it gives the rest back"),
        ("at it", "who is at it"),
        ("so many", "after so many seconds"),
        ("of ours", "a bug of ours"),
        ("no more", "in its stream no more."),
        ("hands", "entries in other hands"),
        ("end", "it cannot be brought to its end"),
        ("nobody is", "a consumer that nobody is"),
        ("looked at once more", "it is looked at once more"),
        ("mend", "mends nothing"),
        ("upon", "what it came upon"),
    ],
)
def test_the_rules_find_their_samples(name: str, text: str) -> None:
    assert list(RULES[name].found_in(Passage(1, text, is_docstring=True)))


@pytest.mark.parametrize(
    "text",
    [
        "There is no such stream; there are no consumers.",
        "The entry is no longer pending; the group is no more than 5 entries behind.",
        "`None` where Redis does not know.",
        "Once a minute.",
        "Redis gives a reply. It comes back later.",
    ],
)
def test_plain_english_passes(text: str) -> None:
    passage = Passage(1, text, is_docstring=True)
    assert not [name for name, rule in RULES.items() if list(rule.found_in(passage))]


if __name__ == "__main__":
    counts = {path_of(file): min(len(hits(file)), STILL_TO_DO.get(path_of(file), 0)) for file in [*CODE, *PAGES]}
    TO_DO.write_text("".join(f"{path} {count}\n" for path, count in counts.items() if count), encoding="utf-8")

"""Fingerprints: dead letters that have the same cause have the same one.

A fingerprint is made of the reason, the type of the error, and its place: file and function of the last frame of user
code in the traceback. Neither the line nor the text of the error is part of it, so it survives an edit of the file, and
does not differ from customer to customer. Dead letters without a traceback (`undecodable`, `unhandled`, `deliveries`)
have their event type and the text of the error instead of a place, without numbers and quoted values. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from ..models import DeadLetterKind, DeadLetterMessage

_FRAME = re.compile(r'^[ |]*File "(?P<file>[^"\n]+)", line \d+, in (?P<function>.+)$', re.MULTILINE)
_TYPE = re.compile(r"(?P<type>[A-Za-z_]\w*)(: |$)")
_LAST_LINE = re.compile(r"^[ |]*(?:\w+\.)*(?P<type>[A-Za-z_]\w*)(?:: |$)", re.MULTILINE)
_NOT_OURS = re.compile(r"/(site|dist)-packages/|/redis_streams_aio/|/lib/python\d|^<frozen |^<string>")
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")
_DIGITS = 8


def kind_of(letter: DeadLetterMessage) -> DeadLetterKind:
    """Return the kind of a dead letter, as a kind of this one alone."""
    error_type, place = _error_type(letter), _place(letter.traceback)
    parts = (letter.reason, error_type, place or f"{letter.event_type} {_VALUES.sub('#', letter.error)}")
    return DeadLetterKind(
        fingerprint=hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:_DIGITS],
        reason=letter.reason,
        error_type=error_type,
        place=place,
        count=1,
        event_types=(letter.event_type,),
        first=letter.timestamp,
        last=letter.timestamp,
        newest_id=letter.id,
        newest_error=letter.error,
    )


def merged(kind: DeadLetterKind, later: DeadLetterKind) -> DeadLetterKind:
    """Return a kind that has the dead letters of both; `later` has the newer ones."""
    return DeadLetterKind(
        fingerprint=kind.fingerprint,
        reason=kind.reason,
        error_type=kind.error_type,
        place=kind.place,
        count=kind.count + later.count,
        event_types=tuple(sorted({*kind.event_types, *later.event_types})),
        first=min(kind.first, later.first),
        last=max(kind.last, later.last),
        newest_id=later.newest_id,
        newest_error=later.newest_error,
    )


def most_first(kinds: Iterable[DeadLetterKind]) -> list[DeadLetterKind]:
    """Return kinds with the most numerous first; of two that are as numerous, the one that happened last."""
    return sorted(kinds, key=lambda kind: (kind.count, kind.last), reverse=True)


def _error_type(letter: DeadLetterMessage) -> str:
    """Return the class of the error; empty if the library raised none."""
    if not letter.traceback:
        return ""
    lines: Sequence[re.Match[str]] = list(_LAST_LINE.finditer(letter.traceback))
    named = _TYPE.match(letter.error)
    types = [line["type"] for line in lines]
    if named and named["type"] in types:
        return named["type"]
    return types[-1] if types else ""


def _place(traceback: str) -> str:
    """Return file and function of the last frame of user code: `shop/orders.py in bill`; empty without frames."""
    frames = [(frame["file"].replace("\\", "/"), frame["function"]) for frame in _FRAME.finditer(traceback)]
    ours = [frame for frame in frames if not _NOT_OURS.search(frame[0])] or frames
    if not ours:
        return ""
    file, function = ours[-1]
    return f"{'/'.join(file.split('/')[-2:])} in {function}"

"""Write a dead letter as a test: a pytest file that lets the application's own broker handle the event again.

The test runs the broker in `redis_streams_aio.testing.harness` on `memory://`, so it needs no server and changes
nothing anywhere, except what the handlers themselves do. It fails as the event did, and passes as soon as the group can
handle the event. It also fails if the broker has no handler for the group, since it would show nothing then.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...models import DeadLetterMessage
from ...monitoring.fingerprints import kind_of
from ..show import visible
from .access import Place

_ID = re.compile(r"\d{1,20}-\d{1,20}")

_FILE = '''\
"""{title}

The test fails as the event did, and passes when the group can handle it. Captured from dead letter {letter}.
"""

import asyncio

from {module} import {root}
from redis_streams_aio import testing

STREAM, GROUP = {stream!r}, {group!r}
FIELDS = [
{fields}
]


def test_{name}() -> None:
    asyncio.run(_handled())


async def _handled() -> None:
    async with testing.harness({broker}, "memory://") as h:
        groups = [(one.stream, one.group) for one in {broker}.status]
        assert (STREAM, GROUP) in groups, f"the broker does not handle it, only {{groups}}"
        await h.connection.call("XADD", STREAM, {entry!r}, *FIELDS)
        await h.settled(timeout=60)
        letters = [letter for letter in await h.dead_letters(STREAM) if letter.group == GROUP]
    assert not letters, f"{{letters[0].reason}}: {{letters[0].error}}\\n{{letters[0].traceback}}"
'''


def name_of(letter: DeadLetterMessage) -> str:
    """Return the name of the test, and of its file without `.py`: `dead_letter_1700000000000_0`."""
    return f"dead_letter_{letter.id.replace('-', '_')}"


def test_file(letter: DeadLetterMessage, place: Place, module: str, attribute: str) -> str:
    """Return the text of a pytest file for the broker at `module:attribute`."""
    return _FILE.format(
        title=_in_a_docstring(f"{_title(letter)} ({place})."),
        letter=_in_a_docstring(letter.id),
        module=module,
        root=attribute.partition(".")[0],
        broker=attribute,
        stream=place.stream,
        group=place.group,
        fields="\n".join(_fields(letter)),
        name=name_of(letter),
        entry=letter.entry_id if _ID.fullmatch(letter.entry_id) and letter.entry_id != "0-0" else "*",
    )


def _title(letter: DeadLetterMessage) -> str:
    kind = kind_of(letter)
    what = letter.event_type or "An entry"
    if kind.error_type and kind.place:
        return f"{what}: {kind.error_type} at {kind.place}"
    return f"{what}: {letter.reason}"


def _fields(letter: DeadLetterMessage) -> Iterator[str]:
    """Yield the event's own fields, unchanged: a line for each name and value."""
    for name, value in zip(letter.fields[::2], letter.fields[1::2], strict=False):
        yield f"    *({name!r}, {value!r}),"


def _in_a_docstring(text: str) -> str:
    """Return a text that cannot end the docstring, or escape from it."""
    return visible(text).replace("\\", "/").replace('"', "'")

"""Counting: how many entries are in a range of ids, page by page, without sending them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..replies import Reply, checked_id, count, pair, reads
from .script import Script

if TYPE_CHECKING:
    from ..connection import Connection

PAGE = 500
"""Entries that one step counts: half a millisecond of the server's time, if they are small."""

COUNT = Script(
    """
-- ARGV: the range, most entries to count. Returns how many there are, and the id of the last one, or ''.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[2], 'COUNT', ARGV[3])
return {#found, #found > 0 and found[#found][1] or ''}
""",
    keys={"stream": "xrange"},
)


async def count_before(connection: Connection, stream: str, end: str, most: int) -> int:
    """Return how many entries have an id before `end`; at most about `most` are counted.

    Raises `StreamTypeError`, `RedisUnavailableError`, `ServerError`.
    """
    counted, start = 0, "-"
    while counted < most:
        page, last = counted_page(await connection.run(COUNT, stream, start, f"({end}", PAGE))
        counted += page
        if page < PAGE:
            break
        start = f"({last}"
    return counted


@reads
def counted_page(reply: Reply) -> tuple[int, str]:
    """The reply of `COUNT`."""
    found, last = pair(reply)
    return count(found), "" if last == b"" else checked_id(last).decode()

"""Time that passes at Redis, without waiting: what it keeps about a group is made older.

Redis's own clock cannot be moved, so everything that is compared with it is: the idle times of pending entries (a
lease that runs out), the due times in failure records (a retry), and the marks of handled events (`deduplicate`).
Entry ids stay as they are, and with them whatever goes by an entry's age: lag, retention.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from .. import naming
from ..connection import Connection, replies
from ..consumer import history
from ..exceptions import GroupNotFoundError

_PAGE = 1000


async def age(connection: Connection, stream: str, group: str, seconds: float, living: Collection[str]) -> None:
    """Make what Redis keeps about a group older.

    Entries of the consumers `living` keep their age: these would have renewed them. Raises `RedisUnavailableError`,
    `ServerError`.
    """
    passed_ms = round(seconds * 1000)
    await _age_records(connection, naming.failures(stream, group), passed_ms)
    await _age_marks(connection, naming.done(stream, group, b"").decode(), passed_ms)
    for entry_id, consumer, idle_ms in await pending(connection, stream, group):  # last: whoever takes one over reads
        if consumer not in living:  # its record
            await connection.call("XCLAIM", stream, group, consumer, 0, entry_id, "IDLE", idle_ms + passed_ms, "JUSTID")


async def pending(connection: Connection, stream: str, group: str) -> list[tuple[str, str, int]]:
    """Id, consumer and idle milliseconds of everything that is pending; nothing where there is no group."""
    found: list[tuple[str, str, int]] = []
    start = "-"
    while True:
        try:
            page = replies.pending(await connection.call("XPENDING", stream, group, start, "+", _PAGE))
        except GroupNotFoundError:
            return found
        found += [(one.id, one.consumer, round(one.idle * 1000)) for one in page]
        if len(page) < _PAGE:
            return found
        start = f"({page[-1].id}"


async def _age_records(connection: Connection, key: str, passed_ms: int) -> None:
    found = replies.rows(await connection.call("HGETALL", key))
    for field, text in zip(found[::2], found[1::2], strict=True):
        if isinstance(field, bytes) and isinstance(text, bytes) and (record := history.parse(text)) is not None:
            first_ms, due_ms = max(0, record.first_ms - passed_ms), max(0, record.due_ms - passed_ms)
            await connection.call("HSET", key, field, f"{record.failures} {first_ms} {due_ms} {record.error}")


async def _age_marks(connection: Connection, prefix: str, passed_ms: int) -> None:
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
    cursor: str | bytes = "0"
    while True:
        reply = replies.rows(await connection.call("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE))
        for key in map(replies.text, replies.rows(reply[1])):
            left_ms = replies.integer(await connection.call("PTTL", key))
            if 0 <= left_ms <= passed_ms:
                await connection.call("DEL", key)
            elif left_ms > 0:
                await connection.call("PEXPIRE", key, left_ms - passed_ms)
        cursor = replies.text(reply[0])
        if cursor == "0":
            return

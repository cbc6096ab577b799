"""Let time pass at Redis without waiting, by making the state of a group older.

Redis's own clock cannot be moved, so everything that is compared with it is changed: the idle times of pending entries
(leases), the due times in failure records (retries), and the marks of handled events (`deduplicate`). Entry ids do not
change, so lag and retention do not see the time pass.

Handlers of due events run meanwhile, and write too. So records and idle times are made older in one atomic step, and
marks before any event becomes due: later writes are not made older.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from ..connection import Connection, replies
from ..connection.steps import pending as steps
from ..connection.steps.records import COMPOSE, PARSE
from ..connection.steps.script import Script
from ..events import keys
from ..exceptions import GroupNotFoundError
from ..handlers.subscription_options import SubscriptionOptions

_PAGE = 1000

_AGE = Script(
    COMPOSE
    + PARSE
    + """
-- ARGV: group, milliseconds, page size, lease, who owns what is released, the consumers whose entries keep their age.
local records = redis.call('HGETALL', KEYS[2])
for i = 1, #records, 2 do
  local failures, first, due, delay, error = parsed(records[i + 1])
  if failures and not string.find(records[i], ':', 1, true) then
    first, due = math.max(0, first - ARGV[2]), math.max(0, due - ARGV[2])
    redis.call('HSET', KEYS[2], records[i], composed(failures, first, due, delay, error))
  end
end
local living = {}
for i = 6, #ARGV do living[ARGV[i]] = true end
local start = '-'
while start do
  local page = redis.pcall('XPENDING', KEYS[1], ARGV[1], start, '+', ARGV[3])
  if page.err then return end  -- no such stream or group
  for _, one in ipairs(page) do
    if not living[one[2]] then
      -- to claim it makes its owner one that lives; so what is older than a lease is nobody's from here on
      local idle = one[3] + ARGV[2]
      local owner = idle < tonumber(ARGV[4]) and one[2] or ARGV[5]
      redis.call('XCLAIM', KEYS[1], ARGV[1], owner, 0, one[1], 'IDLE', string.format('%.0f', idle), 'JUSTID')
    end
  end
  start = #page == tonumber(ARGV[3]) and '(' .. page[#page][1]
end
""",
    keys={"stream": "xpending xclaim", "failures": "hgetall hset"},
)


async def age(connection: Connection, options: SubscriptionOptions, seconds: float, living: Collection[str]) -> None:
    """Make failure records and idle times older, in one step; release entries that are then older than the lease.

    Entries of the consumers `living` keep their age: these would have renewed them. Raises `RedisUnavailableError`,
    `ServerError`.
    """
    failures = keys.failures(options.stream, options.group)
    passed_ms, lease_ms = round(seconds * 1000), round(options.lease * 1000)
    at = options.stream, failures, options.group
    await connection.run(_AGE, *at, passed_ms, _PAGE, lease_ms, keys.RELEASED, *living)


async def age_marks(connection: Connection, stream: str, group: str, seconds: float) -> None:
    """Make the marks of handled events older. Raises `RedisUnavailableError`, `ServerError`."""
    passed_ms = round(seconds * 1000)
    prefix = keys.done(stream, group, b"").decode()
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + "*"
    cursor: str | bytes = "0"
    while True:
        link = connection.link("control", stream)  # the marks are on its node
        reply = replies.rows(await link.call("SCAN", cursor, "MATCH", pattern, "COUNT", _PAGE))
        for key in map(replies.text, replies.rows(reply[1])):
            left_ms = replies.integer(await connection.call("PTTL", key))
            if 0 <= left_ms <= passed_ms:
                await connection.call("DEL", key)
            elif left_ms > 0:
                await connection.call("PEXPIRE", key, left_ms - passed_ms)
        cursor = replies.text(reply[0])
        if cursor == "0":
            return


async def pending(connection: Connection, stream: str, group: str) -> list[tuple[str, str, int]]:
    """Return id, consumer and idle milliseconds of all pending entries; an empty list if there is no group."""
    found: list[tuple[str, str, int]] = []
    start = "-"
    while True:
        try:
            page = await steps.pending(connection, stream, group, _PAGE, start=start)
        except GroupNotFoundError:
            return found
        found += [(one.id, one.consumer, round(one.idle * 1000)) for one in page]
        if len(page) < _PAGE:
            return found
        start = f"({page[-1].id}"

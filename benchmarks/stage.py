"""A server of one measurement's own: started, filled, asked what is left and what it did, and removed."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

from redis import Redis

from redis_streams_aio.testing.servers import Server

from .workload import FIRST, GROUP

Template = list[bytes]
"""The fields of the first order's entry, names and values in turn."""

_FILL = """
local first = ARGV[1]
for number = tonumber(ARGV[2]), tonumber(ARGV[3]) do
    local fields = {}
    for index = 4, #ARGV do
        local value = string.gsub(ARGV[index], first, string.format('%d', number))
        fields[index - 3] = value
    end
    redis.call('XADD', KEYS[1], '*', unpack(fields))
end
"""
_AT_ONCE = 10_000
_OUR_OWN = {"info", "config|resetstat", "client|setinfo", "client|setname", "hello"}


class Stage:
    """The server, while the context is open."""

    def __enter__(self) -> Self:
        self._server = Server().start()
        self.url: str = self._server.url
        self._redis: Any = Redis.from_url(self.url, protocol=2, socket_timeout=60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._redis.close()
        self._server.remove()

    def fill(self, stream: str, template: Template, count: int, *, first: int = FIRST) -> None:
        """Add `count` entries that differ from the template in their number alone."""
        for begin in range(first, first + count, _AT_ONCE):
            last = min(begin + _AT_ONCE, first + count) - 1
            self._redis.eval(_FILL, 1, stream, FIRST, begin, last, *template)

    def make_group(self, stream: str) -> None:
        """Make the group, at the beginning of the stream."""
        self._redis.xgroup_create(stream, GROUP, id="0", mkstream=True)

    def leave_pending(self, stream: str, count: int) -> None:
        """A consumer that reads so many entries, and dies."""
        self.make_group(stream)
        for begin in range(0, count, _AT_ONCE):
            self._redis.xreadgroup(GROUP, "dead", {stream: ">"}, count=min(_AT_ONCE, count - begin))

    def first_entry(self, stream: str) -> Template:
        """The fields of a stream's first entry."""
        ((_, fields),) = self._redis.xrange(stream, count=1)
        return [part for pair in fields.items() for part in pair]

    def length(self, stream: str) -> int:
        """How many entries are in it."""
        return int(self._redis.xlen(stream))

    def left(self, stream: str) -> int:
        """How many events of the group are not acknowledged yet, delivered or not."""
        (group,) = self._redis.xinfo_groups(stream)
        return int(group["pending"]) + int(group["lag"] or 0)

    def wait_until_left(self, stream: str, count: int, seconds: float) -> None:
        """Wait until no more than so many are left. Raises `TimeoutError`."""
        self._wait(lambda: self.left(stream) <= count, seconds, f"more than {count} events are left")

    def wait_for_consumers(self, stream: str, count: int, seconds: float) -> None:
        """Wait until so many consumers read. Raises `TimeoutError`."""
        there = partial(self._redis.xinfo_consumers, stream, GROUP)
        self._wait(lambda: len(there()) >= count, seconds, f"fewer than {count} consumers")

    def _wait(self, ready: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {seconds:.0f} s: {otherwise}")
            time.sleep(0.01)


def commands(url: str) -> int:
    """How many commands a server has run, those inside of scripts too."""
    with Redis.from_url(url, protocol=2) as redis:
        stats: dict[str, dict[str, int]] = redis.info("commandstats")
    names = ((name.removeprefix("cmdstat_"), stat["calls"]) for name, stat in stats.items())
    return sum(calls for name, calls in names if name not in _OUR_OWN)

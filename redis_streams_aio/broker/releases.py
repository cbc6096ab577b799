"""The watch for released entries: one command asks for all subscriptions of a process.

A consumer that releases entries counts that in a key beside the stream (`keys.releases`), in the same atomic step. When
a count has changed, its subscription looks at once. So no subscription has to look as often as drains are noticed.

Its answers also show that Redis is not silent, while reads wait for long (`Subscription.heard`).

When things fail: a count that was lost, or never written (by hand, with `XCLAIM`), means that the entries are found
with the subscription's next look, after a lease at the latest. Where the counts may not be read, all subscriptions look
at every turn.
"""

from __future__ import annotations

from ..connection import Connection, replies
from ..connection.replies import Reply
from ..events import keys
from ..exceptions import PermissionDeniedError
from .running import Running


class ReleaseWatch:
    """Compares the counts of releases with those of the last turn, and has subscriptions look."""

    def __init__(self, connection: Connection, running: Running) -> None:
        self._connection = connection
        self._running = running
        self._counts: dict[str, Reply] = {}

    async def run_once(self) -> None:
        """Compare the counts with those of the last turn. Raises `RedisUnavailableError`, `ServerError`."""
        watched = {keys.releases(each.options.stream, each.options.group): each for each in self._running}
        if not watched:
            return
        try:
            counts = replies.rows(await self._connection.call("MGET", *watched))
        except PermissionDeniedError:
            self._counts, counts = {}, [None] * len(watched)
        for (key, subscription), count in zip(watched.items(), counts, strict=False):
            subscription.heard()
            if key not in self._counts or self._counts[key] != count:
                subscription.look()
            self._counts[key] = count

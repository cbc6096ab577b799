"""The release watch asks Redis whether entries were released, and has subscriptions search for them at once.

One command asks for all subscriptions of a process.

A consumer that releases entries counts that in a key beside the stream (`keys.releases`), in the same atomic step. When
a count has changed, its subscription searches at once. So drains are noticed soon, although each subscription by itself
searches rarely.
A change of a group's controls is counted in the same key. So its subscription reads the controls then (`controls`), and
at each turn while the group is paused.

Its answers also show that Redis is not silent, while reads wait for long (`Subscription.heard`).

When things fail: a count that was lost, or never written (by hand, with `XCLAIM`), means that the entries are found
with the subscription's next look, after a lease at the latest. Where the counts may not be read, all subscriptions look
at every turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ..connection import Connection, replies
from ..connection.replies import Answer
from ..consumer.subscription import Subscription
from ..events import keys
from ..exceptions import PermissionDeniedError, RedisStreamsError, RedisUnavailableError
from .running import Running

LookAtControls = Callable[[Sequence[Subscription]], Awaitable[None]]


class ReleaseWatch:
    """Compares the counts of releases with those of the last turn, and has subscriptions look.

    `controls` reads the controls of some, and has them obey.
    """

    def __init__(self, connection: Connection, running: Running, controls: LookAtControls) -> None:
        self._connection = connection
        self._running = running
        self._controls = controls
        self._counts: dict[str, Answer] = {}

    async def run_once(self) -> None:
        """Compare the counts with those of the last turn. Raises `RedisUnavailableError`, `ServerError`."""
        watched = {keys.releases(each.options.stream, each.options.group): each for each in self._running}
        if not watched:
            return
        counts = await self._read([*watched])
        heard = {
            key: (subscription, count)
            for (key, subscription), count in zip(watched.items(), counts, strict=False)
            if not isinstance(count, RedisUnavailableError)  # its node is away, and the others are not
        }
        told = [each for key, (each, count) in heard.items() if self._has_news(key, each, count)]
        await self._controls(told)  # before the counts are noted: else a failure would hide their news
        self._counts |= {key: count for key, (_, count) in heard.items()}

    def _has_news(self, key: str, subscription: Subscription, count: Answer) -> bool:
        """Have a subscription look if entries were released to it; return whether its controls are to be read."""
        subscription.heard()
        is_new = key not in self._counts or self._counts[key] != count
        if is_new:
            subscription.search_soon()
        return is_new or subscription.holds.of("group") is not None

    async def _read(self, watched: Sequence[str]) -> list[Answer]:
        """Return the counts, or why one cannot be read. Raises if none can be read now."""
        if self._connection.is_cluster:  # one command has keys of one slot only
            return _counts(await self._connection.call_many([("MGET", key) for key in watched]))
        try:
            return [*replies.rows(await self._connection.call("MGET", *watched))]
        except PermissionDeniedError as error:
            return [error] * len(watched)


def _counts(answers: Sequence[Answer]) -> list[Answer]:
    """Read the answers of several nodes. Raises where all are away, and an error that is not about one of them."""
    counts = [_count(answer) for answer in answers]
    if all(isinstance(count, RedisUnavailableError) for count in counts):
        raise counts[0]  # type: ignore[misc]  # an error
    return counts


def _count(answer: Answer) -> Answer:
    if not isinstance(answer, RedisStreamsError):
        return replies.rows(answer)[0]
    if isinstance(answer, PermissionDeniedError | RedisUnavailableError):
        return answer
    raise answer

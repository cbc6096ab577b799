"""Controls: what somebody has told all consumers of a group, obeyed by the subscriptions of this process.

Controls live in Redis beside the stream (`connection/steps/controls.py`), so all processes obey them, and they are
remembered over restarts. A subscription looks when it opens, before its first handler begins; then when the count of
its group's releases has changed, and at each turn of that watch while it is paused (`releases`). So a change is obeyed
within `reclaim_interval`, and nothing is asked while nothing changes. A change that this process makes itself
(`Broker.pause`) is obeyed at once. A `StreamConsumer`, which has no such watch, looks at each `reclaim_interval`.

When things fail: while Redis is away, and where its user may not read the key, the last known state stays; at the start
that is not paused. The refusal is told once. When the key is gone (`FLUSHALL`, a deleted group, a failover to a replica
that did not have it), its group goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..connection import Connection
from ..connection.naming import with_keys
from ..connection.replies import Answer
from ..connection.steps import controls as steps
from ..events import keys
from ..exceptions import PermissionDeniedError, RedisStreamsError, RedisUnavailableError
from ..models import Pause
from ..telemetry import Paused, Resumed, Telemetry
from ..telemetry.logs import log
from .subscription import Subscription


class Controls:
    """Reads the controls of groups, and has subscriptions obey them."""

    def __init__(self, connection: Connection, telemetry: Telemetry) -> None:
        self._connection = connection
        self._telemetry = telemetry
        self._refused: set[str] = set()

    async def look(self, subscriptions: Sequence[Subscription]) -> None:
        """Read what the groups of these subscriptions are told, and have them obey.

        Raises `RedisUnavailableError`, after all others, if one of them could not be read.
        """
        if not subscriptions:
            return
        commands = [steps.reading(each.options.stream, each.options.group) for each in subscriptions]
        answers = await self._connection.call_many(commands)
        for subscription, answer in zip(subscriptions, answers, strict=True):
            self._obey(subscription, answer)
        for answer in answers:
            if isinstance(answer, RedisUnavailableError):
                raise answer

    def _obey(self, subscription: Subscription, answer: Answer) -> None:
        try:
            if isinstance(answer, Exception):
                raise answer
            known = steps.controls(answer)
        except RedisUnavailableError:
            return
        except RedisStreamsError as error:
            self._tell_once(subscription, error)
            return
        self._refused.discard(subscription.name)
        self.set_pause(subscription, known.paused, known.resumed)

    def _tell_once(self, subscription: Subscription, error: RedisStreamsError) -> None:
        if subscription.name in self._refused:
            return
        self._refused.add(subscription.name)
        if isinstance(error, PermissionDeniedError):
            key = keys.controls(subscription.options.stream, subscription.options.group)
            error = with_keys(error, "HMGET", (key,))
        log.warning("%s: cannot read whether it is paused, and goes on: %s", subscription.name, error)

    def set_pause(self, subscription: Subscription, paused: Pause | None, resumed: Pause | None = None) -> None:
        """Pause a subscription, or let it go on, and tell that if it is new."""
        before = subscription.holds.of("group")
        if paused == before:
            return
        here = subscription.holdings.here
        if paused is None:
            subscription.resume("group")
            by, why = (resumed.by, resumed.why) if resumed is not None else ("", "")
            self._telemetry.emit(Resumed(**here, by=by, why=why))
        else:
            subscription.pause("group", paused)
            self._telemetry.emit(Paused(**here, by=paused.by, why=paused.why))

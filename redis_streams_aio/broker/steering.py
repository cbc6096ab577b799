"""Steering: code that holds an open broker pauses a group and lets it go on, for all processes of the group.

The change is written to Redis first. The subscriptions of this process obey at once, all others with their next look
(`controls`). When the change cannot be written, nothing changes, and the error is raised.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..consumer import ConsumerGroupManager
from ..consumer.subscription import Subscription
from ..exceptions import ConfigError
from ..models import Pause
from .supervisor import Supervisor


class Steering:
    """Pauses and resumes groups; `group` is the one that is meant where none is named."""

    def __init__(self, groups: ConsumerGroupManager, group: str | None, supervisor: Supervisor) -> None:
        self._groups = groups
        self._group = group
        self._supervisor = supervisor

    async def pause(self, stream: str, group: str | None, *, by: str, why: str) -> Pause:
        """Pause a group. Raises what `ConsumerGroupManager.pause` raises."""
        group = self._named(group)
        paused = await self._groups.pause(stream, group, by=by, why=why)
        for subscription in self._of(stream, group):
            self._supervisor.controls.set_pause(subscription, paused)
        return paused

    async def resume(self, stream: str, group: str | None, *, by: str, why: str) -> bool:
        """Let a group go on. Raises what `ConsumerGroupManager.resume` raises."""
        group = self._named(group)
        was_paused = await self._groups.resume(stream, group, by=by, why=why)
        for subscription in self._of(stream, group):
            self._supervisor.controls.set_pause(subscription, None, Pause(by, why, None))
        return was_paused

    def _named(self, group: str | None) -> str:
        if group is None and self._group is None:
            raise ConfigError("group: this broker has no group of its own; say which group, e.g. group='billing'")
        return group or self._group or ""

    def _of(self, stream: str, group: str) -> Iterator[Subscription]:
        """The subscriptions of a group that this process runs."""
        return (
            each for each in self._supervisor.running if each.options.stream == stream and each.options.group == group
        )

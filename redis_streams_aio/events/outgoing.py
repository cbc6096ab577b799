"""`Outgoing`: an event that is to be published, as a value, and the functions that such events go through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Protocol, Self

import msgspec

NO_HEADERS: Mapping[str, str] = {}
Command = tuple[str | bytes | float, ...]
Durability = Literal["memory", "replicated", "disk"]
"""Where an event must be when publishing it returns: in the primary's memory, in replicas, or on the primary's disk."""

WhenBehind = Literal["wait", "refuse", "ignore"]
"""The way to publish while a group of the stream is behind: wait, raise `GroupBehindError`, or ignore it."""


class Addressed(msgspec.Struct, frozen=True):
    """A payload and where it goes, which may be given without their names; all options are named."""

    stream: str
    payload: object


class Outgoing(Addressed, frozen=True, kw_only=True):
    """An event with the options of `publish`."""

    event_type: str | None = None
    """`None`: the name of the payload's type."""
    key: str | None = None
    event_id: str | None = None
    headers: Mapping[str, str] = NO_HEADERS

    def with_headers(self, headers: Mapping[str, str]) -> Self:
        """Return the event with these headers beside those that it has; a header of the same name is replaced."""
        return msgspec.structs.replace(self, headers={**self.headers, **headers})


class PublishNext(Protocol):
    """`call_next` of a publish middleware."""

    @property
    def sends(self) -> bool:
        """Whether it sends the event at once. If not, the event leaves later, together with others."""
        ...

    def __call__(self, event: Outgoing | None = None, /) -> Awaitable[str | None]:
        """Publish the event, or another one in its place, and return its entry id.

        Returns `None` for an event that is sent later, together with others: one of `publish_many`, or a follow-up.
        """
        ...


PublishMiddleware = Callable[[Outgoing, PublishNext], Awaitable[object]]
"""An async function around the publishing of each event."""
Through = Callable[[Outgoing], Awaitable[Outgoing]]
"""Takes an event through the publish middleware, and returns it as it is to be sent."""
Compose = Callable[[Outgoing], Command]
"""Makes the XADD of an event. Raises `InvalidEventError`."""

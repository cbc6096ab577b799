"""Scaling: how many events of a group wait, in the form that KEDA's scaler `metrics-api` reads.

The value is lag + pending: entries that nobody has read, and entries that are not settled. Any group can be asked for,
also one that the broker has no handlers for: a deployment that is scaled to zero cannot answer for itself, so a process
that publishes does.

An unknown lag is never 0, which would scale a busy group down: then there is no value. A stream or a group that does
not exist has no value either; KEDA keeps the number of replicas that it has, or takes its `fallback`.
"""

from __future__ import annotations

import msgspec

from ..connection import Connection
from ..exceptions import RedisStreamsError
from ..monitoring import LagWatcher


class Scale(msgspec.Struct, frozen=True):
    """How much work a group has."""

    value: int
    """lag + pending."""
    lag: int
    pending: int


class Unknown(msgspec.Struct, frozen=True):
    """Why nobody knows how much work a group has."""

    error: str
    is_missing: bool = False
    """Whether the stream or the group does not exist."""


async def scale_of(connection: Connection, stream: str, group: str) -> Scale | Unknown:
    """Measure a group now. Does not raise: an error is the result."""
    try:
        reports = await LagWatcher(connection, [(stream, group)]).run_once()
    except RedisStreamsError as error:
        return Unknown(" ".join(str(error).split()))
    if not reports:
        return Unknown(f"there is no group {group!r} of a stream {stream!r}", is_missing=True)
    [report] = reports
    if report.lag is None:
        return Unknown("the lag is not known: Redis has no number for it, and too many entries wait to be counted")
    return Scale(report.behind, report.lag, report.pending)

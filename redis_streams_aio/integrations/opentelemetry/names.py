"""The names of spans, attributes, events and metrics: those of the semantic conventions for messaging, and ours.

The conventions (version 1.44) have no part for Redis yet, so `messaging.system` is `redis`, and attributes that only a
Redis stream has begin with `messaging.redis.` (docs/opentelemetry.md).
"""

from __future__ import annotations

from collections.abc import Sequence

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
GROUP = "messaging.consumer.group.name"
CLIENT_ID = "messaging.client.id"
MESSAGE_ID = "messaging.message.id"
BATCH_COUNT = "messaging.batch.message_count"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"

HANDLER = "messaging.redis.handler"
EVENT_TYPE = "messaging.redis.event_type"
EVENT_ID = "messaging.redis.event_id"
DELIVERY_COUNT = "messaging.redis.delivery_count"
FAILURE_COUNT = "messaging.redis.failure_count"
OUTCOME = "messaging.redis.outcome"
REASON = "messaging.redis.dead_letter.reason"
DELAY = "messaging.redis.retry.delay"

REDELIVERED = "messaging.redis.redelivered"
RETRY = "messaging.redis.retry"
POSTPONED = "messaging.redis.postponed"
DEAD_LETTER = "messaging.redis.dead_letter"
LEASE_LOST = "messaging.redis.lease_lost"
SETTLED = "messaging.redis.settled"
"""Names of the events of a span."""

OPERATION_DURATION = "messaging.client.operation.duration"
PROCESS_DURATION = "messaging.process.duration"
SENT = "messaging.client.sent.messages"
CONSUMED = "messaging.client.consumed.messages"
DEAD_LETTERS = "messaging.redis.dead_letters"
RECLAIMED = "messaging.redis.reclaimed"
LEASES_LOST = "messaging.redis.leases_lost"
VANISHED = "messaging.redis.vanished"
LAG = "messaging.redis.lag"
LAG_KNOWN = "messaging.redis.lag.known"
PENDING = "messaging.redis.pending"
OLDEST_AGE = "messaging.redis.oldest_age"

BUCKETS: Sequence[float] = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
"""Bounds of the buckets of both durations, in seconds."""


def error_type(error: BaseException) -> str:
    """Return the name of an exception's class, with its module unless it is built in."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"

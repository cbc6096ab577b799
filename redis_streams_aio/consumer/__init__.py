"""Consume events: groups, reading, leases, retries and dead letters.

`StreamConsumer` combines the parts for use without a broker.
"""

from .groups import ConsumerGroupManager
from .stream_consumer import ConsumerStatus, StreamConsumer

__all__ = ["ConsumerGroupManager", "ConsumerStatus", "StreamConsumer"]

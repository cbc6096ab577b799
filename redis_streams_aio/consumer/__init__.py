"""Consume events: groups, reading, leases, retries and dead letters.

`StreamConsumer` combines the parts for use without a broker.
"""

from .groups import ConsumerGroupManager
from .status import ConsumerStatus
from .stream_consumer import StreamConsumer

__all__ = ["ConsumerGroupManager", "ConsumerStatus", "StreamConsumer"]

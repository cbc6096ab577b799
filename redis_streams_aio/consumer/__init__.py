"""Consuming.

Groups, reading, leases, retries, dead letters. `StreamConsumer` puts the parts together for use without a broker.
"""

from .groups import ConsumerGroupManager
from .stream_consumer import ConsumerStatus, StreamConsumer

__all__ = ["ConsumerGroupManager", "ConsumerStatus", "StreamConsumer"]

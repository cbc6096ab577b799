"""Publish events, and manage the streams that they go to."""

from .producer import StreamProducer
from .streams import StreamManager

__all__ = ["StreamManager", "StreamProducer"]

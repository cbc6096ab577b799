"""Publishing, and the streams that are published to."""

from .producer import StreamProducer
from .streams import StreamManager

__all__ = ["StreamManager", "StreamProducer"]

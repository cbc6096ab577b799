"""Publishing, and the streams that are published to."""

from .stream_manager import StreamManager
from .stream_producer import StreamProducer

__all__ = ["StreamManager", "StreamProducer"]

"""Settings: all options of a broker, from code, from `config.yaml` and from the environment."""

from .loading import load
from .settings import MAX_PAYLOAD_BYTES, Settings, StreamSettings

__all__ = ["MAX_PAYLOAD_BYTES", "Settings", "StreamSettings", "load"]

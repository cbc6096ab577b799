"""An event broker for asyncio on Redis Streams: publish events, handle them in decorated coroutines, lose none.

Start with `Broker`. The parts that it is made of can be used without it. The README has the thirty-second example,
docs/ the rest.
"""

from .broker import Broker, Router
from .checkpoint import CheckpointStore, InMemoryCheckpointStore, RedisCheckpointStore
from .codecs import FieldsCodec, JsonCodec, MsgpackCodec, RawCodec
from .config import Settings, StreamSettings
from .connection import Connection
from .consumer import ConsumerGroupManager, ConsumerStatus, StreamConsumer
from .declaration import CallNext, Middleware
from .delivery import Delivery
from .exceptions import (
    AuthenticationFailedError,
    ConfigError,
    DecodeError,
    EncodeError,
    GroupExistsError,
    GroupNotFoundError,
    HandlerDefinitionError,
    InvalidEventError,
    NotOpenError,
    PartialPublishError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RedisRefusedError,
    RedisStreamsError,
    RedisUnavailableError,
    Reject,
    RetryLater,
    ServerError,
    StreamNotFoundError,
    StreamTypeError,
    UnansweredError,
    UnsupportedServerError,
)
from .models import ConsumerInfo, EventMessage, GroupInfo, LagReport, PendingMessage, StreamInfo
from .monitoring import LagWatcher
from .producer import StreamManager, StreamProducer
from .retry import RetryPolicy
from .version import __version__

__all__ = [
    "AuthenticationFailedError",
    "Broker",
    "CallNext",
    "CheckpointStore",
    "ConfigError",
    "Connection",
    "ConsumerGroupManager",
    "ConsumerInfo",
    "ConsumerStatus",
    "DecodeError",
    "Delivery",
    "EncodeError",
    "EventMessage",
    "FieldsCodec",
    "GroupExistsError",
    "GroupInfo",
    "GroupNotFoundError",
    "HandlerDefinitionError",
    "InMemoryCheckpointStore",
    "InvalidEventError",
    "JsonCodec",
    "LagReport",
    "LagWatcher",
    "Middleware",
    "MsgpackCodec",
    "NotOpenError",
    "PartialPublishError",
    "PayloadTooLargeError",
    "PendingMessage",
    "PermissionDeniedError",
    "RawCodec",
    "RedisCheckpointStore",
    "RedisRefusedError",
    "RedisStreamsError",
    "RedisUnavailableError",
    "Reject",
    "RetryLater",
    "RetryPolicy",
    "Router",
    "ServerError",
    "Settings",
    "StreamConsumer",
    "StreamInfo",
    "StreamManager",
    "StreamNotFoundError",
    "StreamProducer",
    "StreamSettings",
    "StreamTypeError",
    "UnansweredError",
    "UnsupportedServerError",
    "__version__",
]

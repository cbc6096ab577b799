"""All that is public, in one list. The package hands it on when something of it is first asked for."""

from .batch import BatchDelivery
from .broker import Broker, Router
from .checkpoint import CheckpointStore, InMemoryCheckpointStore, RedisCheckpointStore
from .codecs import FieldsCodec, JsonCodec, MsgpackCodec, RawCodec
from .config import Settings, StreamSettings
from .connection import Connection
from .consumer import ConsumerGroupManager, ConsumerStatus, StreamConsumer
from .dead_letters import DeadLetters
from .delivery import Delivery
from .exceptions import (
    AuthenticationFailedError,
    CheckpointStoreError,
    ConfigError,
    DeadLetterNotFoundError,
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
    SettledError,
    StreamNotFoundError,
    StreamTypeError,
    UnansweredError,
    UnsupportedServerError,
)
from .models import (
    ConsumerInfo,
    DeadLetterMessage,
    EventMessage,
    GroupInfo,
    History,
    LagReport,
    PendingMessage,
    ReplayReport,
    StreamInfo,
)
from .monitoring import LagWatcher
from .options import CallNext, Middleware
from .producer import StreamManager, StreamProducer
from .retry import RetryPolicy
from .version import __version__

__all__ = [
    "AuthenticationFailedError",
    "BatchDelivery",
    "Broker",
    "CallNext",
    "CheckpointStore",
    "CheckpointStoreError",
    "ConfigError",
    "Connection",
    "ConsumerGroupManager",
    "ConsumerInfo",
    "ConsumerStatus",
    "DeadLetterMessage",
    "DeadLetterNotFoundError",
    "DeadLetters",
    "DecodeError",
    "Delivery",
    "EncodeError",
    "EventMessage",
    "FieldsCodec",
    "GroupExistsError",
    "GroupInfo",
    "GroupNotFoundError",
    "HandlerDefinitionError",
    "History",
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
    "ReplayReport",
    "RetryLater",
    "RetryPolicy",
    "Router",
    "ServerError",
    "Settings",
    "SettledError",
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

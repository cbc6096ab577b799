"""Codecs turn payloads into bytes, and entries into values of a handler's type. Pure."""

from .decoding import AS_IT_IS, PayloadDecoder
from .fields_codec import FieldsCodec
from .payloads import BYTES, JsonCodec, MsgpackCodec, RawCodec, bounded, encoder, leaves_bytes
from .protocols import Codec, PayloadCodec, payload_codec, reading_codec

__all__ = [
    "AS_IT_IS",
    "BYTES",
    "Codec",
    "FieldsCodec",
    "JsonCodec",
    "MsgpackCodec",
    "PayloadCodec",
    "PayloadDecoder",
    "RawCodec",
    "bounded",
    "encoder",
    "leaves_bytes",
    "payload_codec",
    "reading_codec",
]

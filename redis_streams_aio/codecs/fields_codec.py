"""`FieldsCodec`: read entries that other programs write, with flat fields instead of one payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from ..events.wire_format import Fields
from ..exceptions import DecodeError
from .payload_types import name_of, with_article

T = TypeVar("T")


class FieldsCodec:
    """Reads entries of other programs, whose flat fields are the payload (`XADD orders * order_id 1 total 9.5`).

    Values are text in Redis. The codec converts them into the type's numbers, booleans and dates ("9.5" into 9.5). If
    the type wants an object or a list, the field contains JSON. An empty field counts as left out if the type accepts
    no empty text there. A handler of type `dict` gets text; a handler of type `bytes` is refused. This codec only
    reads.
    """

    def decoder(self, payload_type: type[T]) -> Callable[[Fields], T]:
        """Return the function that turns fields into the type.

        Raises `TypeError` for `bytes` and types without fields.
        """
        from . import flat_fields, readable_types  # noqa: PLC0415  # rarely used

        if payload_type is bytes:
            raise TypeError("FieldsCodec reads fields, not bytes; annotate a Struct, a dataclass, a TypedDict or dict")
        if not readable_types.is_of_fields(readable_types.checked(payload_type)):
            raise TypeError(
                f"FieldsCodec reads fields, and {name_of(payload_type)} has none; annotate a Struct, a dataclass, a "
                "TypedDict or dict"
            )
        read = flat_fields.reader(payload_type)

        def decode(fields: Fields) -> T:
            try:
                named = {name.decode(): value.decode() for name, value in zip(fields[::2], fields[1::2], strict=True)}
                return msgspec.convert(read(named), payload_type, strict=False)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                raise DecodeError(f"fields are not {with_article(payload_type)}: {error}") from error

        return decode

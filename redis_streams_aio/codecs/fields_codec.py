"""`FieldsCodec`: read entries that other programs write, with flat fields instead of one payload."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from ..events.wire_format import Fields
from ..exceptions import DecodeError
from . import flat_fields
from .payload_types import checked, is_of_fields, name_of, with_article

T = TypeVar("T")


class FieldsCodec:
    """Entries written by others: their flat fields are the payload (`XADD orders * order_id 1 total 9.5`).

    Values are text in Redis and are turned into the type's numbers, booleans and dates ("9.5" into 9.5); where the type
    wants an object or a list, the field holds JSON. An empty field that the type has no text for counts as left out. A
    handler of type `dict` gets text, one of type `bytes` is refused. Reads only.
    """

    def decoder(self, payload_type: type[T]) -> Callable[[Fields], T]:
        """Turns fields into the type; raises `TypeError` at once for `bytes`, and for what has no fields."""
        if payload_type is bytes:
            raise TypeError("FieldsCodec has no bytes to give; annotate a Struct, a dataclass, a TypedDict or dict")
        if not is_of_fields(checked(payload_type)):
            raise TypeError(
                f"FieldsCodec gives fields, and {name_of(payload_type)} has none; annotate a Struct, a dataclass, a "
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

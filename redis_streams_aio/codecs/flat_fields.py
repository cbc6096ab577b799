"""Prepare the flat fields of other programs for msgspec, which converts them into a type: used by `FieldsCodec`.

All values are text, and the type says what they mean. If the type wants an object or a list and does not accept text,
the field contains JSON, as Debezium, Dapr and many others write it. If the type does not accept text, an empty value
means "no value": the field counts as left out, and becomes `None` if the type allows that and has no default. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import msgspec
from msgspec import inspect

Read = Callable[[dict[str, str]], dict[str, object]]
_RECORDS = (inspect.StructType, inspect.DataclassType, inspect.TypedDictType, inspect.NamedTupleType)
_CONTAINERS = (
    *_RECORDS,
    inspect.CollectionType,
    inspect.TupleType,
    inspect.DictType,
)
_TEXTS = (
    inspect.StrType,
    inspect.AnyType,
    inspect.BytesType,
    inspect.ByteArrayType,
    inspect.MemoryViewType,
    inspect.RawType,
    inspect.CustomType,
    inspect.ExtType,
)
"""Types that accept text as it is."""


def reader(payload_type: object) -> Read:
    """Return the function that turns flat fields into values that msgspec can convert into the type."""
    known = dict(_fields(inspect.type_info(payload_type)))
    others = known.pop(_ANY, None)

    def read(named: dict[str, str]) -> dict[str, object]:
        made: dict[str, object] = {}
        for name, value in named.items():
            field = known.get(name, others)
            if field is None:
                made[name] = value
            elif value:
                made[name] = field.read(name, value)
            elif not field.may_be_empty:
                made[name] = value
            elif field.is_needed:
                made[name] = None
        return made

    return read


_ANY = ""
"""Stands for every key of a mapping."""


class _Field(msgspec.Struct, frozen=True):
    """How to read the text of one field."""

    holds_json: bool
    may_be_empty: bool
    """Whether an empty text means "no value"."""
    is_needed: bool
    """Whether the field is required, so that "no value" becomes `None`."""
    is_yes_or_no: bool

    def read(self, name: str, value: str) -> object:
        """Return the value of a text that is not empty. Raises `msgspec.DecodeError`."""
        if self.holds_json:
            return _parsed(name, value)
        return _YES_OR_NO.get(value.casefold(), value) if self.is_yes_or_no else value


_YES_OR_NO = {"yes": True, "on": True, "t": True, "no": False, "off": False, "f": False}
"""Words for true and false that msgspec does not know."""


def _fields(info: inspect.Type) -> Iterator[tuple[str, _Field]]:
    """Yield the fields of a type and how to read them; for a union, the fields of all its members."""
    for member in _members(info):
        if isinstance(member, _RECORDS):
            for field in member.fields:
                yield field.encode_name, _field(field.type, is_required=field.required)
        elif isinstance(member, inspect.DictType):
            yield _ANY, _field(member.value_type, is_required=True)


def _field(info: inspect.Type, *, is_required: bool) -> _Field:
    members = list(_members(info))
    takes_text = _any_is(members, _TEXTS) or any(map(_has_empty_text, members))
    return _Field(
        holds_json=not takes_text and _any_is(members, _CONTAINERS),
        may_be_empty=not takes_text and (_any_is(members, inspect.NoneType) or not is_required),
        is_needed=is_required,
        is_yes_or_no=not takes_text and _any_is(members, inspect.BoolType),
    )


def _any_is(members: Iterable[inspect.Type], kinds: type | tuple[type, ...]) -> bool:
    """Whether a union has a member of one of these kinds."""
    return any(isinstance(member, kinds) for member in members)


def _members(info: inspect.Type) -> Iterator[inspect.Type]:
    """Yield the type, or all members of a union."""
    if isinstance(info, inspect.UnionType):
        for member in info.types:
            yield from _members(member)
    elif isinstance(info, inspect.Metadata):
        yield from _members(info.type)
    else:
        yield info


def _has_empty_text(info: inspect.Type) -> bool:
    """Whether the type is an enumeration with the empty text as a value."""
    if isinstance(info, inspect.LiteralType):
        return "" in info.values
    return isinstance(info, inspect.EnumType) and any(member.value == "" for member in info.cls)


def _parsed(name: str, value: str) -> object:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise msgspec.DecodeError(f"field {name!r} is not valid JSON: {error}") from error

"""Flat fields, as other programs write them, as msgspec can convert them to a type: what `FieldsCodec` reads.

All values are text. A type says what else they stand for. Where it wants an object or a list, and takes no text in its
place, the field holds JSON, as Debezium, Dapr and many others write it. Where it wants anything but text, an empty
value says that there is none: the field counts as left out, and is `None` where the type allows that and has no
default. Pure.
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
"""What text stands for itself in."""


def reader(payload_type: object) -> Read:
    """What makes the type's fields of flat ones."""
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
"""Stands for the names of all fields of a mapping."""


class _Field(msgspec.Struct, frozen=True):
    """What a field's text means."""

    holds_json: bool
    may_be_empty: bool
    """Whether an empty value says that there is none."""
    is_needed: bool
    """Whether it may not be left out, and may be `None`."""
    is_yes_or_no: bool

    def read(self, name: str, value: str) -> object:
        """What a text that is not empty stands for. Raises `msgspec.DecodeError`."""
        if self.holds_json:
            return _parsed(name, value)
        return _YES_OR_NO.get(value.casefold(), value) if self.is_yes_or_no else value


_YES_OR_NO = {"yes": True, "on": True, "t": True, "no": False, "off": False, "f": False}
"""What is written for `true` and `false`, beside these and 1 and 0."""


def _fields(info: inspect.Type) -> Iterator[tuple[str, _Field]]:
    """The fields that a type names, and what they mean. Of a union, those of all its members."""
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
    """The type, or those that it is a union of."""
    if isinstance(info, inspect.UnionType):
        for member in info.types:
            yield from _members(member)
    elif isinstance(info, inspect.Metadata):
        yield from _members(info.type)
    else:
        yield info


def _has_empty_text(info: inspect.Type) -> bool:
    """Whether an empty text is one of the values of an enumeration."""
    if isinstance(info, inspect.LiteralType):
        return "" in info.values
    return isinstance(info, inspect.EnumType) and any(member.value == "" for member in info.cls)


def _parsed(name: str, value: str) -> object:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise msgspec.DecodeError(f"field {name!r} is not valid JSON: {error}") from error

"""The one place that turns raw replies (RESP2: nested lists of bytes and integers) into our records. Pure."""

from __future__ import annotations

from typing import NamedTuple, Union

from ..entries import Fields
from ..exceptions import UnsupportedServerError
from ..models import ConsumerInfo, GroupInfo, PendingMessage, StreamInfo

Reply = Union[bytes, int, None, list["Reply"]]  # noqa: UP007  # a forward reference has no "|"
"""Whatever Redis answers in RESP2, errors apart."""

OLDEST_REDIS = (7, 0)


class RawEntry(NamedTuple):
    """An entry as it came; `fields` is `None` where the entry was deleted while it was pending."""

    id: bytes
    fields: Fields | None


class Server(NamedTuple):
    """Who answered `HELLO`."""

    name: str
    version: str
    client_id: int


def entries(reply: Reply) -> list[RawEntry]:
    """`XRANGE`, the middle of `XAUTOCLAIM`: `[[id, fields], ...]`."""
    return [RawEntry(*item) for item in rows(reply)]  # type: ignore[misc]


def read_entries(reply: Reply) -> list[RawEntry]:
    """`XREADGROUP` and `XREAD` over one stream: `[[stream, [[id, fields], ...]]]`, or nothing."""
    return entries(reply[0][1]) if reply else []  # type: ignore[index]


def text(reply: Reply) -> str:
    """A bulk string as text."""
    return reply.decode("utf-8", "replace") if isinstance(reply, bytes) else str(reply)


def optional_text(reply: Reply) -> str | None:
    """A bulk string as text, `None` where Redis has none."""
    return None if reply is None else text(reply)


def integer(reply: Reply) -> int:
    """A number, also where a script had to send it as text."""
    return int(reply)  # type: ignore[arg-type]


def rows(reply: Reply) -> list[Reply]:
    """An array, `[]` for none."""
    return reply if isinstance(reply, list) else []


def mapping(reply: Reply) -> dict[str, Reply]:
    """Names and values in turn, as `XINFO` answers."""
    items = rows(reply)
    return {text(name): value for name, value in zip(items[::2], items[1::2], strict=True)}


def pending(reply: Reply) -> list[PendingMessage]:
    """`XPENDING` with a range."""
    return [
        PendingMessage(text(entry_id), text(consumer), integer(idle) / 1000, integer(deliveries))
        for entry_id, consumer, idle, deliveries in map(rows, rows(reply))
    ]


def stream_info(name: str, reply: Reply) -> StreamInfo:
    """`XINFO STREAM`."""
    known = mapping(reply)
    return StreamInfo(
        name=name,
        length=integer(known["length"]),
        groups=integer(known["groups"]),
        first_id=_entry_id(known["first-entry"]),
        last_id=_entry_id(known["last-entry"]),
        last_generated_id=text(known["last-generated-id"]),
        entries_added=integer(known["entries-added"]),
    )


def _entry_id(entry: Reply) -> str | None:
    items = rows(entry)
    return text(items[0]) if items else None


def group_infos(reply: Reply) -> list[GroupInfo]:
    """`XINFO GROUPS`."""
    return [
        GroupInfo(
            name=text(known["name"]),
            consumers=integer(known["consumers"]),
            pending=integer(known["pending"]),
            last_delivered_id=text(known["last-delivered-id"]),
            entries_read=_optional_integer(known.get("entries-read")),
            lag=_optional_integer(known.get("lag")),
        )
        for known in map(mapping, rows(reply))
    ]


def consumer_infos(reply: Reply) -> list[ConsumerInfo]:
    """`XINFO CONSUMERS`."""
    return [
        ConsumerInfo(
            name=text(known["name"]),
            pending=integer(known["pending"]),
            idle=integer(known["idle"]) / 1000,
            inactive=_inactive(known.get("inactive")),
        )
        for known in map(mapping, rows(reply))
    ]


def _optional_integer(reply: Reply) -> int | None:
    return None if reply is None else integer(reply)


def _inactive(reply: Reply) -> float | None:
    return None if reply is None or integer(reply) < 0 else integer(reply) / 1000


def server(reply: Reply) -> Server:
    """`HELLO`. Raises `UnsupportedServerError` for anything older than Redis 7.0."""
    known = mapping(reply)
    found = Server(text(known["server"]), text(known["version"]), integer(known["id"]))
    if found.name == "redis" and _version(found.version) < OLDEST_REDIS:
        raise UnsupportedServerError(
            f"the server is Redis {found.version}; redis_streams_aio needs Redis 7.0 or later, or Valkey"
        )
    return found


def _version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())

"""Verdicts: what an error reply says of the connection that it came on. Pure, and the one place that says so.

| the reply | it speaks of | verdict |
|---|---|---|
| `READONLY`, `UNBLOCKED ... instance state changed` | a primary that was demoted | `REDIAL` |
| `NOREPLICAS` (`NOGOODSLAVE`) | a primary without its replicas: another one may have been promoted | `REDIAL` |
| `MASTERDOWN` | a replica that has lost its primary | `REDIAL` |
| `CLUSTERDOWN` | a node that does not see the rest of its cluster | `REDIAL` |
| `MOVED slot host:port` | a node of a cluster: the key lives on that other node | `Move` |
| `ASK slot host:port` | the same, for this one command: the slot is on its way there | `Move`, `asking` |
| `LOADING`, `OOM`, `MISCONF`, `BUSY`, `TRYAGAIN` | a Redis that cannot do it now, on any connection | `KEEP` |
| `... attempted to access a non local key` | a script that has deleted a key while its slot is on its way | `KEEP` |
| `UNBLOCKED the stream key no longer exists`, `NOGROUP`, all others | the command | `KEEP` |

Errors with the verdicts `REDIAL` and `Move` are `WrongNodeError`: nothing was executed, and the same command may be
sent again, to where it belongs by then.
"""

from __future__ import annotations

import enum
import re
from typing import NamedTuple

from ..exceptions import RedisStreamsError, WrongNodeError

WRONG_NODE = ("READONLY", "NOREPLICAS", "NOGOODSLAVE", "MASTERDOWN", "CLUSTERDOWN")
"""First words of replies that say that the connection leads to the wrong node; inside a script's error, too."""
STATE_CHANGED = "unblocked force unblock from blocking operation, instance state changed"
"""The beginning, in small letters, of the reply to a blocked read at a primary that is demoted."""
MOVED, ASK = "MOVED", "ASK"
_WHERE = re.compile(r"(\d+) \[?([^\s\]]*)\]?:(\d+)", re.ASCII)


class Verdict(enum.Enum):
    """The future of the connection."""

    KEEP = enum.auto()
    """The connection is as good as any other one."""
    REDIAL = enum.auto()
    """The connection leads to the wrong server. Another one may lead to the right server."""


KEEP, REDIAL = Verdict.KEEP, Verdict.REDIAL


class Move(NamedTuple):
    """The command belongs to another node. The connection is as good as before, for other keys."""

    slot: int
    host: str
    """Empty: the host that the connection leads to."""
    port: int
    asking: bool
    """Whether only this command belongs there, with `ASKING` before it in the same write."""


def verdict(error: RedisStreamsError) -> Verdict | Move:
    """Return what an error says of the connection that it came on."""
    if not isinstance(error, WrongNodeError):
        return KEEP
    word, _, rest = str(error).partition(" ")
    return _move(rest, asking=word == ASK) if word in (MOVED, ASK) else REDIAL


def _move(text: str, *, asking: bool) -> Verdict | Move:
    """Return where to, from `3999 10.0.0.2:6381`; the host may be an IPv6 address, or empty."""
    if (found := _WHERE.fullmatch(text)) is None:
        return REDIAL
    slot, host, port = found.groups()
    return Move(int(slot), host, int(port), asking)

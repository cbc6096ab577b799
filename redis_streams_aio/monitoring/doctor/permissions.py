"""Ask whether a user may do what the roles of the library do (`ACL DRYRUN`), without doing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...connection import Connection, replies
from ...connection.packing import Command
from ...connection.replies import Answer
from ...events import keys
from ...exceptions import RedisStreamsError
from .findings import HINT, OK, UNKNOWN, Finding, finding

_ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "publish": (("XADD", "{stream}", "*", "a", "b"),),
    "consume": (
        ("XREADGROUP", "GROUP", "{group}", "c", "STREAMS", "{stream}", ">"),
        ("XACK", "{stream}", "{group}", "1-1"),
        ("XCLAIM", "{stream}", "{group}", "c", "0", "1-1"),
        ("XPENDING", "{stream}", "{group}"),
        ("XINFO", "CONSUMERS", "{stream}", "{group}"),
        ("EVALSHA", "0", "1", "{stream}"),
        ("XADD", "{dead}", "*", "a", "b"),
        ("HSET", "{failures}", "a", "b"),
        ("HSET", "{leases}", "a", "b"),
        ("SET", "{checkpoint}", "a"),
        ("INCR", "{releases}"),
    ),
}


async def judge_permissions(connection: Connection, stream: str, group: str) -> list[Finding]:
    """Return whether the user may publish and consume. Raises `RedisUnavailableError`."""
    try:
        user = replies.text(await connection.call("ACL", "WHOAMI"))
    except RedisStreamsError:
        return [_not_known(stream)]
    names = {
        "stream": stream,
        "group": group,
        "dead": keys.dead_letters(stream, group),
        "failures": keys.failures(stream, group),
        "leases": keys.leases(stream, group),
        "checkpoint": keys.checkpoint(stream, group),
        "releases": keys.releases(stream, group),
    }
    found = []
    for role, commands in _ROLES.items():
        asked: list[Command] = [
            ("ACL", "DRYRUN", user, *(word.format_map(names) if word[0] == "{" else word for word in command))
            for command in commands
        ]
        found += list(_judged(role, user, stream, asked, await connection.call_many(asked)))
    return found


def _judged(
    role: str, user: str, stream: str, asked: Sequence[Command], answers: Sequence[Answer]
) -> Iterator[Finding]:
    if any(isinstance(answer, RedisStreamsError) for answer in answers):
        yield _not_known(stream)
        return
    refused = [
        " ".join(map(str, command[3:])) for command, answer in zip(asked, answers, strict=True) if answer != b"OK"
    ]
    if refused:
        told = f"user {user} may not {role}: {refused[0]}" + (
            f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        )
        yield finding(HINT, "permissions", stream, told, f"if this user is to {role}: docs/security.md has the rules")
    else:
        yield finding(OK, "permissions", stream, f"user {user} may {role}")


def _not_known(stream: str) -> Finding:
    advice = "permit +acl|whoami +acl|dryrun to doctor's user, or ask as another one"
    return finding(UNKNOWN, "permissions", stream, "ACL DRYRUN is not permitted", advice)

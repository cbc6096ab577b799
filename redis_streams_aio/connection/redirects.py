"""Redirects: commands that a node of a Cluster answers with `MOVED` or `ASK` are sent again, to the node that it names.

Callers do not see a redirect: nothing was executed, and nothing counts as a failure. Commands of one request are sent
again in their order, those for one node in one write. After `ASK`, each has `ASKING` before it in the same write, so
that nothing comes between the two.

When things fail: a redirect that leads on and on, while a slot goes to and fro, ends after `MOST_HOPS` with the last
answer, which is an error like other refusals. A node that is not there has its error in the place of each answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain

from ..exceptions import RedisUnavailableError, WrongNodeError
from .packing import pack
from .replies import Answer
from .verdicts import Move, verdict
from .wire.answers import Answered

MOST_HOPS = 5
"""The most redirects of a command; one is usual, two happen while a slot moves."""
ASKING: bytes = pack(("ASKING",))

Post = Callable[[bytes, int], Awaitable[list[Answer]]]
"""Sends packed commands to one node, and returns that many answers."""


async def followed(
    posted: Awaitable[list[Answer]], post_to: Callable[[Move], Post], packed: bytes, expected: int
) -> list[Answer]:
    """Wait for the answers to a request, and send commands again that belong to other nodes; return all answers."""
    try:
        answers = await posted
    except WrongNodeError as error:  # the node was left before they were sent: as if it had said so itself
        return [error] * expected
    commands: list[bytes] = []
    for _ in range(MOST_HOPS):
        if not (groups := moved(answers)):
            break
        commands = commands or split(packed)
        for move, places in groups.items():
            again = await send_again(post_to(move), [commands[at] for at in places], asking=move.asking)
            for at, answer in zip(places, again, strict=True):
                answers[at] = answer
    return answers


def moved(answers: Sequence[Answer]) -> dict[Move, list[int]]:
    """Return the places of commands that belong to other nodes, for each of these."""
    groups: dict[Move, list[int]] = {}
    for at, answer in enumerate(answers):
        if isinstance(answer, WrongNodeError) and isinstance(said := verdict(answer), Move):
            groups.setdefault(said._replace(slot=0), []).append(at)
    return groups


async def send_again(post: Post, commands: Sequence[bytes], *, asking: bool) -> Sequence[Answer]:
    """Send commands in one write; the error of a connection takes the place of each answer."""
    try:
        if not asking:
            return await post(b"".join(commands), len(commands))
        answers = await post(b"".join([ASKING + command for command in commands]), 2 * len(commands))
        return answers[1::2]
    except RedisUnavailableError as error:
        return [error] * len(commands)


def asking(ahead: Sequence[bytes], answered: Answered) -> tuple[Sequence[bytes], Answered]:
    """Put `ASKING` before each command that goes ahead of a read, and before the read; leave out its answers."""

    def asked(answers: list[Answer]) -> None:
        if ahead:
            answered(answers[1::2])

    return [*chain.from_iterable((ASKING, command) for command in ahead), ASKING], asked


def split(packed: bytes) -> list[bytes]:
    """Return the commands in the bytes of a request, each packed as before."""
    commands: list[bytes] = []
    at = 0
    while at < len(packed):
        began = at
        count, at = _number(packed, at)
        for _ in range(count):
            size, at = _number(packed, at)
            at += size + 2
        commands.append(packed[began:at])
    return commands


def _number(packed: bytes, at: int) -> tuple[int, int]:
    """Return the number behind a `*` or a `$`, and where the next line begins."""
    end = packed.index(b"\r\n", at)
    return int(packed[at + 1 : end]), end + 2

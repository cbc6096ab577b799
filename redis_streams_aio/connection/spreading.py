"""Spreading: commands about several keys go to the nodes of their keys, in one round trip to each node.

Commands of one node keep their order. When things fail, a node does not stand in the way of others: the error of its
connection takes the place of each of its answers.
"""

from __future__ import annotations

from asyncio import gather
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from ..exceptions import RedisUnavailableError, ServerError
from .naming import key_of
from .packing import Argument, Command
from .replies import Answer

if TYPE_CHECKING:
    from .link import Link


async def spread(link_of: Callable[[Argument | None], Link], commands: Sequence[Command]) -> list[Answer]:
    """Send each command to the node of its key, and return the answers in the order of the commands.

    Raises the errors of `Link` where all go to one node.
    """
    by_link: dict[Link, list[int]] = {}
    for at, command in enumerate(commands):
        by_link.setdefault(link_of(key_of(command)), []).append(at)
    if len(by_link) <= 1:
        return await link_of(key_of(commands[0])).call_many(commands) if commands else []
    parts = [_answers(link, [commands[at] for at in places]) for link, places in by_link.items()]
    answers = dict(zip(chain.from_iterable(by_link.values()), chain.from_iterable(await gather(*parts)), strict=True))
    return [answers[at] for at in range(len(commands))]


async def _answers(link: Link, commands: Sequence[Command]) -> list[Answer]:
    try:
        return await link.call_many(commands)
    except (RedisUnavailableError, ServerError) as error:  # `ServerError`: the connection is refused
        return [error] * len(commands)

"""Sending: many steps leave in one round trip; each has its result, or its error in the place of the result.

Steps are independent: an error of one says nothing about the others, and they run in the order in which they are given.

When things fail:

* Redis answers a step with an error: the error is that step's result, and names the keys that it may be about.
* The server does not know a script (restart, `SCRIPT FLUSH`): it is taught the script with the first step that needs
  it. Only the steps that it refused are sent again, once.
* The connection is lost: steps that have their answers keep them, and the error is the result of the others. An
  `UnansweredError` may have been carried out. `send` raises where no step has an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from ...exceptions import RedisStreamsError, RedisUnavailableError, ScriptMissingError, ServerError
from ..errors import passing
from ..naming import about_script
from ..packing import pack
from ..replies import Answer
from ..wire.outbox import MOST_AT_ONCE
from .script import Script, Step

if TYPE_CHECKING:
    from ..connection import Connection
    from ..link import Link

T = TypeVar("T")


async def send(link: Link, steps: Sequence[Step[T]]) -> list[T | RedisStreamsError]:
    """Run steps, all in one round trip (more where they are larger than a round trip may be); return their results.

    Raises `RedisUnavailableError` if no step has an answer, `NotOpenError`, and `ServerError` if the connection is
    refused.
    """
    answers: list[Answer] = []
    for part in _parts(steps):
        try:
            answers += await _ask(link, part)
        except (RedisUnavailableError, ServerError) as error:
            if not answers:
                raise
            answers += [passing(error)] * (len(steps) - len(answers))
            break
    return [_result(step, answer) for step, answer in zip(steps, answers, strict=True)]


async def send_one(link: Link, step: Step[T]) -> T:
    """Run a step and return its result. Raises `NotOpenError`, `RedisUnavailableError`, `ServerError`."""
    [result] = await send(link, [step])
    if isinstance(result, RedisStreamsError):
        raise result
    return result


async def run_step(connection: Connection, step: Step[T]) -> T:
    """Run one step on the shared link to the node of its keys. Raises `RedisUnavailableError`, `ServerError`."""
    return step.read(await connection.run(step.script, *step.keys, *step.arguments, keys=len(step.keys)))


_Part = list[tuple[Step[T], bytes]]
"""Steps that leave in one round trip, each with its packed command."""


def _parts(steps: Sequence[Step[T]]) -> Iterator[_Part[T]]:
    part: _Part[T] = []
    size = 0
    for step in steps:
        packed = pack(step.command)
        if part and size + len(packed) > MOST_AT_ONCE:
            yield part
            part, size = [], 0
        part.append((step, packed))
        size += len(packed)
    if part:
        yield part


async def _ask(link: Link, part: _Part[T]) -> list[Answer]:
    answers = await link.send(b"".join([packed for _, packed in part]), len(part))
    unknown = [at for at, answer in enumerate(answers) if isinstance(answer, ScriptMissingError)]
    if unknown:
        again = await _teach(link, [part[at] for at in unknown], some_have_answers=len(unknown) < len(part))
        for at, answer in zip(unknown, again, strict=True):
            answers[at] = answer
    return answers


async def _teach(link: Link, unknown: _Part[T], *, some_have_answers: bool) -> list[Answer]:
    """Send steps again, the first of each script with its source."""
    taught: set[Script] = set()
    commands: list[bytes] = []
    for step, packed in unknown:
        commands.append(packed if step.script in taught else pack(step.teaching))
        taught.add(step.script)
    try:
        return await link.send(b"".join(commands), len(commands))
    except (RedisUnavailableError, ServerError) as error:
        if some_have_answers:
            return [passing(error)] * len(commands)
        raise


def _result(step: Step[T], answer: Answer) -> T | RedisStreamsError:
    if isinstance(answer, RedisStreamsError):
        return about_script(answer, step.keys)
    try:
        return step.read(answer)
    except ServerError as error:
        return error

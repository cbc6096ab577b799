"""Redis commands as text, as `redis-cli` takes them: for people who want to see what a command line would send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..connection.packing import Argument, Command
from ..connection.steps.script import Step

_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}


def command_line(command: Command | Step[object]) -> str:
    """Return one command in one line, with every argument. A step is the call of its script."""
    return " ".join(map(_word, command.command if isinstance(command, Step) else command))


def what_it_does(step: Step[object]) -> Iterator[str]:
    """Yield the commands that a step's script may run, key by key: `orders: XGROUP SETID, XINFO GROUPS`."""
    for key, commands in zip(step.keys, step.script.keys.values(), strict=False):
        yield f"{_word(key)}: {', '.join(sorted(name.replace('|', ' ').upper() for name in commands))}"


def explained(commands: Sequence[Command | Step[object]]) -> Iterator[str]:
    """Yield the lines of some commands. Below the first call of each script is what the script does."""
    seen: set[int] = set()
    for command in commands:
        yield command_line(command)
        if isinstance(command, Step) and id(command.script) not in seen:
            seen.add(id(command.script))
            yield "  one atomic step, which may run"
            yield from (f"    {line}" for line in what_it_does(command))


def _word(argument: Argument) -> str:
    raw = argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogatepass")
    text = raw.decode("utf-8", "surrogateescape")
    if text and text.isprintable() and text.isascii() and not any(char in text for char in " \"'\\#"):
        return text
    return f'"{"".join(map(_quoted, text))}"'


def _quoted(char: str) -> str:
    if (escape := _ESCAPES.get(ord(char))) is not None:
        return escape
    if char.isprintable():
        return char
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))

"""Write docs/errors.md: every error class, every error text and every log line, with what to do.

`python -m tests.docs.errors` writes the page; `tests/unit/test_docs.py` checks that it is up to date. Nothing is listed
by hand: texts are read from the source, meanings and "What to do" from docstrings of error classes and facts.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import redis_streams_aio
from redis_streams_aio import exceptions, telemetry
from tests.docs.prose import CODE, GENERATED, PACKAGE

CLASSES: dict[str, type[Exception]] = {
    name: cls
    for name, cls in vars(exceptions).items()
    if isinstance(cls, type) and issubclass(cls, exceptions.RedisStreamsError)
}
PYTHONS = {"RuntimeError": RuntimeError, "TypeError": TypeError}
"""Classes of Python that the library raises too."""
CLASS_OF_PROBLEMS = {
    "checks": "ConfigError",
    "codecs": "HandlerDefinitionError",
    "handlers": "HandlerDefinitionError",
    "producer": "InvalidEventError",
}
"""Which error carries the texts that a folder's functions return (`-> str | None`) or yield (`-> Iterator[str]`)."""
EDGES = ("cli", "testing")
LEVELS = ("info", "warning", "error", "critical")
SHOWN_AS = {"what": "argument", "wrong": "problem", "self": "delivery"}
TRANSPARENT = ("shown", "name_of", "repr", "str", "type", "exact", "describe", "_hidden")
"""Functions around a value that a placeholder does not name."""


class Text(NamedTuple):
    """One error text, or one log line with its level as `owner`."""

    owner: str
    words: str


# -- reading texts from the source ------------------------------------------------------------------------------


def texts() -> Iterator[Text]:
    """All error texts and log lines of the package, without the command line and the helpers for tests."""
    for file in CODE:
        folder = file.relative_to(PACKAGE).parts[0]
        if folder not in EDGES:
            yield from _texts_of(ast.parse(file.read_text(encoding="utf-8")), folder)


def _texts_of(module: ast.Module, folder: str) -> Iterator[Text]:
    functions = [node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    owners = {name: name for name in (*CLASSES, *PYTHONS)} | {f"log.{level}": level.upper() for level in LEVELS}
    for function in functions:
        if (returned := _returned(function)) in CLASSES:
            owners[function.name] = owners[f"self.{function.name}"] = returned  # it completes the texts of others
    for function in functions:
        known = _constants(module) | _constants(function)
        problems = CLASS_OF_PROBLEMS.get(folder) if _returned(function) in ("Iterator[str]", "str | None") else None
        for node in _nodes_of(function):
            if isinstance(node, ast.Call) and node.args and (owner := owners.get(ast.unparse(node.func))):
                yield from _told(owner, node.args[0], known)
            elif isinstance(node, ast.Return | ast.Yield) and problems and node.value is not None:
                yield from _told(problems, node.value, known)


def _returned(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return ast.unparse(function.returns) if function.returns else ""


def _nodes_of(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function, without those of functions inside of it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _nodes_of(node)


def _constants(scope: ast.AST) -> dict[str, ast.expr]:
    """Texts and numbers that have a name in this scope."""
    found: dict[str, list[ast.expr]] = defaultdict(list)
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id].append(node.value)
    return {
        name: values[0]
        for name, values in found.items()
        if len(values) == 1 and isinstance(values[0], ast.Constant | ast.JoinedStr)
    }


def _told(owner: str, node: ast.expr, known: dict[str, ast.expr]) -> Iterator[Text]:
    for branch in (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,):
        words = " ".join(_words(branch, known).split())
        if re.search(r"[a-z]{2} \S", re.sub(r"<[^<>]*>", "", words)):  # not a name, and not only placeholders
            yield Text(owner, words)


def _words(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """The text of an expression, with `<name>` for what is known only at run time."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(_words(value, known) for value in values)
        case ast.FormattedValue(value=value):
            return _placeholder(value, known)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _words(left, known) + _words(right, known)
    return _placeholder(node, known)


def _placeholder(node: ast.expr, known: dict[str, ast.expr]) -> str:
    placeholder = "<...>"
    match node:
        case ast.Constant(value=value):
            placeholder = str(value)
        case ast.Name(id=name):
            placeholder = _words(known[name], known) if name in known else _angled(SHOWN_AS.get(name, name))
        case ast.Attribute(value=ast.Call() as call, attr="__name__"):
            placeholder = f"<type of {_placeholder(call, known).strip('<>')}>"
        case ast.Attribute(attr=attribute):
            placeholder = _angled(attribute)
        case ast.Call(func=ast.Name(id="len")):
            placeholder = "<number>"
        case ast.Call(func=function, args=arguments):
            name = ast.unparse(function).rpartition(".")[2]
            placeholder = _placeholder(arguments[0], known) if arguments and name in TRANSPARENT else _angled(name)
        case ast.Subscript(value=value) | ast.Await(value=value):
            placeholder = _placeholder(value, known)
    return placeholder


def _angled(name: str) -> str:
    return f"<{name.strip('_').replace('_', ' ').lower()}>"


# -- writing the page -------------------------------------------------------------------------------------------

HEAD = """# Errors and log lines

This page lists every error and every log line of the library, and says what to do. It is made from the source by
`python -m tests.docs.errors`. Words in angle brackets, such as `<value>`, stand for values. Some lines are the end of a
longer text, such as `is empty` in `stream: the name is empty`.

All errors are `RedisStreamsError`. The name of an error tells what to do next:

* `ConfigError`, `HandlerDefinitionError`, `InvalidEventError`, `NotOpenError`, `SettledError`: a mistake in the
  program. Correct the code.
* `RedisUnavailableError` and the classes below it: Redis cannot serve now. Try again later.
* `ServerError` and the classes below it: Redis refuses. Someone must change something.
* `Reject` and `RetryLater`: signals that a handler raises. See [delivery](delivery.md).
"""


def page() -> str:
    """The whole page."""
    by_owner: dict[str, set[str]] = defaultdict(set)
    for owner, words in texts():
        by_owner[owner].add(words)
    return "\n".join([HEAD, *_classes(), *_error_texts(by_owner), *_log_lines(by_owner)])


def _classes() -> Iterator[str]:
    yield "## Errors\n"
    yield "| Error | Means | What to do |"
    yield "|-|-|-|"
    for name, cls in CLASSES.items():
        if name in PUBLIC:
            means, to_do = _meaning(cls)
            bases = [base.__name__ for base in cls.__bases__ if base.__name__ in PUBLIC - {"RedisStreamsError"}]
            means += f" {'An' if bases[0][0] in 'AEIOU' else 'A'} `{bases[0]}`." if bases else ""
            yield f"| `{name}` | {means} | {to_do} |"
    yield ""


def _error_texts(by_owner: dict[str, set[str]]) -> Iterator[str]:
    yield "## Error texts\n"
    for name in [*CLASSES, *PYTHONS]:
        if by_owner[name]:
            yield f"### `{name}`\n"
            yield from (f"* `{words}`" for words in sorted(by_owner[name], key=_sorting))
            yield ""


def _log_lines(by_owner: dict[str, set[str]]) -> Iterator[str]:
    yield "## Log lines of facts\n"
    yield "Lines about a group begin with `<stream>/<group>: `. Lines at DEBUG are left out;"
    yield "[observability](observability.md#facts) has all facts with their fields.\n"
    yield "| Level | Line | Fact | Means | What to do |"
    yield "|-|-|-|-|-|"
    facts = [(fact.level, _line(fact), f"`{name}` | {' | '.join(_meaning(fact))}") for name, fact in _facts()]
    for level, line, rest in sorted(facts, key=lambda row: (-row[0], _sorting(row[1]))):
        yield f"| {logging.getLevelName(level)} | `{line}` | {rest} |"
    yield "\n## Other log lines\n"
    yield "| Level | Line |"
    yield "|-|-|"
    for level in map(str.upper, reversed(LEVELS)):
        for words in sorted(by_owner[level], key=_sorting):
            yield f"| {level} | `{_named(words)}` |"
    yield ""


def _facts() -> Iterator[tuple[str, type[telemetry.Fact]]]:
    for name in telemetry.__all__:
        fact = getattr(telemetry, name)
        if isinstance(fact, type) and issubclass(fact, telemetry.Fact) and fact.line and fact.level > logging.DEBUG:
            yield name, fact


def _line(fact: type[telemetry.Fact]) -> str:
    return re.sub(r"\{0\.(\w+\.)*(\w+)[^}]*\}", r"<\2>", fact.line)


def _named(words: str) -> str:
    """A line of `%`-style logging with `<...>` for its values."""
    return re.sub(r"%(\.\d)?[a-z]", "<...>", words)


def _meaning(cls: type) -> tuple[str, str]:
    """The docstring of a class up to "What to do:", and what comes after it."""
    means, _, to_do = " ".join((inspect.getdoc(cls) or "").split()).partition("What to do: ")
    to_do = to_do[:1].upper() + to_do[1:]
    return _linked(means.strip()), _linked(to_do)


def _linked(text: str) -> str:
    """The text in a table of a page in docs/: pages are links."""
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](\1.md)", text.replace("|", "\\|"))


def _sorting(words: str) -> tuple[str, str]:
    return words.casefold(), words


PUBLIC = set(CLASSES) & set(redis_streams_aio.__all__)

if __name__ == "__main__":
    GENERATED.write_text(page(), encoding="utf-8")

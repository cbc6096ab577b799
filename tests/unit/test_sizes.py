"""How large files, functions and signatures may be: whatever a reader opens is taken in at a glance."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

import pytest
from radon.complexity import cc_visit_ast
from radon.visitors import Class, Function

from tests.imports import PACKAGE, module_of, sources

LINES_OF_A_FILE = 300
LINES_OF_A_FUNCTION = 40
"""Of its signature and its body; its docstring apart."""
PARAMETERS = 6
PATHS = 8
"""Cyclomatic complexity as radon counts it: boolean operators and comprehensions too."""

OPTIONS = {
    "broker.broker.Broker.__init__": "the broker's options",
    "consumer.stream_consumer.StreamConsumer.__init__": "a consumer's options",
    "monitoring.dead_letters.DeadLetters.replay": "which dead letters, and how",
    "handlers.router.Router.__init__": "what a router says for its handlers",
    "producer.producer.publish": "the options of an event",
    "monitoring.lag.LagWatcher.__init__": "a watcher's options",
}
"""Public signatures whose keyword options may be many: each is a choice of users, and has a default."""

FILES_STILL_OVER: dict[str, int] = {}
FUNCTIONS_STILL_OVER: dict[str, int] = {}
PARAMETERS_STILL_OVER: dict[str, int] = {}
PATHS_STILL_OVER: dict[str, int] = {}
"""Sizes that are still over their limit, and may only shrink. At the limit they are to be taken out of here."""

ANY_FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def functions() -> dict[str, ANY_FUNCTION]:
    """Each function of the package by its full name, those within functions too."""
    return {name: node for file, tree in sources().items() for name, node in functions_in(tree, module_of(file))}


def functions_in(node: ast.AST, name: str) -> Iterator[tuple[str, ANY_FUNCTION]]:
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ANY_FUNCTION | ast.ClassDef)
        inner = f"{name}.{child.name}" if named else name
        if isinstance(child, ANY_FUNCTION) and not is_declared_again(child):
            yield inner, child
        yield from functions_in(child, inner)


def is_declared_again(function: ANY_FUNCTION) -> bool:
    """An overload, which only tells type checkers of the function that follows."""
    return any(isinstance(each, ast.Name) and each.id == "overload" for each in function.decorator_list)


@cache
def commands() -> set[str]:
    """Commands of the command line: click gives each of their options as a parameter."""
    return {name for name, node in functions().items() if name.startswith("cli.commands.") and is_command(node)}


def is_command(function: ANY_FUNCTION) -> bool:
    """Whether it is decorated with `@click.command(...)`, or `@group.command(...)`."""
    called = [each.func for each in function.decorator_list if isinstance(each, ast.Call)]
    return any(isinstance(each, ast.Attribute) and each.attr == "command" for each in called)


def lines_of(function: ANY_FUNCTION) -> int:
    """Lines of the signature and the body, without decorators and docstring."""
    told = function.body[0] if ast.get_docstring(function) is not None else None
    of_docstring = (told.end_lineno or 0) - told.lineno + 1 if told is not None else 0
    return (function.end_lineno or 0) - function.lineno + 1 - of_docstring


def parameters_of(function: ANY_FUNCTION) -> int:
    given = function.args
    names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def paths() -> dict[str, int]:
    """The complexity of each function and method; of a function within one as well."""
    found = {}
    for file, tree in sources().items():
        for block in cc_visit_ast(tree):
            found |= paths_of(block, f"{module_of(file)}.{block.fullname}")
    return found


def paths_of(block: Function | Class, name: str) -> dict[str, int]:
    inner = block.closures if isinstance(block, Function) else block.inner_classes
    found = {name: block.complexity} if isinstance(block, Function) else {}
    for each in inner:
        found |= paths_of(each, f"{name}.{each.name}")
    return found


def lines_of_files() -> dict[str, int]:
    return {file: len((PACKAGE / file).read_text("utf-8").splitlines()) for file in sources()}


def numbers_of_parameters() -> dict[str, int]:
    apart = OPTIONS.keys() | commands()
    return {name: parameters_of(node) for name, node in functions().items() if name not in apart}


def lines_of_functions() -> dict[str, int]:
    return {name: lines_of(node) for name, node in functions().items() if name not in OPTIONS}


@pytest.mark.parametrize(
    ("what", "limit", "still_over"),
    [
        (lines_of_files, LINES_OF_A_FILE, FILES_STILL_OVER),
        (lines_of_functions, LINES_OF_A_FUNCTION, FUNCTIONS_STILL_OVER),
        (numbers_of_parameters, PARAMETERS, PARAMETERS_STILL_OVER),
        (paths, PATHS, PATHS_STILL_OVER),
    ],
)
def test_nothing_is_larger_than_a_reader_takes_in(what, limit, still_over) -> None:
    sizes = what()
    assert len(sizes) > 100, "there are none to look at"
    over = {name: size for name, size in sizes.items() if size > limit}
    grown = {name: size for name, size in over.items() if size > still_over.get(name, limit)}
    assert grown == {}, f"over {limit}, or over what it was"
    assert still_over.keys() - over.keys() == set(), f"no longer over {limit}: take it off the list"


def test_signatures_that_may_be_long_are_there_and_are_long() -> None:
    many = {name for name, node in functions().items() if parameters_of(node) > PARAMETERS}
    assert OPTIONS.keys() - many == set()
    assert "cli.commands.publish.command" in commands() & many

"""The package's modules, and which of them imports which: `python -m tests.imports` prints the longest chain."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import redis_streams_aio

NAME = "redis_streams_aio"
PACKAGE = Path(redis_streams_aio.__file__).parent


@cache
def sources() -> dict[str, ast.Module]:
    """Each file of the package, by its path below it, and how Python reads it."""
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def module_of(file: str) -> str:
    """`consumer/work/pool.py` is the module `consumer.work.pool`, and `__init__.py` the package itself, ``."""
    return file.removesuffix(".py").removesuffix("__init__").rstrip("/").replace("/", ".")


def named_imports(file: str, tree: ast.Module) -> Iterator[str]:
    """Names of ours that a file imports anywhere: at the top, in functions, under TYPE_CHECKING."""
    package = file.split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == NAME:
            base = (node.module or "").split(".")[1:]
            yield from (".".join([*base, alias.name]) for alias in node.names)
        elif isinstance(node, ast.Import):
            ours = [alias.name for alias in node.names if alias.name.split(".")[0] == NAME]
            yield from (name.removeprefix(NAME).removeprefix(".") for name in ours)


@cache
def graph() -> dict[str, frozenset[str]]:
    """The modules that each module imports. A package stands for its `__init__`."""
    modules = {module_of(file) for file in sources()}
    found = {}
    for file, tree in sources().items():
        own = module_of(file)
        imported = {name if name in modules else name.rpartition(".")[0] for name in named_imports(file, tree)}
        found[own] = frozenset(imported & modules - {own})
    return found


@cache
def longest_chain(module: str) -> tuple[str, ...]:
    """The longest way down from a module along its imports, itself first. There are no cycles: a test sees to it."""
    below = [longest_chain(imported) for imported in sorted(graph()[module])]
    return (module, *max(below, key=len, default=()))


def longest_of_all() -> tuple[str, ...]:
    """The longest chain of imports that there is."""
    return max((longest_chain(module) for module in sorted(graph())), key=len)


if __name__ == "__main__":
    chain = longest_of_all()
    print(f"{len(chain)} modules, the highest first:", *chain, sep="\n  ")

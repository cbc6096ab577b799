"""Read the prose of the project: docstrings, comments and texts of Python files, and Markdown pages."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import msgspec

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "redis_streams_aio"
CODE = sorted(PACKAGE.rglob("*.py"))
GENERATED = ROOT / "docs" / "errors.md"
"""Made from the code's own texts."""
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*(ROOT / "docs").glob("*.md")} - {GENERATED})]


class Passage(msgspec.Struct, frozen=True):
    """One docstring, comment, text or page."""

    line: int
    text: str
    is_docstring: bool = False


def passages(file: Path) -> Iterator[Passage]:
    """Everything in a file that people read."""
    source = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        yield Passage(1, source)
        return
    tree = ast.parse(source)
    docstrings = {id(constant) for constant in _docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_docstring = id(node) in docstrings
            if is_docstring or " " in node.value:  # a text without a space is a name
                yield Passage(node.lineno, node.value, is_docstring)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Passage(token.start[0], token.string)


def _docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Strings that stand alone as a statement: docstrings, also those below an attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value

"""Find the line of a key in a YAML file, for people who look for what an error names."""

from __future__ import annotations

import re

import yaml

_KEY = re.compile(r" - at (?P<path>\$[^ (;,]*)")


def line_of(problem: str, text: bytes) -> int | None:
    """Return the line, from 1, of the key that an error of `load` names; `None` if it names none, or none is there.

    The line of the nearest key above it, if the key itself is not there.
    """
    if not (named := _KEY.search(problem)):
        return None
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    found: int | None = None
    rest = named["path"].removeprefix("$").lstrip(".")
    while rest and isinstance(node, yaml.MappingNode):
        at = _child(node, rest)
        if at is None:
            break
        key, node = at
        found = key.start_mark.line + 1
        rest = rest.removeprefix(key.value).lstrip(".")
    return found


def _child(node: yaml.MappingNode, path: str) -> tuple[yaml.ScalarNode, yaml.Node] | None:
    """Return the key and the value with which a path goes on; names of streams may have dots in them."""
    fitting = [
        (key, value)
        for key, value in node.value
        if isinstance(key, yaml.ScalarNode) and re.match(re.escape(key.value) + r"($|[.\[])", path)
    ]
    return max(fitting, key=lambda pair: len(pair[0].value), default=None)

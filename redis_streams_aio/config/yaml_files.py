"""Read YAML safely: no code runs, memory stays bounded, and every mistake is a `ValueError`.

PyYAML itself raises many kinds of errors: `KeyError` for `!!bool x`, for example. Merge keys (`<<: [*a, *b]`) are
merged here, so that all versions of PyYAML give the same result: before 6.0.4 a few lines of merge keys could fill the
memory, and in 6.0.4 the last mapping of a list wins, where YAML says the first. This module is imported only when
needed, because it imports PyYAML.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

_MOST_MERGED = 100_000
"""The most keys that all merge keys of a document may add: each level can multiply the keys of the level below."""
_TAG = "tag:yaml.org,2002:"


class RepeatedKeyError(ValueError):
    """A mapping has a key twice. YAML forbids this, and PyYAML would drop the first value."""

    def __init__(self, key: str, first: int, second: int) -> None:
        super().__init__(f"key {key!r} in lines {first} and {second}")
        self.key: str = key
        self.first: int = first
        self.second: int = second


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._merged = 0

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401  # the stubs have a wrong type
        """Return the mapping as it is written, before merge keys add to it. Raises `RepeatedKeyError`."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _TAG + "merge":
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise RepeatedKeyError(key.value, lines[name], line)
            lines[name] = line
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace merge keys by the keys of their mappings. The mapping's own keys come last, and the last one wins.

        A mapping that merges itself raises `RecursionError`.
        """
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        own: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value:
            if key.tag == _TAG + "merge":
                for source in self._sources(value):
                    merged += source.value
            else:
                own.append((key, value))
                if key.tag == _TAG + "value":
                    key.tag = _TAG + "str"
        node.value = merged + own

    def _sources(self, value: yaml.Node) -> Iterator[yaml.MappingNode]:
        """Yield the mappings that a merge key names. The first of a list comes last, because the last one wins."""
        for source in reversed(value.value) if isinstance(value, yaml.SequenceNode) else (value,):
            if not isinstance(source, yaml.MappingNode):
                raise yaml.constructor.ConstructorError(
                    problem="only mappings can be merged", problem_mark=source.start_mark
                )
            self.flatten_mapping(source)
            self._merged += len(source.value)
            if self._merged > _MOST_MERGED:
                raise yaml.YAMLError(f"merge keys come to more than {_MOST_MERGED} keys")
            yield source

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        """Return the text. Refuses half of a surrogate pair, which is not UTF-8 and cannot be sent to Redis."""
        value = super().construct_scalar(node)
        value.encode()
        return value


def parse(text: bytes) -> object:
    """Parse a text with one YAML document. Raises `ValueError`, as `RepeatedKeyError` if a mapping has a key twice."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # derived from SafeLoader
    except RepeatedKeyError:
        raise
    except (
        yaml.YAMLError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(str(error) or type(error).__name__) from error

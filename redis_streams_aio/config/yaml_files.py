"""YAML as people write it: read without running anything, into text and numbers that can be used, within bounds.

PyYAML lets out whatever its parts come upon (`!!bool x` is a `KeyError`, `2001-99-99` a `ValueError`); here there is
one error. Merge keys (`<<: [*a, *b]`) are merged here, to the same result with every PyYAML: before 6.0.4 a few lines
of them come to more than any memory holds, and in 6.0.4 the last mapping of a list wins, where YAML says the first.
Imported late: it imports PyYAML.
"""

from __future__ import annotations

from collections.abc import Iterator

import yaml

_MOST_MERGED = 100_000
"""Keys that all merge keys of a document may bring in together: each level may multiply what the level below has."""
_TAG = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Replace merge keys by what they bring in, before the mapping's own keys: the last of a name wins.

        A mapping that merges itself ends in a `RecursionError`.
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
        """The mappings that a merge key names, flat. The first of a list comes last, as the last wins."""
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
        """Text; what UTF-8 does not have (half of a surrogate pair) is refused, as it cannot be sent to Redis."""
        value = super().construct_scalar(node)
        value.encode()
        return value


def parse(text: bytes) -> object:
    """The one document in the text. Raises `ValueError` with what is wrong."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  # it is a safe one
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

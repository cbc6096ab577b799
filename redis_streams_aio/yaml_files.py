"""YAML as people write it: read without running anything, into text and numbers that can be used, within bounds.

PyYAML lets out whatever its parts come upon (`!!bool x` is a `KeyError`, `2001-99-99` a `ValueError`), and a few lines
of merge keys (`<<: [*a, *a, *a]`) can come to more than any memory holds. Here there is one error, and merging has an
end. Imported late: it imports PyYAML.
"""

from __future__ import annotations

import yaml

_MOST_KEYS = 10_000
"""In one mapping, those it merges included."""


class _Loader(yaml.SafeLoader):
    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge, up to a bound: each level of merging may multiply what the one below it came to."""
        super().flatten_mapping(node)
        if len(node.value) > _MOST_KEYS:
            raise yaml.YAMLError(f"a mapping comes to {len(node.value)} keys, at most {_MOST_KEYS} are allowed")

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

"""Names of payload types, as users write them, for error texts. Pure."""

from __future__ import annotations

from typing import get_origin

from ..checks.values import shown


def name_of(payload_type: object) -> str:
    """Return the type's name as users write it."""
    name = getattr(payload_type, "__name__", None)
    if isinstance(name, str):
        return name
    return str(payload_type) if get_origin(payload_type) is not None else shown(payload_type)


def with_article(payload_type: object) -> str:
    """Return the type's name with its article: `an Order`."""
    name = name_of(payload_type)
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"

"""Hints for errors about settings: the unit of a key, and the known key that is nearest to an unknown one. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def suggestion(key: str, known: Iterable[str]) -> str:
    """Return the known key that is nearest to an unknown one, in brackets; `""` if none is near."""
    import difflib  # noqa: PLC0415  # imported only where a key is wrong

    near = difflib.get_close_matches(key, known, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def unit(path: str) -> str:
    """Return the unit of a key, or its possible values, in brackets; `""` if the key needs no hint."""
    key = path.rpartition(".")[2]
    if key.endswith("_ms"):
        return " (in milliseconds, a whole number)"
    if key.endswith(("timeout", "interval", "expiry", "_retention", "_age", "_after")) or key in ("grace", "keep"):
        return " (in seconds, a number)"
    return ' ("redis" or "memory")' if key == "checkpoints" else ""

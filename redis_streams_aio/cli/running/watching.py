"""Notice that source files have changed, by their times of change: for `run --reload`, without a dependency."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SUFFIXES = (".py", ".yaml", ".yml", ".toml")
_LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}
Snapshot = dict[str, int]
"""Files with the times of their last change, in nanoseconds."""


def snapshot(folder: Path) -> Snapshot:
    """Return the source files below a folder. Folders that begin with a dot are left out, and virtual environments."""
    return dict(_files(os.fspath(folder)))


def changes(before: Snapshot, now: Snapshot) -> list[str]:
    """Return the files that were changed, added or deleted."""
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def _files(folder: str) -> Iterator[tuple[str, int]]:
    for parent, folders, names in os.walk(folder):
        if "pyvenv.cfg" in names:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _LEFT_OUT]
        for name in names:
            if name.endswith(SUFFIXES):
                with suppress(OSError):  # deleted meanwhile
                    yield f"{parent}/{name}", Path(parent, name).stat().st_mtime_ns

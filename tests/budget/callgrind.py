"""Machine instructions of an event, by library, as `valgrind --tool=callgrind` counts them.

`child --marks` calls `sched_yield` around what is to be counted, and callgrind writes its counts to a new file there.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .measure import run_child
from .ways import EVENTS, MARKED

LIBRARIES = {"hiredis": "hiredis", "msgspec": "msgspec"}
PYTHON = "Python and C library"
_OBJECT = re.compile(r"ob=\((\d+)\)(?: (.+))?")
_COST = re.compile(r"[-+*\d]\S* (\d+)")
LONGEST = 600


def is_installed() -> bool:
    """Whether machine instructions can be counted here."""
    return shutil.which("valgrind") is not None


def measure() -> dict[str, dict[str, int]]:
    """Instructions of one event of each way, by library."""
    with tempfile.TemporaryDirectory() as folder:
        counter = "valgrind", "--tool=callgrind", "--dump-before=sched_yield", f"--callgrind-out-file={folder}/out"
        run_child(*counter, sys.executable, options=["--marks"], timeout=LONGEST)
        parts = [_by_library(part) for part in _parts(Path(folder))]
    # start, [warm-up and preparing, few, preparing, many], end: the part before each second mark is a figure
    figures = parts[1::2]
    if len(figures) != 2 * len(MARKED):
        raise RuntimeError(f"callgrind wrote {len(parts)} parts, which are not four for each way")
    return {
        way: {library: round((many[library] - few[library]) / EVENTS) for library in sorted(many)}
        for way, few, many in zip(MARKED, figures[::2], figures[1::2], strict=True)
    }


def _parts(folder: Path) -> Iterator[list[str]]:
    """The files in their order, which is that of the names in them: a name is written out once."""
    number = 1
    while (part := folder / f"out.{number}").exists():
        yield part.read_text("utf-8", "replace").splitlines()
        number += 1


_names: dict[str, str] = {}


def _by_library(lines: list[str]) -> Counter[str]:
    """The instructions of one part; those within a call are the called function's own."""
    found: Counter[str] = Counter()
    library, is_of_a_call = PYTHON, False
    for line in lines:
        if match := _OBJECT.match(line):
            if match[2]:
                _names[match[1]] = next((name for part, name in LIBRARIES.items() if part in match[2]), PYTHON)
            library = _names.get(match[1], PYTHON)
        elif line.startswith("cob="):
            _note(line)
        elif line.startswith("calls="):
            is_of_a_call = True
        elif match := _COST.match(line):
            if not is_of_a_call:
                found[library] += int(match[1])
            is_of_a_call = False
    return found


def _note(line: str) -> None:
    """Learn a library's name where it is called for the first time."""
    if (match := _OBJECT.match(line[1:])) and match[2]:
        _names[match[1]] = next((name for part, name in LIBRARIES.items() if part in match[2]), PYTHON)

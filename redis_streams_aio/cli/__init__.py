"""The command line `redis-streams-aio`, extra `cli`.

This file only checks whether the extra is installed; `app` has the commands.
"""

from __future__ import annotations

import sys

_EXTRA = ("click", "rich")


def main() -> None:
    """Run the command line, and end the process.

    Its exit code: 0, 1 for an error (told in one line), 2 for wrong usage, 130 when a signal stopped it.
    """
    try:
        from .app import app  # noqa: PLC0415  # click and rich may be missing

        app()
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        sys.exit("Error: the command line needs the extra 'cli': pip install 'redis-streams-aio[cli]'")

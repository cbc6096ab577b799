"""Commands as bytes, by hiredis: four to six times faster than redis-py's own packing."""

from __future__ import annotations

from collections.abc import Callable

import hiredis

Argument = str | bytes | float
"""What a command is made of (`float` takes `int` too)."""
Command = tuple[Argument, ...]

pack: Callable[[Command], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub says a tuple of one
"""A command in the wire protocol.

Raises `TypeError` for other types, `UnicodeEncodeError` for text that is not Unicode.
"""

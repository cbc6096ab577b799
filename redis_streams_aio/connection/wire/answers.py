"""Types of what the conversations of a connection hand on."""

from __future__ import annotations

from collections.abc import Callable

from ..replies import Answer

Answered = Callable[[list[Answer]], object]
"""Gets the answers to the commands that were sent before the one whose answer is waited for."""

"""All targets."""

from __future__ import annotations

from tests.fuzz import reading_commands, reading_entries, reading_replies, reading_settings

TARGETS = (
    *reading_entries.TARGETS,
    *reading_replies.TARGETS,
    *reading_settings.TARGETS,
    *reading_commands.TARGETS,
)

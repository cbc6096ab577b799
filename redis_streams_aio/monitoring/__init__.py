"""Inspect and repair: how far groups are behind, and which events were dead-lettered."""

from .dead_letters import DeadLetters
from .lag import LagWatcher

__all__ = ["DeadLetters", "LagWatcher"]

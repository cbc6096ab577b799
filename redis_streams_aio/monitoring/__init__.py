"""Looking and mending: how far groups are behind, and what was given up."""

from .dead_letters import DeadLetters
from .lag import LagWatcher

__all__ = ["DeadLetters", "LagWatcher"]

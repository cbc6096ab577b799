"""Inspect and repair: how far groups are behind, which events were dead-lettered, and what a stream no longer keeps."""

from .dead_letters import DeadLetters
from .lag import LagWatcher
from .sweeper import StreamSweeper

__all__ = ["DeadLetters", "LagWatcher", "StreamSweeper"]

"""Middleware that comes with the library: a time limit, a correlation id, and a context for log lines."""

from .correlation import Correlation
from .log_context import LogContext
from .time_limit import timeout

__all__ = ["Correlation", "LogContext", "timeout"]

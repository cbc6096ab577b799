"""The one door to Redis: addresses, connections, the pipelined link, replies, errors and scripts.

`steps/` is the Redis side of the jobs: the Lua scripts, each with the function that runs it.

Roles use `Connection` and nothing else of redis-py. redis-py itself is imported when a connection is first opened,
not before: the import costs several times as much as all of this library.
"""

from .connection import Connection
from .steps.script import Script

__all__ = ["Connection", "Script"]

"""Test an application's handlers, and check what this package promises on your own Redis.

* `harness(broker)` runs an application's broker in a test. It lets events fail, leases run out and processes die.
* The pytest fixtures `redis_streams_broker` and `redis_streams_embedded_broker` are brokers without handlers.
* `python -m pytest --pyargs redis_streams_aio.testing.conformance --redis-url ...` runs the conformance suite.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .opening import harness
    from .recorder import Call
    from .running import Harness
else:

    def __getattr__(name: str) -> object:
        """Import public names when they are first asked for: every run of pytest imports the plugin beside this."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import opening, recorder, running  # noqa: PLC0415  # see above

        globals().update(Call=recorder.Call, Harness=running.Harness, harness=opening.harness)
        return globals()[name]


__all__ = ["Call", "Harness", "harness"]

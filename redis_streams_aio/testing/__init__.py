"""What shows the promises, for users as for us.

* `harness(broker)` runs an application's broker in a test, and lets events fail, leases run out and processes die:
  see `harness`. The pytest fixtures `broker` and `embedded_broker` are there when this package is installed.
* `python -m pytest --pyargs redis_streams_aio.testing.conformance --redis-url ...` runs the conformance suite.
* `python -m tests.chaos` runs producers, consumers and what befalls them.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .recorder import Call
    from .running import Harness, harness
else:

    def __getattr__(name: str) -> object:
        """What is public; imported when it is first asked for, as the plugin beside it is in every run of pytest."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import recorder, running  # noqa: PLC0415  # see above

        globals().update(Call=recorder.Call, Harness=running.Harness, harness=running.harness)
        return globals()[name]


__all__ = ["Call", "Harness", "harness"]

"""What shows the promises, for users as for us.

* `harness(broker)` runs an application's broker in a test, and lets events fail, leases run out and processes die:
  see `harness`. The pytest fixtures `broker` and `embedded_broker` are there when this package is installed.
* `python -m pytest --pyargs redis_streams_aio.testing.conformance --redis-url ...` runs the conformance suite.
* `python -m redis_streams_aio.testing.chaos` runs producers, consumers and what befalls them.
"""

from .harness import Harness, harness
from .recorder import Call

__all__ = ["Call", "Harness", "harness"]

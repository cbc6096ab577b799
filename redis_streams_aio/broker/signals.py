"""Stop at SIGINT and SIGTERM, in `broker.run()` and on the command line: elsewhere, signals belong to the application.

The first signal cancels the scope in which the broker runs, which closes it. The order of a stop is in `supervisor`.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..telemetry.logs import log

STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(first: Callable[[], object], second: Callable[[], object]) -> Iterator[None]:
    """Call `first` at the first SIGINT or SIGTERM, and `second` at each further one.

    At the end, the earlier signal handlers are restored. Does nothing outside of the main thread, because Python
    delivers signals only there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    came = 0

    def on_signal(number: int) -> None:
        nonlocal came
        came += 1
        name = signal.Signals(number).name
        log.info("%s: stopping%s", name, "" if came == 1 else " at once")
        (first if came == 1 else second)()

    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])

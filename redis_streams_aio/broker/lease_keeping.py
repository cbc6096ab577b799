"""Keep the leases of everything that runs, with a task for each lease (`consumer/intake/leases.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic

import anyio

from ..consumer.intake.leases import LeaseKeeper, LeaseKeepers
from ..consumer.periodic import repeat
from ..exceptions import RedisStreamsError
from ..telemetry import Fact


class LeaseKeeping:
    """Renews leases in the event loop in which `run` runs."""

    def __init__(self, keepers: LeaseKeepers, emit: Callable[[Fact], None]) -> None:
        self._keepers = keepers
        self._emit = emit
        self._changed = asyncio.Event()
        self._failing: dict[float, float] = {}
        """By the interval of each keeper whose renewals fail: since when, by `time.monotonic`."""

    @property
    def trouble(self) -> str:
        """Which leases were not renewed twice in a row, and since when; empty: all are renewed. Any thread may ask."""
        now = monotonic()
        late = [now - since for interval, since in self._failing.copy().items() if now - since > interval]
        return f"leases have not been renewed for {max(late):.0f} s" if late else ""

    async def run(self) -> None:
        """Renew each lease at a third of it, until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._changed.clear()
                for keeper in self._keepers.missing():
                    tasks.start_soon(self._keep, keeper)
                await self._changed.wait()

    def begin_missing(self) -> None:
        """Begin to keep the leases of a subscription that has started."""
        self._changed.set()

    async def _keep(self, keeper: LeaseKeeper) -> None:
        try:
            await repeat("renew leases", partial(self._renew, keeper), keeper.interval, self._emit)
        finally:
            with anyio.CancelScope(shield=True):
                await keeper.close()

    async def _renew(self, keeper: LeaseKeeper) -> None:
        try:
            await keeper.run_once()
        except RedisStreamsError:
            self._failing.setdefault(keeper.interval, monotonic())
            raise
        self._failing.pop(keeper.interval, None)

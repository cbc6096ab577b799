"""Keep the leases of everything that runs, with a task for each lease (`consumer/intake/leases.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio

from ..consumer.intake.leases import LeaseKeeper, LeaseKeepers
from ..consumer.periodic import repeat
from ..telemetry import Fact


class LeaseKeeping:
    """Renews leases in the event loop in which `run` runs."""

    def __init__(self, keepers: LeaseKeepers, emit: Callable[[Fact], None]) -> None:
        self._keepers = keepers
        self._emit = emit
        self._changed = asyncio.Event()

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
            await repeat("renew leases", keeper.run_once, keeper.interval, self._emit)
        finally:
            with anyio.CancelScope(shield=True):
                await keeper.close()

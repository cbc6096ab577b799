"""Health: what a probe asks of a broker, and why the answer is no.

Three questions, each answered by a `Check`:

* *live*: does a restart help? No while an error has ended the broker, or something blocks its event loop.
* *ready*: does it work? Yes once it has started, until the drain begins, while the reads of all subscriptions come
  back and leases are renewed. An outage of Redis makes it no, and its end makes it yes again. Paused is ready.
* *started*: did it ever work? Yes once every group is joined, until the broker is closed.

Nothing is asked of Redis: the answers are derived from what the broker sees anyway, so they cost nothing and never
wait. Any thread may ask. A blocked event loop can be seen from another thread only; a probe in the loop itself does not
answer meanwhile, which means the same to an orchestrator.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ..handlers.error_texts import describe
from .supervisor import Supervisor
from .supervisor_task import SupervisorTask


class Check(msgspec.Struct, frozen=True):
    """The answer to one question of a probe."""

    ok: bool
    reasons: tuple[str, ...] = ()
    """Why not; empty if it is ok."""


class Health(msgspec.Struct, frozen=True):
    """Whether a broker lives, is ready, and has started."""

    live: Check
    """Not ok: only a restart helps."""
    ready: Check
    """Whether it works now, as `Broker.ready`."""
    started: Check
    """Whether it has joined all its groups since it was opened."""
    notes: tuple[str, ...] = ()
    """Things that fail no probe: handlers that run for longer than a lease, subscriptions that are paused."""
    loop_delay: float | None = None
    """Seconds that the event loop took to answer, measured about once a second; `None` if not measured yet."""


def health_of(task: SupervisorTask | None, failed: BaseException | None) -> Health:
    """Return the health of a broker whose supervisor runs in `task` (`None`: closed), and that ended by `failed`."""
    if failed is not None:
        ended = Check(ok=False, reasons=(f"an error ended the broker, and only a restart helps: {describe(failed)}",))
        return Health(ended, ended, ended)
    if task is None or not task.is_alive:
        closed = Check(ok=False, reasons=("the broker is not open",))
        return Health(Check(ok=True), closed, closed)
    supervisor = task.supervisor
    return Health(
        _check(_not_live(supervisor)),
        _check(_not_ready(supervisor)),
        _check(_not_started(supervisor)),
        tuple(_notes(supervisor)),
        supervisor.loop_watch.delay() if supervisor.loop_watch is not None else None,
    )


def _check(reasons: Iterator[str]) -> Check:
    found = tuple(reasons)
    return Check(ok=not found, reasons=found)


def _not_live(supervisor: Supervisor) -> Iterator[str]:
    blocked = supervisor.loop_watch.blocked if supervisor.loop_watch is not None else None
    if blocked is not None:
        yield str(blocked)


def _not_started(supervisor: Supervisor) -> Iterator[str]:
    if not supervisor.started.is_set():
        joining = [each.name for each in supervisor.running if not each.has_joined]
        yield f"joining {', '.join(joining)}" if joining else "connecting to Redis"


def _not_ready(supervisor: Supervisor) -> Iterator[str]:
    yield from _not_started(supervisor)
    if supervisor.stopping:
        yield "draining"
    if supervisor.crashed:
        yield "an error is ending the broker"
    for subscription in supervisor.running:
        if trouble := subscription.trouble:
            yield f"{subscription.name}: {trouble}"
    if supervisor.leases is not None and (trouble := supervisor.leases.trouble):
        yield trouble


def _notes(supervisor: Supervisor) -> Iterator[str]:
    yield from map(str, supervisor.slow_handlers.running_now())
    for subscription in supervisor.running:
        if (paused := subscription.holds.first) is not None:
            yield f"{subscription.name}: {paused}"

"""`demo`: publishes a week of flights, and handles and checks them; the package `demo` carries it out."""

from __future__ import annotations

import click

from .. import demo as demonstration
from .. import show
from ..session import run


@click.command("demo")
@click.option("--url", help="The Redis to use; the demo deletes what it creates there.  [default: an embedded Valkey]")
@click.option(
    "--events",
    "count",
    type=click.IntRange(1, demonstration.FLIGHTS),
    default=demonstration.FLIGHTS,
    show_default=True,
    metavar="N",
    help="Only the first N flights.",
)
def command(url: str | None, count: int) -> None:
    """Publish a week of flights, handle them in four groups, and check that none was lost.

    The demo shows order per aircraft, retries and dead letters, a slow group beside fast ones, and a worker that dies.
    It takes about ten seconds. Exit code 1 if anything is not as expected.
    """
    if not run(demonstration.perform(url or "embedded://", count, show.console())):
        raise click.exceptions.Exit(1)

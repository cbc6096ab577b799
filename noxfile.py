"""The project's sessions: `nox` runs those of the gate, `nox -s tests` one, `nox -s servers` all servers.

Every session installs what it needs, in the versions of `requirements/all.txt` (`nox -s lock` renews them), and starts
and stops its own servers. Two sessions leave that lock: `lowest` takes the lowest versions that pyproject.toml allows,
locked too, `latest` the newest that there are. `nox` is to do next year what it does today, so `latest` is not among
what it runs: the gate (`.ci/run`) has it run beside the others.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import nox

nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["gate"]
TOGETHER = [
    "tests",
    "servers(server='valkey-8.1')",
    "servers(server='redis-8.2')",
    "servers(server='redis-7.0')",
    "pythons",
    "lowest",
    "types",
    "demo",
    "lint",
]
"""What `nox` runs: left out are long forms, what `tests` has in it anyway, and what may differ from day to day."""
BESIDE = os.environ.get("RSA_BESIDE", "").split()
"""More sessions to run with them: the gate (`.ci/run`) asks for `latest`."""
SESSIONS_AT_ONCE = 3
"""While one installs something, or waits for its last tests, others have the cores."""

LOCK = "requirements/all.txt"
"""Pinned versions with hashes of everything that is installed here. pip takes no such constraints, uv does."""
GATE = "requirements/gate.txt"
"""The part of it that the README's test command installs with pip."""
DEMO = "requirements/demo.txt"
"""The part of it that the README's demo needs, and what builds the package."""
LOWEST = "requirements/lowest.txt"
"""The lowest versions that pyproject.toml allows, of the package and of what its tests need."""
PYTHONS = ["3.11", "3.12", "3.13"]
OLDEST_PYTHON = PYTHONS[0]
"""What the lock begins at, and what the lowest versions are for: some have no wheels for later ones."""
MAIN_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""What the whole suite runs on: the one that runs nox, so it is there."""
OTHER_PYTHONS = [python for python in PYTHONS if python != MAIN_PYTHON]
PYENV = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
EXTRAS = "cli,embedded,memory,uvloop,testing"
SHORT = [
    "tests/unit",
    "tests/fuzz",
    "tests/test_examples.py",
    "tests/integration/test_memory.py",
    "tests/integration/test_conformance.py::test_the_suite_passes_on_memory",
]
"""What is run where the whole suite would take too long: it depends on Python and packages more than on the server."""
SERVERS = ["valkey-8.1", "redis-8.2", "redis-7.0"]
"""Those that `tests` has not been through: it runs on Valkey 9.1."""
NEWEST_AND_OLDEST = ["valkey-9.1", "redis-7.0"]
TOPOLOGIES = ["one", "sentinel", "cluster"]
USES_NEWER_COMMANDS = ["completion", "copies", "draining", "failover", "once", "outages", "publishing", "taking_over"]
"""Integration tests of what newer commands do, or would do."""
AT_ONCE = ("-n", "2", "--maxschedchunk", "1")
"""Tests at once: most of them wait for something most of the time. Each worker fetches one test after the other: dealt
out in portions, the long ones, which stand first, would all be one worker's."""
MORE_AT_ONCE = ("-n", "3", *AT_ONCE[2:])
"""In the longest session: a third of the gate's tests are in it, and nothing runs beside its last ones."""
SAME_ON_EVERY_SERVER = [
    "benchmarks",
    "breakers",
    "cli",
    "cli_acts",
    "cli_causes",
    "cli_config",
    "cli_dead_letters",
    "cli_pausing",
    "cli_workers",
    "demo",
    "embedded",
    "health",
    "kubernetes",
    "live_figures",
    "memory",
    "on_call",
    "opentelemetry",
    "operations",
    "plugin",
    "probes",
    "prometheus",
    "publish_middleware",
    "server_sets",
    "soak",
    "uvloop",
    "watching",
    "wrong_values",
]
"""They run on `memory://` and `embedded://`, or are about what no server can change."""
MUTANT = re.compile(
    r"redis_streams_aio\.(?P<module>[\w.]+)\.x[_ǁ](?P<function>\w+)__mutmut_(?P<number>\d+): (?P<fate>.+)"
)
"""A line of `mutmut results`."""
EXPLAINED = re.compile(r"`([\w.]+)` (\d+(?:, \d+)*)")
"""Mutants of one function in docs/mutants.md."""
project = nox.project.load_toml("pyproject.toml")


def look_where_pyenv_keeps_pythons() -> None:
    """Put interpreters that pyenv has installed before its shims, which refuse versions that are not switched on."""
    found = [PYENV.glob(f"versions/{python}.*/bin/python{python}") for python in OTHER_PYTHONS]
    folders = [str(path.parent) for paths in found for path in paths]
    os.environ["PATH"] = os.pathsep.join([*folders, os.environ["PATH"]])


look_where_pyenv_keeps_pythons()
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Hundreds of processes import the same: each would compile it, and pytest rewrite its assertions, once more."""


def install(session: nox.Session, *groups: str, package: str = "-e.") -> None:
    """Install the package as it is here, and what some dependency groups name, in locked versions."""
    session.env["UV_BUILD_CONSTRAINT"] = LOCK
    of_groups = [option for group in groups for option in ("--group", group)]
    session.install("-c", LOCK, *([package] if package else []), *of_groups)


@nox.session(python=False)
def gate(session: nox.Session) -> None:
    """All that `nox` runs, three sessions at a time; what a session has to say comes in one piece when it has ended."""
    with ThreadPoolExecutor(SESSIONS_AT_ONCE) as lanes:
        ends = {lanes.submit(_run_by_itself, each, session.posargs): each for each in [*TOGETHER, *BESIDE]}
        failed = []
        for end in as_completed(ends):
            code, output = end.result()
            print(output, end="", flush=True)  # noqa: T201  # as nox does
            if code:
                failed.append(ends[end])
    if failed:
        session.warn("failed: " + ", ".join(failed))
        session.error()


def _run_by_itself(name: str, options: list[str]) -> tuple[int, str]:
    """Run a session in a nox of its own; its exit code and all that it said."""
    command = [sys.executable, "-m", "nox", "-s", name, *(["--", *options] if options else [])]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)  # noqa: S603
    return ended.returncode, ended.stdout


@nox.session(python=MAIN_PYTHON)
def tests(session: nox.Session) -> None:
    """The whole suite on Valkey from the wheel, with branch coverage."""
    install(session, "test")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", "-q", *MORE_AT_ONCE, *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session(python=OTHER_PYTHONS)
def pythons(session: nox.Session) -> None:
    """The short form on the other Pythons; `nox -s pythons -- tests` is the whole suite."""
    install(session, "test")
    session.run("pytest", "-q", *AT_ONCE, *(session.posargs or SHORT))


@nox.session(python=OLDEST_PYTHON)
def lowest(session: nox.Session) -> None:
    """The short form with the lowest versions of direct dependencies that pyproject.toml allows."""
    session.env["UV_BUILD_CONSTRAINT"] = LOCK
    session.install("-c", LOWEST, "-e", f".[{EXTRAS}]", "--group", "test")
    session.run("pytest", "-q", *AT_ONCE, *(session.posargs or SHORT))


@nox.session(python=MAIN_PYTHON)
def latest(session: nox.Session) -> None:
    """The short form with the newest versions of everything, whatever is locked; `-- tests` for the whole suite."""
    session.install("--upgrade", "-e", f".[{EXTRAS}]", "--group", "test")
    session.run("pytest", "-q", *AT_ONCE, *(session.posargs or SHORT))


@nox.session
def lock(session: nox.Session) -> None:
    """Renew the lock: the newest versions of everything that the ranges in pyproject.toml allow, and the lowest.

    `nox -s lock -- --no-upgrade` only adds and takes away what pyproject.toml has come to name, and no more.
    """
    install(session, "gate", package="")
    groups = [option for group in project["dependency-groups"] for option in ("--group", group)]
    renewal = session.posargs or ["--upgrade"]
    _compile(session, LOCK, "pyproject.toml", "--all-extras", *groups, *renewal)
    _compile(session, GATE, "--group", "gate", "-c", LOCK)
    _compile(session, DEMO, "pyproject.toml", "--extra", "cli", "--extra", "embedded", "--group", "build", "-c", LOCK)
    lowest = ["--resolution", "lowest-direct", *renewal]
    _compile(session, LOWEST, "pyproject.toml", "--all-extras", "--group", "test", *lowest)


def _compile(session: nox.Session, lock: str, *options: str) -> None:
    """Write a lock file: hashes, all platforms, and no address of a registry."""
    form = ["--quiet", "--universal", "--generate-hashes", "--no-emit-index-url", "--no-annotate", "--no-header"]
    session.run("uv", "pip", "compile", *form, "--python-version", OLDEST_PYTHON, *options, "-o", lock)


@nox.session
@nox.parametrize("server", SERVERS)
def servers(session: nox.Session, server: str) -> None:
    """The integration tests on one of the other servers that we support."""
    if server == "redis-7.0" and shutil.which("redis-server") is None:
        session.skip("no redis-server here: apt-get install redis-server")
    install(session, "test", "servers")
    left_out = [f"--ignore=tests/integration/test_{name}.py" for name in SAME_ON_EVERY_SERVER]
    options = ["-q", *AT_ONCE, "tests/integration", *left_out]
    session.run("pytest", *options, *session.posargs, env={"RSA_TEST_SERVER": server})


@nox.session
@nox.parametrize("server", NEWEST_AND_OLDEST)
@nox.parametrize("topology", TOPOLOGIES)
def topologies(session: nox.Session, topology: str, server: str) -> None:
    """The whole conformance suite and a minute of chaos, on one server, behind Sentinels or on a Cluster."""
    if server == "redis-7.0" and shutil.which("redis-server") is None:
        session.skip("no redis-server here: apt-get install redis-server")
    install(session, "test", "servers")
    suite = "test_conformance.py::test_the_suite_passes_on_this_server_and_leaves_nothing"
    if topology != "one":
        suite = "test_conformance_of_sets.py::test_the_suite_passes_and_leaves_nothing"
    where = {"RSA_TEST_SERVER": server, "RSA_TOPOLOGY": topology}
    session.run("pytest", "-q", f"tests/integration/{suite}", *session.posargs, env=where)
    session.run("python", "-m", "tests.chaos", "--minutes", "1", "--topology", topology, "--server", server)


@nox.session
@nox.parametrize("commands", ["newer", "masked"])
def newest(session: nox.Session, commands: str) -> None:
    """What uses newer commands, on a Redis that has them: `RSA_NEWEST_REDIS=/path/to/redis-server nox -s newest`."""
    if "RSA_NEWEST_REDIS" not in os.environ:
        session.skip("no newest Redis here: name its program in RSA_NEWEST_REDIS")
    install(session, "test")
    masked = {"PYTHONPATH": str(Path("tests/masked").resolve())} if commands == "masked" else {}
    imported = "ignore::pytest.PytestAssertRewriteWarning"  # the package, by what masks it
    tests = [f"tests/integration/test_{name}.py" for name in USES_NEWER_COMMANDS]
    suite = "tests/integration/test_conformance.py::test_the_suite_passes_on_this_server_and_leaves_nothing"
    options = ["-q", *AT_ONCE, "-W", imported, suite, *tests, *session.posargs]
    session.run("pytest", *options, env={"RSA_TEST_SERVER": "redis-8.10", **masked})


@nox.session
def chaos(session: nox.Session) -> None:
    """Ten minutes of faults: `nox -s chaos -- --minutes 60 --seed 7 --server redis-8.2`."""
    install(session, "test", "servers")
    session.run("python", "-m", "tests.chaos", *(session.posargs or ["--minutes", "10"]))


@nox.session
def failovers(session: nox.Session) -> None:
    """Twenty minutes: the table of docs/failovers.md; `-- --topology cluster --fault kill --runs 1` for a part."""
    install(session, "test")
    session.run("python", "-m", "tests.failovers", *(session.posargs or ["--page", "docs/failovers.md"]))


@nox.session
def soak(session: nox.Session) -> None:
    """Twenty minutes and five million events, and nothing may grow: `nox -s soak -- --minutes 120`."""
    install(session, "test")
    options = session.posargs or ["--minutes", "20", "--events", "5000000"]
    session.run("python", "-m", "tests.soak", *options)


@nox.session
def fuzz(session: nox.Session) -> None:
    """A million inputs for all that reads what others wrote: `nox -s fuzz -- --inputs 10000000 --seed 2`."""
    install(session, "test")
    session.run("python", "-m", "tests.fuzz", *(session.posargs or ["--inputs", "1000000"]))


@nox.session
def bench(session: nox.Session) -> None:
    """Ours beside a loop written by hand and FastStream: `nox -s bench -- consume publish --rounds 5`, `-- --docs`."""
    install(session, "bench")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Twelve minutes: no mutant of the pure parts lives that docs/mutants.md does not explain.

    `nox -s mutants -- "redis_streams_aio.handlers.retry.*"` for those of one module.
    """
    install(session, "test", "mutants")
    shutil.rmtree("mutants", ignore_errors=True)  # mutmut would not try again what has survived other tests
    session.run(
        "mutmut",
        "run",
        "--max-children",
        "1",
        *session.posargs,
        silent=not session.interactive,
        env={"RSA_HYPOTHESIS": "mutants"},
    )
    alive = not_killed(session.run("mutmut", "results", silent=True) or "")
    if unexplained := [f"{name}: {alive[name]}" for name in alive.keys() - explained()]:
        session.error("not killed, and not explained in docs/mutants.md: " + "; ".join(sorted(unexplained)))


def not_killed(results: str) -> dict[str, str]:
    """The fates of mutants that were tried and not killed, by names such as `connection.backoff.Gate.wait 3`."""
    return {
        f"{found['module']}.{found['function'].replace('ǁ', '.')} {found['number']}": found["fate"]
        for found in MUTANT.finditer(results)
        if found["fate"] != "not checked"
    }


def explained() -> set[str]:
    """The mutants that docs/mutants.md tells of."""
    found = EXPLAINED.findall(Path("docs/mutants.md").read_text("utf-8"))
    return {f"{function} {number}" for function, numbers in found for number in numbers.split(", ")}


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and format."""
    install(session, "lint", package="")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Our types are strict inside and complete outside."""
    # not editable: pyright judges a package as its users have it
    install(session, "types", package=".")
    session.run("mypy")
    session.run("mypy", "tests/typing")
    nodejs = {"PYRIGHT_PYTHON_GLOBAL_NODE": "0"}  # the one that is locked, not one that this machine may have
    session.run("pyright", "--ignoreexternal", "--verifytypes", "redis_streams_aio", env=nodejs)
    session.run("pyright", "tests/typing", env=nodejs)


@nox.session
def examples(session: nox.Session) -> None:
    """Each example runs, the web ones over HTTP."""
    install(session, "test")
    session.run("pytest", "-q", "tests/test_examples.py", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The main job: 6,099 flights through an embedded Valkey."""
    install(session, package="-e.[cli,embedded]")
    session.run("redis-streams-aio", "demo", *session.posargs)


if __name__ == "__main__":
    sys.exit(nox.main())

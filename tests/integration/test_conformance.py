"""The conformance suite as its users run it: by the command of docs/conformance.md, from an empty directory.

On a server of the matrix it is run as a user who may touch nothing but keys of the suite's, and beside keys of others;
the restarts that it asks for are kills.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from redis_streams_aio.testing.conformance import table
from redis_streams_aio.testing.servers import DEFAULT, Server

PLUGIN = "redis_streams_aio.testing.plugin"
"""Found by itself where the package is installed; here it may only be on the path."""
ROOT = Path(__file__).parent.parent.parent
DOCUMENTED = re.search(
    r"^pytest (--pyargs .* --redis-url) redis://\S+$", (ROOT / "docs" / "conformance.md").read_text(), re.MULTILINE
)
USER = shlex.split(
    "--user suite on '>secret' ~conformance:* ~{conformance:*}:* +@all -@admin -@dangerous '+client|unblock'"
)
"""What goes on on the whole server is @dangerous, but for ending one's own reads."""
ONCE = pytest.mark.skipif(
    os.environ.get("RSA_TEST_SERVER", DEFAULT) != DEFAULT, reason="the same on every server, and run with Valkey 9.1"
)


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A directory that has nothing of ours."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def run(folder: Path, url: str | None, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The documented command, with nobody's configuration, and this very package."""
    assert DOCUMENTED is not None
    arguments = shlex.split(DOCUMENTED[1])
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        PLUGIN,
        *(arguments[:-1] if url is None else [*arguments, url]),
        *options,
    ]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, **variables}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


async def passes(folder: Path, url: str, *options: str, tests: int = 0) -> Counter[str]:
    """All of the suite, or as many as `tests`, pass or are skipped; how often which outcome there was."""
    tests = tests or len(table.suite())
    report = Path(os.environ.get("RSA_REPORTS", folder)) / f"{url.partition(':')[0]}-{os.getpid()}.xml"
    result = await asyncio.to_thread(run, folder, url, f"--junitxml={report}", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    read = table.read(report)
    outcomes = Counter("passed" if outcome == table.PASSED else "skipped" for outcome in read.outcomes.values())
    print(f"{read.server}: {dict(outcomes)} of {tests}: {result.stdout.splitlines()[-1]}")
    assert outcomes.total() == tests
    return outcomes


@asynccontextmanager
async def restarting(restart: Callable[[], None]) -> AsyncIterator[str]:
    """A command that has `restart` done, which kills what there is and starts it again."""

    async def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(restart)
        writer.close()

    listener = await asyncio.start_server(called, "127.0.0.1")
    port = listener.sockets[0].getsockname()[1]
    call = f"import socket; socket.create_connection(('127.0.0.1', {port})).recv(1)"
    async with listener:
        yield shlex.join([sys.executable, "-c", call])


async def everything(redis: Redis) -> dict[str, bytes]:
    """All keys with their contents."""
    return {key: await redis.dump(key) async for key in redis.scan_iter()}


@pytest.mark.timeout(300)
async def test_the_suite_passes_on_this_server_and_leaves_nothing(
    new_server: Callable[..., Server], empty: Path
) -> None:
    """Every test of it, none skipped; the keys of others stay as they are, bit for bit."""
    server = new_server(*USER, appendonly=True)
    redis = Redis.from_url(server.url, protocol=2)
    await redis.set("others", "text")
    await redis.xadd("orders", {"n": 1})
    await redis.xgroup_create("orders", "g", "0")
    before = await everything(redis)
    async with restarting(lambda: server.restart(signal.SIGKILL)) as command:
        url = server.url.replace("//", "//suite:secret@")
        outcomes = await passes(empty, url, "--restart-command", command)
    assert outcomes == {"passed": len(table.suite())}
    assert await everything(redis) == before
    await redis.aclose()


@ONCE
@pytest.mark.timeout(300)
async def test_the_suite_passes_on_embedded(empty: Path) -> None:
    """All but what needs a network."""
    outcomes = await passes(empty, "embedded://")
    assert outcomes["skipped"] == 3


@ONCE
@pytest.mark.timeout(300)
async def test_the_suite_passes_on_memory(empty: Path) -> None:
    """All that is within one process."""
    outcomes = await passes(empty, "memory://")
    assert outcomes["skipped"] == 11


@ONCE
@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (None, "the conformance suite needs --redis-url"),
        ("redis://:secret@127.0.0.1:1", "gave up after connect_timeout=5 s: "),
        ("http://localhost", "unknown scheme http://"),
        ("embedded://data", "takes an absolute path"),
    ],
)
def test_a_wrong_url_is_one_clear_error(empty: Path, url: str | None, wanted: str) -> None:
    result = run(empty, url)
    output = result.stdout + result.stderr
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert output.count(wanted) == 1
    assert "secret" not in output
    assert "Traceback" not in output


@ONCE
def test_an_embedded_server_that_cannot_start_leaves_nothing(empty: Path) -> None:
    temporary = empty / ("x" * 90)  # too long for a socket
    temporary.mkdir()
    result = run(empty, "embedded://", TMPDIR=str(temporary))
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "88 are allowed" in result.stdout + result.stderr
    assert list(temporary.iterdir()) == []

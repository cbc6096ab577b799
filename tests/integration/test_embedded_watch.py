"""`embedded://` leaves nothing behind, however its process ends, and says so when two workers do not share a server."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from redis_streams_aio import Broker
from redis_streams_aio.connection.embedded import server, watch
from redis_streams_aio.connection.embedded.owners import PREFIX, SOCKET
from redis_streams_aio.connection.embedded.server import _pipes
from redis_streams_aio.connection.embedded.watch import run_id as read_run_id
from redis_streams_aio.testing.servers import DEFAULT, Server, binary
from redis_streams_aio.testing.waiting import until

ROOT = Path(__file__).parent.parent.parent
DEADLINE = 30

OWNER = """
import asyncio, os, signal, sys
from redis_streams_aio import Broker

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with it ignored

async def main():
    async with Broker(sys.argv[1]) as broker:
        await broker.publish("orders", {"number": 1}, event_type="Order")
        if sys.argv[2:] == ["fork"]:
            child = os.fork()
            if not child:
                os.close(1), os.close(2)
                signal.pause()
            print("child", child, flush=True)
        print("ready", os.getpid(), broker.connection.shown, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Owner:
    """A process with an embedded server, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    def said(self, word: str) -> str | None:
        return next((line for line in self.lines if line.startswith(word)), None)

    async def ready(self) -> None:
        await until(lambda: self.said("ready") or self.process.returncode is not None, DEADLINE)
        assert self.process.returncode is None, self.lines

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@pytest.fixture
def folder(short_folder: Path) -> Path:
    """Where temporary folders are made."""
    made = short_folder / "tmp"
    made.mkdir()
    return made


@pytest.fixture
def short_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for that of a socket."""
    return tmp_path_factory.mktemp("e")


@asynccontextmanager
async def owner(folder: Path, url: str = "embedded://", *more: str) -> AsyncIterator[Owner]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OWNER,
        url,
        *more,
        env={**os.environ, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    one = Owner(process)
    try:
        await one.ready()
        yield one
    finally:
        if process.returncode is None:
            await one.kill()
        await asyncio.wait((one.reading,), timeout=1)
        one.reading.cancel()
        process._transport.close()  # type: ignore[attr-defined]  # else 3.11 warns when the loop is closed first


def processes(folder: Path) -> list[str]:
    """The servers and watches of a folder."""
    found = []
    for commandline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = commandline.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


async def test_p26_a_process_that_is_killed_leaves_no_server_and_no_folder(folder: Path) -> None:
    async with owner(folder) as one:
        assert len(processes(folder)) == 2, "the server and its watch"
        await one.kill()
        await until(lambda: processes(folder) == [], DEADLINE)
    assert list(folder.iterdir()) == []


async def test_p26_a_process_that_ends_in_order_leaves_nothing(folder: Path) -> None:
    async with owner(folder) as one:
        one.process.send_signal(signal.SIGINT)
        await one.process.wait()
        assert processes(folder) == [], "at once"
    assert list(folder.iterdir()) == []


async def test_what_is_in_a_data_folder_is_kept_when_the_process_is_killed(folder: Path, short_folder: Path) -> None:
    url = f"embedded://{short_folder}/data"
    async with owner(folder, url) as one:
        await one.kill()
    async with Broker(url) as broker:  # at once: it waits until the watch has seen to the other server
        assert await broker.connection.call("XLEN", "orders") == 1
    await until(lambda: processes(short_folder) == [], DEADLINE)
    assert (short_folder / "data" / "appendonlydir").is_dir()


async def test_a_forked_child_that_lives_on_keeps_no_server_alive(folder: Path) -> None:
    async with owner(folder, "embedded://", "fork") as one:
        await until(lambda: one.said("child"))
        child = int((one.said("child") or "").split()[1])
        try:
            await one.kill()
            await until(lambda: not list(folder.iterdir()), DEADLINE)
            os.kill(child, 0)  # it lives
        finally:
            os.kill(child, signal.SIGKILL)


async def test_signals_for_all_processes_of_a_terminal_do_not_end_the_watch(folder: Path) -> None:
    async with Broker("embedded://") as broker:
        [watch] = _children("watch.py")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(watch, number)
        await broker.publish("orders", {}, event_type="Order")
        assert _children("watch.py") == [watch]
        assert os.getsid(watch) != os.getsid(0)
    assert _children("watch.py") == []
    assert _pipes == set()


def _children(part: str) -> list[int]:
    """Processes of this one."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if parent == os.getpid() and part in command:
            found.append(int(status.parent.name))
    return found


async def test_another_server_on_the_same_socket_is_left_alone(new_server: Callable[..., Server], folder: Path) -> None:
    path = folder / SOCKET
    server = new_server("--unixsocket", str(path))
    known = watch.run_id(str(path))
    assert len(known) == 40
    await asyncio.to_thread(watch.end, str(path), b"another")
    assert read_run_id(str(path)) == known, "it lives"
    await asyncio.to_thread(watch.end, str(path), known)
    with pytest.raises(OSError, match="refused|No such file"):
        watch.run_id(str(path))
    server.stop()


def watch_of(path: Path, temporary: Path | str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", watch.__file__, str(path), str(temporary)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def test_a_process_that_is_killed_while_its_server_starts_leaves_none(
    new_server: Callable[..., Server], folder: Path
) -> None:
    """The watch was not told which server it is: in a temporary folder it waits for it; elsewhere it ends nothing."""
    temporary = folder / "mine"
    temporary.mkdir()
    path = temporary / SOCKET
    with watch_of(path, temporary) as watch:
        assert watch.stdin is not None
        watch.stdin.close()
        time.sleep(0.3)  # the server is not there yet
        assert watch.poll() is None
        options = ("--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder))
        with subprocess.Popen([binary(DEFAULT), *options], stdout=subprocess.DEVNULL) as server:
            assert watch.wait(DEADLINE) == 0
            assert server.wait(DEADLINE) == 0
    assert not temporary.exists()

    path = folder / SOCKET
    server = new_server("--unixsocket", str(path))
    with watch_of(path, "") as watch:
        assert watch.stdin is not None
        watch.stdin.close()
        assert watch.wait(DEADLINE) == 0
    assert read_run_id(str(path)), "a folder of the user's: it may be somebody else's"


async def test_without_a_watch_it_works_and_says_what_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server.sys, "executable", "/nonexistent/python")
    async with Broker("embedded://") as broker:
        await broker.publish("orders", {}, event_type="Order")
    assert "SIGKILL would leave it behind" in caplog.text
    assert _pipes == set()


# -- two workers --------------------------------------------------------------------------------------------------


async def test_two_workers_that_each_start_a_server_are_told_so(folder: Path) -> None:
    async with owner(folder) as first, owner(folder) as second:
        warnings = [line for line in second.lines if "embedded:// gives each process a server of its own" in line]
        assert len(warnings) == 1
        assert f"process {first.process.pid} of this application" in warnings[0]
        assert "redis://localhost:6379/0" in warnings[0], "what to write instead"
        assert first.said("embedded://") is None
    async with owner(folder) as third:
        assert third.said("embedded://") is None, "the others are gone"


async def test_other_applications_and_brokers_of_one_process_are_not_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with owner(folder), owner(folder, "embedded://", "another command line") as other:
        assert other.said("embedded://") is None
    caplog.set_level(logging.WARNING)
    async with Broker("embedded://"), Broker("embedded://"):
        pass
    assert "embedded://" not in caplog.text


async def test_uvicorn_with_two_workers_is_told(folder: Path) -> None:
    """The FastAPI example as it is written, with `--workers 2`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = (
        "-m",
        "uvicorn",
        "--app-dir",
        str(ROOT / "examples"),
        "--workers",
        "2",
        "--port",
        port,
        "fastapi_app:app",
    )
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_STREAMS_REDIS_URL"}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env={**environment, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    said = b""
    try:
        async with asyncio.timeout(DEADLINE):
            assert process.stderr is not None
            while said.count(b"Application startup complete") < 2:
                said += await process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        said += (await asyncio.wait_for(process.communicate(), DEADLINE))[1]
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]
    assert b"embedded:// gives each process a server of its own" in said, said.decode()
    await until(lambda: not list(folder.glob(f"{PREFIX}*")), DEADLINE)

"""Start the process in which is counted, beside a real server, and read what it says."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec

from redis_streams_aio.testing.servers import Server

from .stages import by_stage

ROOT = Path(__file__).parent.parent.parent
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BUILD = ", ".join(
    (
        f"Python {platform.python_version()} ({' '.join(platform.python_build())}, {platform.python_compiler()})",
        *(f"{name} {version(name)}" for name in ("hiredis", "msgspec")),
        *(" ".join(platform.libc_ver()), platform.machine()),
    )
)
"""What machine instructions depend on beside our code."""


class Figures(msgspec.Struct, omit_defaults=True):
    """What one event costs."""

    bytecodes: dict[str, float] = {}
    """Bytecode instructions by stage."""
    loop: dict[str, float] = {}
    """What the event loop was asked for: tasks, timers, futures, callbacks, suspensions."""
    machine: dict[str, float] = {}
    """Machine instructions by library."""


def measure() -> dict[str, Figures]:
    """The figures of each way."""
    said = json.loads(run_child(sys.executable))
    return {way: Figures(by_stage(each["bytecodes"]), each["loop"]) for way, each in said.items()}


def run_child(*command: str, options: Sequence[str] = (), timeout: float = 120) -> str:
    """Run `child` by a Python, and return what it says. Raises `RuntimeError` with its errors."""
    # coverage traces too, and there is one tracer
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("COV_CORE") and "COVERAGE" not in name
    }
    server = Server().start()
    try:
        ended = subprocess.run(
            [*command, "-m", "tests.budget.child", str(server.port), *options],
            cwd=ROOT,
            env=kept | {"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    finally:
        server.remove()
    if ended.returncode:
        raise RuntimeError(f"the counting process failed:\n{ended.stderr}")
    return ended.stdout

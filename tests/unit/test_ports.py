"""Ports for servers of tests: each process has its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from redis_streams_aio.testing import ports
from redis_streams_aio.testing.ports import LOWEST, SIZE, free_port


def block(port: int) -> int:
    return (port - LOWEST) // SIZE


def test_another_process_has_other_ports() -> None:
    ours = [free_port() for _ in range(3)]
    script = "from redis_streams_aio.testing.ports import free_port; print(free_port())"
    theirs = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert len({*ours}) == 3
    assert block(int(theirs)) not in {block(each) for each in ours}


def test_without_a_block_of_its_own_a_process_takes_any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_locked", lambda _: None)
    monkeypatch.setattr(ports._Held, "pid", 0)
    monkeypatch.setattr(ports._Held, "ports", iter(()))
    assert block(free_port()) in range(ports.BLOCKS)

"""The smallest benchmark, from end to end: so that the benchmarks run when they are wanted."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from benchmarks.__main__ import Record

ROOT = Path(__file__).parent.parent.parent


async def test_consuming_and_publishing_are_measured_and_checked(tmp_path: Path) -> None:
    kept = tmp_path / "figures.json"
    options = ["--rounds", "1", "--events", "200", "--contenders", "raw,ours", "--json", str(kept)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks", "consume", "publish", *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    shown, _ = await process.communicate()
    measurements = msgspec.json.decode(kept.read_bytes(), type=Record).measurements
    assert [one.problem for one in measurements if one.problem] == []
    assert process.returncode == 0
    assert len(measurements) == 6 + 6
    assert all(one.figures["rate"] > 0 and one.figures["cpu_us"] > 0 for one in measurements)
    assert b"consume: one by one" in shown
    assert b"publish: 100 in a call" in shown

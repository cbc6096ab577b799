"""The pytest plugin and the README's test, as users have them: in a folder of their own, with pytest's defaults."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PLUGIN = "redis_streams_aio.testing.plugin"

SHOP = """
import msgspec
from redis_streams_aio import Broker

class OrderPlaced(msgspec.Struct):
    order_id: str
    customer: str
    total: float

broker = Broker("redis://localhost:1/0", group="billing")

@broker.handler("orders")
async def bill(order: OrderPlaced) -> None: ...
"""

FIXTURES = """
import pytest
from redis_streams_aio import Broker, Router, testing

router = Router()

@router.handler("orders")
async def bill(order: dict) -> None:
    if not order["total"]:
        raise ValueError("nothing to bill")

@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["broker", "embedded_broker"])
async def test_fixture(name: str, request: pytest.FixtureRequest) -> None:
    broker = request.getfixturevalue(name)
    broker.include(router)
    async with testing.harness(broker) as h:
        await h.publish("orders", {"total": 1}, event_type="Order")
        await h.publish("orders", {"total": 0}, event_type="Order")
        await h.settled()
        h.assert_handled({"total": 1})
        h.assert_dead_letter({"total": 0})
    assert broker.settings.group == "test"

def test_each_test_has_its_own(broker: Broker) -> None:
    assert broker.supervisor is None
    assert "0 handlers" in repr(broker)
"""


def pytest_in(folder: Path) -> str:
    options = [
        "-W",
        "error",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
        "-p",
        PLUGIN,
        "-p",
        "no:cacheprovider",
    ]
    command = [sys.executable, "-m", "pytest", "-q", *options, "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readmes_test_passes_as_it_is(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if "testing.harness" in block]
    assert len([line for line in block.splitlines() if line.strip()]) <= 11
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(block)
    assert "1 passed" in pytest_in(tmp_path)


def test_the_fixtures_are_there(tmp_path: Path) -> None:
    (tmp_path / "test_fixtures.py").write_text(FIXTURES)
    assert "3 passed" in pytest_in(tmp_path)


def test_a_conftest_may_have_an_option_of_the_suites_name(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--redis-url', default='x')\n"
    )
    (tmp_path / "test_option.py").write_text("def test_it(request): assert request.config.option.redis_url == 'x'\n")
    assert "1 passed" in pytest_in(tmp_path)


def test_the_example_passes(tmp_path: Path) -> None:
    (tmp_path / "test_orders.py").write_text((ROOT / "examples" / "test_orders.py").read_text())
    assert "5 passed" in pytest_in(tmp_path)

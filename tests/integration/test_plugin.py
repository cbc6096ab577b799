"""The pytest plugin and the README's test, as users have them: in a folder of their own, as docs/testing.md says."""

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

@pytest.mark.parametrize("name", ["redis_streams_broker", "redis_streams_embedded_broker"])
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

def test_each_test_has_its_own(redis_streams_broker: Broker) -> None:
    assert "closed, 0 handlers" in repr(redis_streams_broker)
"""


def pytest_in(folder: Path) -> str:
    """Run pytest as a user does who has followed docs/testing.md. Returns what pytest tells."""
    [options] = blocks("docs/testing.md", "toml")
    (folder / "pyproject.toml").write_text(options)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", PLUGIN, "-p", "no:cacheprovider", "."]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


def blocks(page: str, language: str) -> list[str]:
    """Return the code blocks of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_readmes_test_passes_as_it_is(tmp_path: Path) -> None:
    [block] = [block for block in blocks("README.md", "python") if "testing.harness" in block]
    assert len([line for line in block.splitlines() if line.strip()]) <= 11
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(block)
    assert "1 passed" in pytest_in(tmp_path)


def test_the_first_test_of_the_docs_passes_and_nothing_warns(tmp_path: Path) -> None:
    """Without the documented options, pytest-asyncio warns on standard error in each run."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(blocks("docs/testing.md", "python")[0])
    told = pytest_in(tmp_path)
    assert "1 passed" in told
    assert "warning" not in told.lower()


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

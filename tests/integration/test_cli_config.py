"""`config check`: the file, the line and the key that are wrong, or the settings in force, without credentials."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from redis_streams_aio.config.lines import line_of
from tests.integration.test_cli import ROOT, invoke, is_one_error_line, process

FILE = """\
redis_streams:
  redis_url: redis://ada:secret@localhost:6379/0
  block_ms: 500
  streams:
    orders:
      alert_length: 1000
    "eu.orders":
      alert_length: 5
"""


async def checked(tmp_path: Path, text: str, *options: str, **environment: str) -> tuple[int, str, str]:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    result = await invoke("config", "check", str(file), *options, **environment)
    return result.exit_code, result.stdout, result.stderr.replace(str(file), "config.yaml")


async def test_a_valid_file_is_printed_with_what_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(FILE)
    done = await process("config", "check", "config.yaml", cwd=tmp_path, REDIS_STREAMS_GRACE="7")
    assert (await done.ended(), done.err) == (0, [])
    title, heads, _, *rows = done.out
    assert (title.strip(), heads.split()) == ("config.yaml is valid", ["setting", "value", "from"])
    told = {row.split()[0]: row.split()[-1] for row in rows}
    assert (told["block_ms"], told["grace"], told["lag_low"]) == ("file", "environment", "default")
    assert "redis://***@localhost:6379/0" in " ".join(rows)
    assert "secret" not in "".join(done.out)


async def test_as_json_one_object_a_line(tmp_path: Path) -> None:
    code, out, _ = await checked(tmp_path, FILE, "--json")
    found = {one["key"]: one for one in map(json.loads, out.splitlines())}
    assert code == 0
    assert found["redis_url"] == {"key": "redis_url", "value": "redis://***@localhost:6379/0", "source": "file"}
    assert found["streams"]["value"]["orders"]["alert_length"] == 1000
    assert found["group"] == {"key": "group", "value": None, "source": "default"}


@pytest.mark.parametrize(
    ("wrong", "line", "told"),
    [
        (("block_ms: 500", "block_ms: 2s"), 3, "at $.redis_streams.block_ms"),
        (("alert_length: 1000", "alert_length: many"), 6, "at $.redis_streams.streams.orders.alert_length"),
        (("alert_length: 5", "alert_length: -1"), 8, "at $.redis_streams.streams.eu.orders.alert_length"),
        (("block_ms: 500", "blok_ms: 500"), 3, "unknown key - at $.redis_streams.blok_ms"),
    ],
)
async def test_what_is_wrong_is_told_with_file_line_and_key(
    tmp_path: Path, wrong: tuple[str, str], line: int, told: str
) -> None:
    code, out, err = await checked(tmp_path, FILE.replace(*wrong))
    assert (code, out) == (1, "")
    assert is_one_error_line(err)
    assert err.startswith(f"Error: config.yaml, line {line}: ")
    assert told in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no section 'redis_streams'"),
        ("redis_streams: [", "is not valid YAML: see line"),
        ("redis_streams:\n  redis_url: http://ada:secret@h\n", "redis_url"),
        ("redis_streams:\n  lag_low: 5\n  lag_high: 4\n", "lag_low"),
        ("redis_streams:\n  grace: 1\n  grace: 2\n", "see lines 2 and 3"),
    ],
)
async def test_other_mistakes_are_one_line(tmp_path: Path, text: str, told: str) -> None:
    code, _, err = await checked(tmp_path, text)
    assert code == 1
    assert is_one_error_line(err)
    assert told in err
    assert "secret" not in err


async def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    result = await invoke("config", "check", str(tmp_path / "nothing.yaml"))
    assert (result.exit_code, is_one_error_line(result.stderr)) == (1, True)


def test_a_line_is_found_only_for_keys_that_are_there() -> None:
    text = FILE.encode()
    assert line_of("wrong - at $.redis_streams.streams.orders.nothing", text) == 5
    assert line_of("wrong - at $.redis_streams.streams.orders", text) == 5
    assert line_of("wrong - at $.elsewhere", text) is None
    assert line_of("wrong", text) is None
    assert line_of("wrong - at $.redis_streams", b"{[") is None


async def test_shells_complete_the_commands_and_their_options() -> None:
    """As docs/cli.md says it is set up."""
    for words, expected in (
        ("redis-streams-aio dead", "plain,dead-letters"),
        ("redis-streams-aio dead-letters cap", "plain,capture"),
        ("redis-streams-aio seek --dry", "plain,--dry-run"),
    ):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "_REDIS_STREAMS_AIO_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        command = "import sys; sys.argv[0] = 'redis-streams-aio'; from redis_streams_aio.cli import main; main()"
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", command), env=environment, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await running.communicate()
        assert expected in said.decode().splitlines()

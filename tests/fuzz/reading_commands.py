"""Target: argument lists, in process. Whatever they are, the command ends with an exit code and, if it is not 0, with a
message, never with a traceback.

Nobody listens where the commands look for Redis; what would start a server or import a module is not among the words.
"""

from __future__ import annotations

import os
from random import Random

from click.testing import CliRunner

from redis_streams_aio.cli import session
from redis_streams_aio.cli.app import app
from tests.fuzz import inputs
from tests.fuzz.running import Target

NOWHERE = "redis://127.0.0.1:1/0"
COMMANDS = (
    *(
        "publish",
        "tail",
        "streams",
        "groups",
        "consumers",
        "pending",
        "show",
        "find",
        "check",
        "doctor",
        "run",
        "nope",
        "",
    ),
    *("dead-letters ls", "dead-letters show", "dead-letters replay", "dead-letters purge"),
)
WORDS = (
    *("orders", "billing", "--json", "--all", "--yes", "--dry-run", "--lines", "--no-follow", "-h", "--version", "--"),
    *("--type", "--key", "--event-id", "--header", "--count", "--consumer", "--last", "--rate", "--since", "--until"),
    *("--reason", "--dead-letter", "--config", "--url", "--log-level", "--nope", "-", "a=b", "=", "5", "1e400", "nan"),
    *("30min", "9999999999d", "9999-12-31", "0001-01-01", "2026-01-31T12:00+99:99", "failures", "{}", "[", '"\\ud800"'),
    *(
        "1700000000000-0",
        "99999999999999999999-1",
        "\udcff",
        "",
        "two words",
        "x" * 600,
        ":",
        "a:b:c",
        "no_such_module:x",
    ),
    *("redis://[", "http://h", "unix:///nowhere.sock", NOWHERE, "redis://h?foo=bar", ".", "/dev/null", "1" * 5000),
)


def arguments(rng: Random) -> list[str]:
    made = rng.choice(COMMANDS).split()
    if rng.random() < 0.7:
        made += ["orders", "billing"][: rng.randrange(3)]
    for _ in range(rng.randrange(6)):
        made.append(rng.choice(WORDS) if rng.random() < 0.85 else os.fsdecode(inputs.utf8(rng).replace(b"\0", b"")))
    if rng.random() < 0.2:
        made.insert(rng.randrange(len(made) + 1), rng.choice(WORDS))
    return made


def commanded(given: list[str]) -> None:
    session.CONNECT_TIMEOUT = 0.001  # nobody is there to wait for
    environment = {"REDIS_STREAMS_REDIS_URL": NOWHERE}
    done = CliRunner().invoke(app, given, input=b"", env=environment, prog_name="redis-streams-aio")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code in (0, 1, 2) or (done.exit_code == 3 and given[:1] == ["check"])  # "unknown", to Nagios
    assert done.exit_code == 0 or done.output
    assert "Traceback" not in done.output


TARGETS = (Target("command line", 2, arguments, commanded),)

"""Targets: what people write: configuration files, environment variables, URLs, names and ids."""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path
from random import Random

import msgspec

from redis_streams_aio import ConfigError, Settings, config
from redis_streams_aio.checks import names
from redis_streams_aio.connection import endpoints, packing
from redis_streams_aio.connection.address import parse
from redis_streams_aio.events import entry_ids, keys
from tests.fuzz import inputs
from tests.fuzz.running import Target

KEYS = (*Settings.__struct_fields__, "blok_ms", "<<", "", "retention")
NASTY = (
    *("2001-99-99", "2001-01-01", "!!bool x", "!!int ''", "!!timestamp x", "!!float x", "!!binary '*'", "!!set {a}"),
    *("!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!unknown x", "!!str 5", "!!null x"),
    *(".nan", ".inf", "-.inf", "1:99:99", "0b_", "0x_", "0o9", "1_0", "12e03", "1e400", "~", "yes", "'", '"\\ud800"'),
    *("&a [*a]", "&b {streams: *b}", "*nothing", "{<<: {<<: 1}}", "? [a] : b", "[" * 200, "{" * 200, "- " * 200),
    *(
        '"\\0"',
        '"\\x7f"',
        "é",
        "|",
        ">",
        "%YAML 9.9",
        "---",
        "...",
        "@",
        "`",
        "\t",
        "1" * 5000,
        ":".join("1" * 400) + ".5",
    ),
)
DOCUMENT = """
redis_streams:
  redis_url: redis://localhost:6379/0
  group: billing
  block_ms: 500
  grace: 5
  checkpoints: redis
  streams: {orders: {retention: {max_length: 1000, max_age: 3600}, alert_length: 900}, clicks: {}}
"""


def bomb(rng: Random) -> str:
    """A few lines that come to very much when they are read out."""
    link = rng.choice(("[{}]", "{{<<: [{}]}}"))
    links = [link.format(",".join([f"*a{index}"] * 9)) for index in range(rng.randrange(1, 11))]
    lines = ["a0: &a0 {x: 1, y: 2}", *(f"a{index}: &a{index} {line}" for index, line in enumerate(links, 1))]
    return "\n".join([*lines, f"redis_streams: *a{len(lines) - 1}", ""])


def yaml_value(rng: Random, depth: int = 2) -> str:
    if depth and rng.random() < 0.2:
        return "{" + ", ".join(f"{rng.choice(KEYS)}: {yaml_value(rng, depth - 1)}" for _ in range(3)) + "}"
    return rng.choice((inputs.number, inputs.text, lambda r: r.choice(NASTY), lambda r: r.choice(NASTY)))(rng)


def yaml_text(rng: Random) -> bytes:
    if inputs.rarely(rng, 200):
        return bomb(rng).encode()
    if rng.random() < 0.3:
        return inputs.mutated(rng, DOCUMENT.encode())
    lines = [f"  {rng.choice(KEYS)}: {yaml_value(rng)}" for _ in range(rng.randrange(4))]
    written = "\n".join(["redis_streams:", *lines, ""]).encode("utf-8", "surrogatepass")
    return inputs.mutated(rng, written) if rng.random() < 0.2 else written


@cache
def folder() -> Path:
    """For files to be read, as long as the process lives."""
    made = tempfile.TemporaryDirectory(prefix="rsa-fuzz-")
    _folders.append(made)
    return Path(made.name)


_folders: list[tempfile.TemporaryDirectory[str]] = []


def sound(settings: Settings) -> None:
    """What came of it can be used: numbers are numbers, and names can be written to Redis."""
    for value in msgspec.structs.asdict(settings).values():
        assert not isinstance(value, float) or math.isfinite(value)
        for text in (value,) if isinstance(value, str) else value if isinstance(value, dict) else ():
            text.encode()


def configured(text: bytes) -> None:
    path = folder() / "config.yaml"
    path.write_bytes(text)
    with contextlib.suppress(ConfigError):
        sound(config.load(path, {}))


def environment(rng: Random) -> dict[str, str]:
    values = (inputs.number, inputs.text, lambda r: r.choice(NASTY), lambda r: str(r.randrange(100)))
    names = [rng.choice((*KEYS, inputs.text(rng))).upper() for _ in range(rng.randrange(1, 4))]
    return {f"REDIS_STREAMS_{name}": rng.choice(values)(rng) for name in names}


def surrounded(given: dict[str, str]) -> None:
    path = folder() / "empty.yaml"
    path.write_text("redis_streams:\n")
    with contextlib.suppress(ConfigError):
        sound(config.load(path, given))


def a_path(rng: Random) -> str:
    return rng.choice(("", "/", ".", "/dev/null", "\0", "a\0b", "x" * 5000, "/proc/self/mem", inputs.text(rng)))


def pathed(path: str) -> None:
    with contextlib.suppress(ConfigError):
        config.load(path, {})


URLS = (
    *(
        "redis://user:secret@localhost:6379/0",
        "rediss://h:1/2",
        "unix:///tmp/r.sock?db=1",
        "memory://x",
        "redis://[::1]:1/0",
    ),
    *("redis://h/0?socket_timeout=5", "redis://h/0?health_check_interval=x", "redis://h?foo=bar", "redis://h?db=x"),
    *(
        "redis://h?decode_responses=1&protocol=3",
        "redis://h?retry=1&credential_provider=x",
        "rediss://h?ssl_cert_reqs=x",
    ),
)


OPTIONS = (
    "db",
    "host",
    "port",
    "path",
    "username",
    "x",
    "client_name",
    "ssl_ca_certs",
    "max_connections",
    "retry_on_error",
)


def url(rng: Random) -> str:
    made = rng.choice(URLS)
    if rng.random() < 0.3:
        made += f"{rng.choice('?&')}{rng.choice(OPTIONS)}={inputs.text(rng)}"
    if rng.random() < 0.6:
        made = inputs.mutated(rng, made.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape")
    return inputs.text(rng, 30) if rng.random() < 0.1 else made


def addressed(text: str) -> None:
    """A URL leads to a connection that could be tried, or is refused; credentials are in no text."""
    try:
        address = parse(text)
        if address.scheme in ("redis", "rediss", "unix"):
            endpoints.factory_of(address, "1")()
        said = address.shown
    except ConfigError as error:
        said = str(error)
    assert "secret" not in said or "@" not in text.rpartition("secret")[2]


def ids(text: str) -> None:
    moment = entry_ids.timestamp(text)
    assert isinstance(moment, datetime)
    if entry_ids.is_id(text):
        assert re.fullmatch("[0-9]+(-[0-9]+)?", text)
        assert max(entry_ids.parse(text)) < 2**64
        assert entry_ids.parse(entry_ids.previous(text)) <= entry_ids.parse(text)
    with contextlib.suppress(ConfigError):
        packing.pack(("XGROUP", entry_ids.start_position(text)))


def named(text: str) -> None:
    if names.problem(text) is None:
        for key in (keys.dead_letters(text, text), keys.failures(text, text), keys.checkpoint(text, "g")):
            packing.pack(("GET", key, keys.done(text, "g", b"\xff")))
            assert keys.on_one_slot(text, key) or "}" in text


TARGETS = (
    Target("config.yaml", 3, yaml_text, configured),
    Target("environment", 2, environment, surrounded),
    Target("paths", 1, a_path, pathed),
    Target("URLs", 2, url, addressed),
    Target("entry ids", 8, inputs.entry_id, ids),
    Target("names", 8, lambda rng: inputs.text(rng, 20), named),
)

"""What each step at Redis declares, its keys and its permissions, is what its Lua does and what the docs say."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from redis_streams_aio.checks import names
from redis_streams_aio.connection import steps
from redis_streams_aio.connection.steps.script import Script
from redis_streams_aio.events import keys

DOCS = Path(__file__).parents[2] / "docs"


def _scripts() -> Iterator[tuple[str, Script]]:
    for module in pkgutil.iter_modules(steps.__path__):
        found = vars(importlib.import_module(f"{steps.__name__}.{module.name}"))
        yield from ((f"{module.name}.{name}", one) for name, one in found.items() if isinstance(one, Script))


SCRIPTS = dict(_scripts())
OPERATORS = {"replaying.REPLAY", "controls.PAUSE", "controls.RESUME"}
"""Steps that a consumer never takes, but `dead-letters replay`, `pause` and `resume` do."""
DONE_WITHOUT = {("dead_letters.DEAD_LETTER", "dead_letters"): {"xdel", "xrevrange"}}
"""Commands that the ACL file leaves out. XDEL undoes a dead letter whose entry may not be acknowledged, which the
file's consumers may; XREVRANGE finds one whose answer was lost, which is told as a lost lease without it."""
SWEEPERS = {"counting.COUNT", "retention.SWEEP"}
"""Steps of a process that sweeps streams: the ACL file has a user for it, and its selectors may be given to another."""
MANAGERS = {"groups.COPY_GROUP", "groups.DELETE_GROUP", "groups.USE", "seeking.SEEK", "streams.CREATE_STREAM"}
"""Steps of a program of the user's own, for which docs/connections.md has a line."""

# -- keys ---------------------------------------------------------------------------------------------------------

# not "{}orders": no key can be on the slot of a stream that has a "}" and no hash tag
STREAMS = ["orders", "{eu}orders", "orders:{eu}:3", "{orders}", "a{b", "{a}{b}", "bestellungen:größe"]
GROUPS = ["billing", "b{i}lling", "{", "}"]


def key(name: str, stream: str, group: str) -> str | bytes | None:
    """A key that a step declares; `None` for one that users name, which is checked where they name it."""
    match name.rstrip("*"):
        case "stream":
            return stream
        case "follow-up":
            return None
        case "done":
            return keys.done(stream, group, b"e{v}ent")
        case name:
            return getattr(keys, name)(stream, group)  # type: ignore[no-any-return]


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_all_keys_of_a_step_are_on_one_slot(script: str, stream: str, group: str) -> None:
    declared = [key(name, stream, group) for name in SCRIPTS[script].keys]
    slots = {key_slot(one if isinstance(one, bytes) else one.encode()) for one in declared if one is not None}
    assert len(slots) == 1


NAMES = st.text(st.sampled_from("a{}:.é-"), min_size=1, max_size=12).filter(lambda name: names.problem(name) is None)


def slot(one: str | bytes) -> int:
    return int(key_slot(one if isinstance(one, bytes) else one.encode()))


@given(NAMES, NAMES, st.binary(max_size=8), NAMES)
def test_p30_all_keys_of_all_steps_share_a_slot_or_the_stream_is_refused_on_a_cluster(
    stream: str, group: str, event_id: bytes, other: str
) -> None:
    """And so do streams between which entries move in one step; the name that an error tells works."""
    made = [keys.done(stream, group, event_id)]
    for script in SCRIPTS.values():
        made += [one for name in script.keys if (one := key(name, stream, group)) is not None]
    slots = {slot(one) for one in made}
    if keys.refused_on_a_cluster(stream):
        assert "}" in stream
        [better] = re.findall(r"name it e\.g\. '([^']*)'", keys.refused_on_a_cluster(stream))
        assert keys.refused_on_a_cluster(better) == ""
        return
    assert slots == {slot(stream)}
    if not keys.refused_on_a_cluster(stream, other):
        assert slot(stream) == slot(other)
        return
    [better] = re.findall(r"name it e\.g\. '([^']*)'", keys.refused_on_a_cluster(stream, other))
    assert keys.refused_on_a_cluster(stream, better) == ""
    assert slot(stream) == slot(better)


def test_no_two_keys_beside_a_stream_are_the_same() -> None:
    names = {name.rstrip("*") for script in SCRIPTS.values() for name in script.keys}
    made = [key(name, "orders", "billing") for name in names]
    assert len({one for one in made if one is not None}) == sum(one is not None for one in made)


# -- cost ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_step_puts_a_pending_entry_back_in_time(script: str) -> None:
    """From 8.4 on Redis orders pending entries by time: at 50,000 pending a release costs 3.4 ms an entry, not 5 us."""
    claims = re.findall(r"'XCLAIM'.*", SCRIPTS[script].source)
    assert [claim for claim in claims if "'IDLE'" in claim or "'TIME'" in claim] == []


# -- permissions --------------------------------------------------------------------------------------------------

CALL = re.compile(
    r"redis\.p?call\(\s*'([A-Z]+)'(?:,\s*'([A-Z]+)')?(?:,\s*(?:KEYS\[([^\]]+)\]|unpack\(KEYS, (\d)\)|(\w+)))?"
)


def _touched(names: list[str], number: str, rest: str, local: str) -> list[str]:
    """The keys of a call in Lua: `KEYS[2]`, `KEYS[i]` in a loop, `unpack(KEYS, 3)`, or the argument of a function."""
    if rest:
        return names[int(rest) - 1 :]
    if number.isdigit():
        return [names[int(number) - 1]]
    return [names[-1] if number else local]


def run_by(script: Script) -> tuple[dict[str, set[str]], set[str]]:
    """The commands in a script's Lua: by key, and those without a key."""
    by_key: dict[str, set[str]] = {name: set() for name in script.keys}
    without: set[str] = set()
    for command, sub, number, rest, local in CALL.findall(script.source):
        name = f"{command}|{sub}".lower() if command in ("XINFO", "XGROUP") else command.lower()
        if not (number or rest or local):
            without.add(name)
            continue
        for touched in _touched(list(script.keys), number, rest, local):
            by_key[touched].add(name)
    return by_key, without


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_step_declares_the_commands_that_its_lua_runs(script: str) -> None:
    assert run_by(SCRIPTS[script]) == (SCRIPTS[script].keys, SCRIPTS[script].also)


ACL = {line.split()[1]: line for line in (DOCS / "acl" / "users.acl").read_text().splitlines()}
PATTERN = {
    "stream": "orders",
    "follow-up": "{orders}:invoices",
    "done": "{orders}:billing:done:*",
    "dead_letters": "{orders}:billing:dead",
}


def rights(user: str) -> tuple[dict[str, set[str]], set[str]]:
    """What the file permits: commands by pattern of keys, and commands without a key."""
    granted: dict[str, set[str]] = defaultdict(set)
    for selector in re.findall(r"\(([^)]*)\)", ACL[user]):
        pattern, *commands = selector.split()
        granted[re.sub(r"^(%[RW])?~", "", pattern)] |= {command.removeprefix("+") for command in commands}
    outside = re.sub(r"\([^)]*\)", "", ACL[user])
    return granted, {word.removeprefix("+") for word in outside.split() if word.startswith("+")}


def pattern(name: str, group: str) -> str:
    name = name.rstrip("*")
    found = PATTERN.get(name) or str(getattr(keys, name)("orders", "billing"))
    return found.replace("billing", group) if name != "done" else found


def missing(script: str, granted: Mapping[str, set[str]], plain: set[str], group: str) -> dict[str, frozenset[str]]:
    lacks = {
        name: needed - granted.get(pattern(name, group), set()) - DONE_WITHOUT.get((script, name), set())
        for name, needed in SCRIPTS[script].keys.items()
    }
    lacks["without a key"] = SCRIPTS[script].also - plain
    return {name: commands for name, commands in lacks.items() if commands}


@pytest.mark.parametrize("script", sorted(SCRIPTS.keys() - OPERATORS - SWEEPERS - MANAGERS))
def test_the_acl_file_permits_consumers_their_steps(script: str) -> None:
    assert missing(script, *rights("consumer"), "billing") == {}


@pytest.mark.parametrize("script", sorted(OPERATORS))
def test_the_acl_file_permits_operators_their_steps(script: str) -> None:
    assert missing(script, *rights("operator"), "*") == {}


@pytest.mark.parametrize("script", sorted(SWEEPERS))
def test_the_acl_file_permits_sweepers_their_steps(script: str) -> None:
    assert missing(script, *rights("sweeper"), "billing") == {}


@pytest.mark.parametrize("script", SCRIPTS)
def test_docs_connections_names_the_permissions_of_each_step(script: str) -> None:
    text = (DOCS / "connections.md").read_text()
    named = {right.removeprefix("+") for right in re.findall(r"\+[a-z|]+", text[text.index("## Permissions") :])}
    needed = set(SCRIPTS[script].also).union(*SCRIPTS[script].keys.values())
    assert needed <= named

"""Makes inputs: valid ones, bent ones, and noise, all from one `Random`, so that a seed says them again.

Pure. Most are small, as many small ones find more than few big ones; now and then one is deep, or huge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

import msgspec

from redis_streams_aio.events import replays, wire_format

MEBIBYTE = 1024 * 1024
EDGES = (0, 1, -1, 127, 128, 255, 2**31, 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, 10**30)
NUMBERS = ("1e400", "-1e400", "1e-400", "NaN", "Infinity", "-0", "0.1", "1_0", "٣", "²", "0x10", "1" * 400, "9" * 5000)
CHARACTERS = 'aZ09 _-:./{}[]"\\\x00\x1b\n\t\r\x7fé\u2028\ud800\udcff\U0001f600\ufffd٣'
TOKENS = (
    b"\x00",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b"null",
    b"1e400",
    b"\\ud800",
    b"\n",
)
FIELD_NAMES = (
    *(
        wire_format.EVENT_TYPE,
        wire_format.PAYLOAD,
        wire_format.CONTENT_TYPE,
        wire_format.KEY,
        wire_format.EVENT_ID,
        b"h:a",
        b"h:",
        b"",
    ),
    *(b"dead:reason", b"dead:error", b"dead:failures", b"dead:first_failure", b"dead:fields", b"dead:id", b"dead:"),
    *(replays.FOR_GROUP, replays.HISTORY, b"redis_streams_aio:replay_fields", b"name", b"x", b"number", b"\xff"),
)
CONTENT_TYPES = (b"application/json", b"application/msgpack", b"application/octet-stream", b"", b"text/plain", b"\xff")
KNOWN_KEYS = (
    "number",
    "name",
    "x",
    "kind",
    "items",
    "when",
    "day",
    "amount",
    "id",
    "failures",
    "reason",
    "error",
    "replays",
)


def rarely(rng: Random, one_in: int) -> bool:
    return rng.randrange(one_in) == 0


def integer(rng: Random) -> int:
    return rng.choice(EDGES) if rng.random() < 0.6 else rng.randrange(-1000, 10**13)


def number(rng: Random) -> str:
    return rng.choice(NUMBERS) if rng.random() < 0.4 else str(integer(rng))


def text(rng: Random, most: int = 12) -> str:
    return "".join(rng.choices(CHARACTERS, k=rng.randrange(most)))


def utf8(rng: Random, most: int = 12) -> bytes:
    return text(rng, most).encode("utf-8", "surrogatepass")


def blob(rng: Random) -> bytes:
    if rarely(rng, 3000):
        return rng.choice((b"a", b"[", b"\xff", b"9", b'{"a":', b"\x91")) * MEBIBYTE
    return rng.randbytes(rng.randrange(24)) if rng.random() < 0.5 else utf8(rng)


def mutated(rng: Random, data: bytes) -> bytes:
    """The data with a few bytes gone, doubled, turned over, or put in."""
    bent = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(bent) + 1)
        match rng.randrange(5):
            case 0:
                del bent[at : at + rng.randrange(1, 5)]
            case 1:
                bent[at:at] = rng.choice(TOKENS)
            case 2:
                bent[at : at + 1] = rng.randbytes(1)
            case 3:
                bent[at:at] = bent[at : at + rng.randrange(1, 9)]
            case 4:
                del bent[at:]
    return bytes(bent)


def maybe_mutated(rng: Random, data: bytes) -> bytes:
    return mutated(rng, data) if rng.random() < 0.4 else data


def value(rng: Random, depth: int = 3) -> object:
    """A value that JSON has; with text that UTF-8 does not have among it."""
    if depth and rng.random() < 0.3:
        return [value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth and rng.random() < 0.5:
        return {rng.choice(KNOWN_KEYS): value(rng, depth - 1) for _ in range(rng.randrange(5))}
    leaf: Sequence[Callable[[], object]] = (
        lambda: integer(rng),
        lambda: text(rng),
        lambda: rng.choice((None, True, False, 0.5, -1.5e300, "2026-01-31T12:00:00Z", "ada", "a", "b")),
    )
    return rng.choice(leaf)()


def deep(rng: Random, opening: bytes, inner: bytes, closing: bytes) -> bytes:
    """Nested, around the depth at which decoders give up, or far beyond it."""
    depth = rng.choice((50, rng.randrange(850, 1100), 100_000))
    return opening * depth + inner + (closing * depth if rng.random() < 0.8 else b"")


def json_text(rng: Random) -> bytes:
    if rarely(rng, 400):
        return rng.choice((deep(rng, b"[", b"1", b"]"), deep(rng, b'{"x":', b"1", b"}")))
    written = json.dumps(value(rng)).encode()
    if rng.random() < 0.2:
        written = written.replace(b"0", number(rng).encode(), 1)
    return maybe_mutated(rng, written)


def msgpack(rng: Random) -> bytes:
    if rarely(rng, 400):
        return deep(rng, b"\x91", b"\x01", b"")
    if rng.random() < 0.1:  # a length that nothing follows
        return bytes((rng.choice((0xC6, 0xC9, 0xDB, 0xDD, 0xDF, 0xC8)),)) + rng.randbytes(4)
    try:
        written = msgspec.msgpack.encode(value(rng))
    except (OverflowError, UnicodeEncodeError):
        written = b"\xcf" + rng.randbytes(8)
    return maybe_mutated(rng, written)


def history(rng: Random) -> bytes:
    """What stands in `redis_streams_aio:replay_history`."""
    made = {"id": text(rng), "failures": integer(rng), "first_failure": integer(rng), "reason": "failures"}
    written = json.dumps({**made, "error": text(rng), "replays": integer(rng), "x": 1}).encode()
    if rarely(rng, 100):
        written = written.replace(b'"x": 1', b'"x": ' + deep(rng, b"[", b"1", b"]"))
    return maybe_mutated(rng, written)


def field_value(rng: Random, name: bytes) -> bytes:
    if name == b"content_type":
        return rng.choice(CONTENT_TYPES)
    if name == replays.HISTORY:
        return history(rng)
    if name == replays.FOR_GROUP:
        return b"billing" if rng.random() < 0.8 else blob(rng)
    if name in (b"dead:fields", b"redis_streams_aio:replay_fields"):
        many = [b"a"] * rng.choice((0, 1, 2, 3, 7000, 7001)) if rarely(rng, 20) else fields(rng, 3)
        return maybe_mutated(rng, msgspec.msgpack.encode(many))
    if name.startswith(b"dead:") and rng.random() < 0.7:
        return number(rng).encode("utf-8", "replace")
    return rng.choice((json_text, msgpack, blob))(rng)


def fields(rng: Random, most: int = 8) -> wire_format.Fields:
    """Names and values in turn: ours, half of ours, twice ours, others', and an odd one now and then."""
    made: wire_format.Fields = []
    shape = rng.random()
    if shape < 0.5:
        made = [b"event_type", rng.choice((b"Order", b"Point", b"", b"\xff")), b"payload", field_value(rng, b"payload")]
    elif shape < 0.6:
        made = [replays.FOR_GROUP, b"billing", replays.HISTORY, history(rng)]
    for _ in range(rng.randrange(most)):
        name = rng.choice(FIELD_NAMES) if rng.random() < 0.8 else blob(rng)
        made += (name, field_value(rng, name) if most > 3 else blob(rng))
    if rarely(rng, 5000):
        made += [b"x", b"y"] * 4000
    return made[:-1] if made and rarely(rng, 20) else made


def entry_id(rng: Random) -> str:
    if rng.random() < 0.3:
        return text(rng)
    return rng.choice(("{}-{}", "{}", "{}-", "-{}", "({}-{}", "{}-{}-1", "{}-*")).format(number(rng), number(rng))

"""What the package never does, and what texts of ours never grow to: by its source and by pure functions."""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import msgspec
import pytest
import yaml

import redis_streams_aio
from redis_streams_aio import DecodeError, FieldsCodec, JsonCodec, MsgpackCodec, RawCodec, Reject, RetryPolicy
from redis_streams_aio.codecs import Codec, PayloadCodec, bounded
from redis_streams_aio.config import yaml_files
from redis_streams_aio.consumer.entry import Entry
from redis_streams_aio.consumer.work.attempt import route_or_fate
from redis_streams_aio.events.wire_format import Fields
from redis_streams_aio.handlers.declaration import declare
from redis_streams_aio.handlers.fates import DeadLetter
from redis_streams_aio.handlers.options import HandlerOptions
from redis_streams_aio.handlers.retry import decide
from redis_streams_aio.handlers.routes import RouteTable, plan
from tests.events import Order

LONG = "x" * 1_000_000


def name_of(codec: object) -> str:
    return type(codec).__name__


MOST = 1024


def routes(payload_type: object = Order) -> RouteTable:
    async def handle(order: Order) -> None: ...

    handle.__annotations__["order"] = payload_type
    return plan([declare(handle, HandlerOptions(stream="orders", event_type="Order", group="g"))])[0].routes


async def fate_of(*fields: bytes, payload_type: object = Order) -> DeadLetter:
    await asyncio.sleep(0)
    entry = Entry("orders", b"1-0", list(fields))
    fate = route_or_fate(entry, routes(payload_type).find(entry.fields), "dead_letter")
    assert isinstance(fate, DeadLetter)
    return fate


# -- texts have an end --------------------------------------------------------------------------------------------


async def test_p12_what_a_payload_says_cannot_fill_logs_and_dead_letters() -> None:
    payload = JsonCodec().encode(LONG)
    fate = await fate_of(b"event_type", b"Order", b"payload", payload, payload_type=Literal["a", "b"])
    assert fate.reason == "undecodable"
    assert fate.error.startswith("payload is not a Literal: Invalid enum value 'xxx")
    assert len(fate.error) == MOST


async def test_p12_what_an_event_type_says_cannot_fill_logs_and_dead_letters() -> None:
    fate = await fate_of(b"event_type", LONG.encode(), b"payload", b"{}")
    assert fate.reason == "unhandled"
    assert len(fate.error) == MOST


@pytest.mark.parametrize(
    "error", [Reject(LONG), ValueError(LONG), Reject("\udc80" * MOST)], ids=lambda error: type(error).__name__
)
def test_p12_what_an_error_says_is_cut(error: Exception) -> None:
    fate = decide(error, 0, RetryPolicy(max_failures=1))
    assert isinstance(fate, DeadLetter)
    assert len(fate.error) == MOST
    assert len(fate.traceback) <= 8 * 1024
    fate.error.encode()


# -- sizes have a limit -------------------------------------------------------------------------------------------

LIMIT = 100


class Unread:
    """A user's codec that must not be asked."""

    def decoder(self, payload_type: type[object]) -> Callable[[Fields], object]:
        def decode(fields: Fields) -> object:
            raise AssertionError("was decoded")

        return decode


def never(*_: object) -> object:
    raise AssertionError("was decoded")


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec(), RawCodec(), FieldsCodec(), Unread()], ids=name_of)
def test_p12_what_is_too_large_is_refused_before_it_is_decoded(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    payload_type: type[object] = bytes if isinstance(codec, RawCodec) else dict
    for module in (msgspec.json, msgspec.msgpack):
        monkeypatch.setattr(module, "Decoder", lambda _: SimpleNamespace(decode=never))
    monkeypatch.setattr(msgspec, "convert", never)
    decode = bounded(codec, payload_type, LIMIT)
    for content_type in ([], [b"content_type", b"application/json"], [b"content_type", b"application/msgpack"]):
        with pytest.raises(DecodeError, match=f"has {LIMIT + 1} bytes, the limit is {LIMIT}"):
            decode([b"event_type", b"E", b"payload", b"1" * (LIMIT + 1), *content_type])


@pytest.mark.parametrize("codec", [JsonCodec(), MsgpackCodec(), RawCodec()], ids=name_of)
def test_p24_what_may_be_published_may_be_read(codec: PayloadCodec) -> None:
    payload_type: type[object] = bytes if isinstance(codec, RawCodec) else str
    body = codec.encode(b"x" * LIMIT if payload_type is bytes else "x" * (LIMIT - 2))
    assert len(body) == LIMIT
    assert bounded(codec, payload_type, LIMIT)([b"event_type", b"E", b"payload", body, b"h:x", b"x" * 2 * LIMIT])


# -- what the package never does ----------------------------------------------------------------------------------

PACKAGE = Path(redis_streams_aio.__file__).parent
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle", "xmlrpc"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "execfile"}
UNSAFE_METHODS = {"load", "load_all", "unsafe_load", "full_load", "unsafe_load_all", "full_load_all"}
SAFE = yaml_files._Loader
MAY_IMPORT_BY_NAME = {"cli/app.py", "cli/commands/run.py"}
"""Commands, whose names are listed in the file, and `run module:broker`, whose name the operator types."""
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def is_yaml_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "yaml.load" and len(node.args) == 2


def unsafe(tree: ast.Module) -> Iterator[str]:
    """What turns bytes into code, by line."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if found := {name.name.split(".")[0] for name in names} & UNSAFE_MODULES:
                yield f"{node.lineno}: import {found}"
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNSAFE_MODULES:
                yield f"{node.lineno}: from {module}"
            case ast.Call(func=ast.Name(id=name)) if name in UNSAFE_CALLS:
                yield f"{node.lineno}: {name}()"
            case ast.Attribute(value=ast.Name(id="yaml"), attr="load") if issubclass(
                yaml_files._Loader, yaml.SafeLoader
            ):
                names_of_loaders = {ast.unparse(call.args[1]) for call in ast.walk(tree) if is_yaml_load(call)}
                yield from (f"{node.lineno}: yaml.load" for _ in range(names_of_loaders != {"_Loader"}))
            case ast.Attribute(value=ast.Name(id="yaml"), attr=name) if name in UNSAFE_METHODS:
                yield f"{node.lineno}: yaml.{name}"
            case ast.Attribute(attr="import_module" | "Loader" | "FullLoader" | "UnsafeLoader" as name):
                yield f"{node.lineno}: {name}"


@pytest.mark.parametrize("name", TREES)
def test_nothing_of_the_package_turns_data_into_code(name: str) -> None:
    found = [line for line in unsafe(TREES[name]) if not (name in MAY_IMPORT_BY_NAME and "import_module" in line)]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "eval(payload)",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "importlib.import_module(event_type)",
    ],
)
def test_that_would_be_seen(source: str) -> None:
    assert list(unsafe(ast.parse(source)))


async def test_p12_types_come_from_annotations_never_from_the_wire() -> None:
    """Neither an event type nor a content type that names something importable has it looked for."""
    known = set(sys.modules)
    for name in (b"http.server", b"os.system", b"tests.events.Cancelled", b"!!python/object:os.system"):
        assert (await fate_of(b"event_type", name, b"payload", b"{}")).reason == "unhandled"
        fields = [b"event_type", b"Order", b"payload", b"[]", b"content_type", name]
        assert (await fate_of(*fields)).error.startswith("payload is not an Order")
    assert set(sys.modules) == known

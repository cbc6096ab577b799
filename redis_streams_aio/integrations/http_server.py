"""An HTTP server of a few lines, for the probes of a process that serves nothing else (`run --health-port`).

It serves one ASGI application on asyncio's streams: a request without a body on each connection, which is then closed.
That is enough for orchestrators, scrapers and autoscalers, and not meant for anything else. A connection has `PATIENCE`
seconds for all of it, and a request at most 16 KiB. An application that raises gives a 500 and a line in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from ..telemetry.logs import log
from .asgi import ASGIApp

PATIENCE = 15.0
LONGEST = 16 * 1024
"""The most bytes of a request."""


class Request(NamedTuple):
    """The head of a request."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]

    def scope(self) -> MutableMapping[str, object]:
        """Return the request as ASGI wants it."""
        path, _, query = self.target.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": self.method,
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": self.headers,
        }


@asynccontextmanager
async def serving(app: ASGIApp, host: str, port: int) -> AsyncIterator[int]:
    """Serve the application until left; yields the port, which is a free one for 0. Raises `OSError`."""
    open_now: set[asyncio.Task[object]] = set()
    server = await asyncio.start_server(partial(_connected, app, open_now), host, port, limit=LONGEST)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)


async def _connected(
    app: ASGIApp, open_now: set[asyncio.Task[object]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  # a coroutine that runs has one
    open_now.add(task)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(await _response(app, reader))
            await writer.drain()
    except (TimeoutError, OSError, asyncio.CancelledError):
        pass  # the client is gone or too slow, or the server ends
    finally:
        open_now.discard(task)
        writer.close()


async def _response(app: ASGIApp, reader: asyncio.StreamReader) -> bytes:
    try:
        request = parse(await reader.readuntil(b"\r\n\r\n"))
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        return _packed(HTTPStatus.BAD_REQUEST)
    sent: list[MutableMapping[str, object]] = []

    async def send(message: MutableMapping[str, object]) -> None:
        sent.append(message)

    try:
        await app(request.scope(), _receive, send)
    except Exception as error:  # noqa: BLE001  # a probe ends nothing
        log.error("the probe %s failed", request.target, error=error)
        return _packed(HTTPStatus.INTERNAL_SERVER_ERROR)
    return _packed_messages(sent)


def parse(head: bytes) -> Request:
    """Return the request with this head. Raises `ValueError`."""
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, version = first.split(" ")
    if not (target.startswith("/") and version.startswith("HTTP/1.")):
        raise ValueError(first)
    pairs = [line.split(":", 1) for line in lines]
    return Request(
        method, target, [(name.lower().encode("latin-1"), value.strip().encode("latin-1")) for name, value in pairs]
    )


async def _receive() -> MutableMapping[str, object]:
    return {"type": "http.request", "body": b"", "more_body": False}


def _packed_messages(sent: list[MutableMapping[str, object]]) -> bytes:
    start, *bodies = sent
    status, headers = start["status"], start["headers"]
    assert isinstance(status, int)  # noqa: S101  # as ASGI says
    assert isinstance(headers, list)  # noqa: S101
    parts = [body for message in bodies if isinstance(body := message.get("body", b""), bytes)]
    return _packed(HTTPStatus(status), headers, b"".join(parts))


def _packed(status: HTTPStatus, headers: list[tuple[bytes, bytes]] | None = None, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode(), b"connection: close"]
    lines += [name + b": " + value for name, value in (headers or [(b"content-length", b"0")])]
    return b"\r\n".join([*lines, b"", body])

"""Probes: a small ASGI application that tells an orchestrator, Prometheus and KEDA how a broker is.

```python
app = FastAPI(lifespan=broker.lifespan)
app.mount("/broker", probes(broker))
```

| Path | Answers |
|---|---|
| `/livez`, `/readyz`, `/startedz` | `broker.health()` as JSON; 503 if that check is not ok |
| `/metrics` | the metrics of the observer that has some (`integrations.prometheus`); 404 if there is none |
| `/scale/STREAM/GROUP` | how many events wait, for an autoscaler; 503 if that is not known (`integrations.scaling`) |

Every path is read only (GET and HEAD), needs no dependency, and never takes longer than a command of the broker.
Nothing here is protected: serve it where only your cluster can reach it. An error in it becomes a 500 of the server
that it runs in, and harms no broker.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import NamedTuple, Protocol, runtime_checkable
from urllib.parse import quote, unquote

import msgspec

from ..broker import Broker
from ..broker.health import Check, Health
from ..exceptions import ConfigError
from .scaling import Scale, Unknown, scale_of

Scope = MutableMapping[str, object]
Receive = Callable[[], Awaitable[MutableMapping[str, object]]]
Send = Callable[[MutableMapping[str, object]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = "application/json"


@runtime_checkable
class HasMetrics(Protocol):
    """An observer that can be scraped."""

    def watch(self, broker: Broker) -> None:
        """Read the gauges of this broker at each scrape; called again, do nothing."""
        ...

    def exposition(self, accept: str) -> tuple[str, bytes]:
        """Return the content type and the text of all metrics, in the best format that a scraper accepts."""
        ...


class Answer(NamedTuple):
    """A response without its headers."""

    status: int
    body: bytes
    content_type: str = JSON


def probes(broker: Broker) -> ASGIApp:
    """Return the application for a broker; mount it under any prefix. Raises `ConfigError`."""
    if not isinstance(broker, Broker):
        raise ConfigError(f"probes({broker!r}): expected a Broker")
    metrics = _metrics_of(broker)
    if metrics is not None:
        metrics.watch(broker)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await _respond(scope, send, await _answer(broker, metrics, scope))

    return app


def _metrics_of(broker: Broker) -> HasMetrics | None:
    observers: tuple[object, ...] = broker.observers
    return next((each for each in observers if isinstance(each, HasMetrics)), None)


async def _live(receive: Receive, send: Send) -> None:
    """Answer the lifespan of a server that runs the application by itself."""
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def _answer(broker: Broker, metrics: HasMetrics | None, scope: Scope) -> Answer:
    if scope["method"] not in ("GET", "HEAD"):
        return _problem(405, "only GET and HEAD are allowed")
    match _path(scope):
        case ["livez" | "readyz" | "startedz" as question]:
            return _checked(question, broker.health())
        case ["metrics"] if metrics is None:
            return _problem(404, "no metrics: give the broker observers=[Prometheus()]")
        case ["metrics"] if metrics is not None:
            content_type, text = metrics.exposition(_header(scope, b"accept"))
            return Answer(200, text, content_type)
        case ["scale", stream, group]:
            return _scale(await scale_of(broker.connection, stream, group))
    return _problem(404, "there are /livez, /readyz, /startedz, /metrics and /scale/STREAM/GROUP")


def _checked(question: str, health: Health) -> Answer:
    check: Check = {"livez": health.live, "readyz": health.ready, "startedz": health.started}[question]
    body = {"ok": check.ok, "reasons": check.reasons, "notes": health.notes}
    return Answer(200 if check.ok else 503, msgspec.json.encode(body))


def _scale(found: Scale | Unknown) -> Answer:
    if isinstance(found, Unknown):
        return _problem(404 if found.is_missing else 503, found.error)
    return Answer(200, msgspec.json.encode(found))


def _problem(status: int, text: str) -> Answer:
    return Answer(status, msgspec.json.encode({"error": text}))


def _path(scope: Scope) -> list[str]:
    """Return the parts of the path below the prefix. A slash in a name is written `%2F`."""
    root, path = str(scope.get("root_path") or ""), str(scope["path"])
    raw_path = scope.get("raw_path")
    raw = raw_path.decode("latin-1") if isinstance(raw_path, bytes) else quote(path)
    for prefix in (root, quote(root)):
        if prefix and (raw == prefix or raw.startswith(f"{prefix}/")):
            raw = raw[len(prefix) :]
            break
    return [unquote(part) for part in raw.removeprefix("/").split("/")]


def _header(scope: Scope, wanted: bytes) -> str:
    headers = scope["headers"]
    assert isinstance(headers, list | tuple)  # noqa: S101  # as ASGI says
    return next((value.decode("latin-1") for name, value in headers if name.lower() == wanted), "")


async def _respond(scope: Scope, send: Send, answer: Answer) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"content-length", b"%d" % len(answer.body)),
        (b"cache-control", b"no-store"),
    ]
    if answer.status == 405:
        headers.append((b"allow", b"GET, HEAD"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})

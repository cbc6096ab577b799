"""A FastAPI application with a broker inside: one endpoint publishes orders, another shows what was handled.

The broker opens and closes with the application (`lifespan=broker.lifespan`); at SIGTERM uvicorn ends the
application, and the broker drains.

    pip install fastapi uvicorn
    uvicorn --app-dir examples fastapi_app:app

    curl -X POST localhost:8000/orders -H 'content-type: application/json' \
         -d '{"order_id": "o-1", "customer": "ada", "total": 42.0}'
    curl localhost:8000/billed
    curl -i localhost:8000/broker/readyz     # for a readiness probe
    curl -i localhost:8000/broker/livez      # for a liveness probe

`REDIS_STREAMS_REDIS_URL` says where Redis is; by default it is an embedded Valkey (extra `embedded`),
which is for one worker: with `--workers` each would have one of its own.
"""

import os
from dataclasses import dataclass

from fastapi import FastAPI

from redis_streams_aio import Broker
from redis_streams_aio.integrations.asgi import probes

broker = Broker(os.environ.get("REDIS_STREAMS_REDIS_URL", "embedded://"), group="billing")
app = FastAPI(lifespan=broker.lifespan)
app.mount("/broker", probes(broker))


@dataclass
class OrderPlaced:
    """The body of the request and the payload of the event."""

    order_id: str
    customer: str
    total: float


billed: dict[str, float] = {}
"""What each customer owes, as far as this process billed it."""


@broker.handler("orders")
async def bill(order: OrderPlaced) -> None:
    """The handler: runs beside the requests, in the same event loop."""
    billed[order.customer] = billed.get(order.customer, 0.0) + order.total


@app.post("/orders", status_code=202)
async def place_order(order: OrderPlaced) -> dict[str, str]:
    """Publish the order; answered as soon as Redis has it."""
    return {"entry_id": await broker.publish("orders", order, key=order.customer)}


@app.get("/billed")
async def show_billed() -> dict[str, float]:
    """What was handled so far."""
    return billed


@app.get("/lag")
async def show_lag() -> dict[str, int | None]:
    """How far each group is behind; `null` where Redis does not know."""
    return {f"{report.stream}/{report.group}": report.lag for report in await broker.measure_lag()}

"""An aiohttp application with a broker inside: one route publishes orders, another shows what was handled.

The broker opens and closes with the application (`cleanup_ctx`); at SIGTERM aiohttp ends the application, and the
broker drains.

    pip install aiohttp
    python examples/aiohttp_app.py 8080

    curl -X POST localhost:8080/orders -d '{"order_id": "o-1", "customer": "ada", "total": 42.0}'
    curl localhost:8080/billed

`REDIS_STREAMS_REDIS_URL` says where Redis is; by default it is an embedded Valkey (extra `embedded`).
"""

import os
import sys

import msgspec
from aiohttp import web

from redis_streams_aio import Broker

broker = Broker(os.environ.get("REDIS_STREAMS_REDIS_URL", "embedded://"), group="billing")
routes = web.RouteTableDef()


class OrderPlaced(msgspec.Struct, frozen=True):
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


@routes.post("/orders")
async def place_order(request: web.Request) -> web.Response:
    """Publish the order; answered as soon as Redis has it."""
    try:
        order = msgspec.json.decode(await request.read(), type=OrderPlaced)
    except msgspec.DecodeError as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    entry_id = await broker.publish("orders", order, key=order.customer)
    return web.json_response({"entry_id": entry_id}, status=202)


@routes.get("/billed")
async def show_billed(_: web.Request) -> web.Response:
    """What was handled so far."""
    return web.json_response(billed)


def make_app() -> web.Application:
    """The application, with the broker in its life."""
    app = web.Application()
    app.add_routes(routes)
    app.cleanup_ctx.append(broker.cleanup_ctx)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)

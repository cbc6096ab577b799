"""What the package never does, and what texts of ours never grow to: by its source and by pure functions."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from redis_streams_aio import JsonCodec, Reject, RetryPolicy
from redis_streams_aio.consumer.attempt import admit
from redis_streams_aio.declaration import HandlerOptions, declare
from redis_streams_aio.delivery import Delivery, Origin
from redis_streams_aio.retry import DeadLetter, decide
from redis_streams_aio.routing import RouteTable, plan

from ..events import Order

LONG = "x" * 1_000_000
MOST = 1024


def routes(payload_type: object = Order) -> RouteTable:
    async def handle(order: Order) -> None: ...

    handle.__annotations__["order"] = payload_type
    return plan([declare(handle, HandlerOptions(stream="orders", event_type="Order"))], group="g")[0].routes


async def fate_of(*fields: bytes, payload_type: object = Order) -> DeadLetter:
    await asyncio.sleep(0)
    fate = admit(Delivery(Origin("orders"), b"1-0", list(fields)), routes(payload_type), "dead_letter")
    assert isinstance(fate, DeadLetter)
    return fate


# -- texts have an end --------------------------------------------------------------------------------------------


async def test_p12_what_a_payload_says_cannot_fill_logs_and_dead_letters() -> None:
    payload = JsonCodec().encode(LONG)
    fate = await fate_of(b"event_type", b"Order", b"payload", payload, payload_type=Literal["a", "b"])
    assert fate.reason == "undecodable"
    assert fate.error.startswith("payload is no Literal: Invalid enum value 'xxx")
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

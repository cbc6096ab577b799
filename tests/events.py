"""Event types for the tests, at module level so that handlers' annotations can be resolved."""

from __future__ import annotations

import msgspec


class Order(msgspec.Struct):
    number: int
    customer: str = "ada"
    total: float = 1.0


class Cancelled(msgspec.Struct):
    number: int

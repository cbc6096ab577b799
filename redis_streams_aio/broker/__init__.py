"""Composition: handlers, subscriptions, and the supervisor that starts what there is and stops it in order."""

from .broker import Broker
from .router import Router

__all__ = ["Broker", "Router"]

"""Composition: handlers, subscriptions, and the supervisor that starts what there is and stops it in order."""

from ..handlers.router import Router
from .broker import Broker

__all__ = ["Broker", "Router"]

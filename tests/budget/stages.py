"""The stages of an event: which modules do what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

REST = "the rest"
STAGES = {
    "connection": "read and send",
    "consumer": "take in",
    "events": "take in",
    "consumer.work": "work",
    "consumer.work.lanes": "put in order",
    "consumer.work.buffer_size": "put in order",
    "consumer.work.schedule": "put in order",
    "consumer.work.timetable": "put in order",
    "codecs": "decode, route, call",
    "handlers": "decode, route, call",
    "consumer.settle": "acknowledge",
    "producer": "compose",
}
"""A module belongs to the longest of these names that its own begins with; any other one to the rest."""
NAMES = tuple(dict.fromkeys([*STAGES.values(), REST]))


def stage_of(module: str) -> str:
    """The stage that a module's instructions count for."""
    names = [name for name in STAGES if f"{module}.".startswith(f"{name}.")]
    return STAGES[max(names, key=len)] if names else REST


def by_stage(by_module: Mapping[str, float]) -> dict[str, float]:
    """Instructions by stage, in the order of an event; stages that cost less than half an instruction are left out."""
    found: defaultdict[str, float] = defaultdict(float)
    for module, count in by_module.items():
        found[stage_of(module)] += count
    return {name: round(found[name], 1) for name in NAMES if found[name] >= 0.5}

"""Write the Grafana dashboard, docs/operations/grafana.json, and the picture of it: `python -m tests.docs.dashboard`.

`PANELS` is the dashboard. tests/integration/test_operations.py holds that both files are up to date, and that every
metric and label in it is one that a broker exposes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

DOCS = Path(__file__).parent.parent.parent / "docs"
DASHBOARD = DOCS / "operations" / "grafana.json"
PICTURE = DOCS / "pictures" / "dashboard.svg"
CHOSEN = 'stream=~"$stream",group=~"$group"'
RATE = "[$__rate_interval]"


class Panel(NamedTuple):
    """One panel: where it is in the grid of 24 columns, and what it shows."""

    title: str
    x: int
    y: int
    width: int
    height: int
    targets: dict[str, str]
    """Expressions by legend."""
    unit: str = "short"
    kind: str = "timeseries"
    text: str = ""
    """What to look for."""


def rate(metric: str, by: str, where: str = CHOSEN) -> str:
    """Events a second."""
    return f"sum by ({by}) (rate(redis_streams_{metric}_total{{{where}}}{RATE}))"


def quantile(share: float, metric: str, by: str) -> str:
    """A quantile of a histogram."""
    buckets = f"sum by (le,{by}) (rate(redis_streams_{metric}_bucket{{{CHOSEN}}}{RATE}))"
    return f"histogram_quantile({share},{buckets})"


def of_group(metric: str) -> str:
    """A figure that all processes of a group report alike."""
    return f"max by (stream,group) (redis_streams_{metric}{{{CHOSEN}}})"


def of_processes(metric: str) -> str:
    """A figure of each process, added."""
    return f"sum by (stream,group) (redis_streams_{metric}{{{CHOSEN}}})"


WHO, WHERE = "{{stream}}/{{group}}", "{{stream}}/{{group}} {{handler}}"
HANDLER = "stream,group,handler"

PANELS = [
    Panel("Ready", 0, 0, 4, 4, {"processes": "min(redis_streams_ready)"}, kind="stat", text="1: all processes"),
    Panel("Live", 4, 0, 4, 4, {"processes": "min(redis_streams_live)"}, kind="stat", text="0: a restart helps"),
    Panel(
        "Oldest unsettled",
        8,
        0,
        4,
        4,
        {"": f"max({of_group('oldest_age_seconds')})"},
        "s",
        "stat",
        "age of the oldest event",
    ),
    Panel(
        "Behind",
        12,
        0,
        4,
        4,
        {"": f"sum({of_group('lag')}) + sum({of_group('pending')})"},
        kind="stat",
        text="lag + pending",
    ),
    Panel("Lag known", 16, 0, 4, 4, {"": f"min({of_group('lag_known')})"}, kind="stat", text="0: Redis has no number"),
    Panel(
        "Dead letters, 1 h",
        20,
        0,
        4,
        4,
        {"": f"sum(increase(redis_streams_dead_lettered_total{{{CHOSEN}}}[1h]))"},
        kind="stat",
        text="events given up",
    ),
    Panel("Lag", 0, 4, 8, 8, {WHO: of_group("lag")}, text="not read yet, by group; a gap: unknown"),
    Panel(
        "Age of the oldest event",
        8,
        4,
        8,
        8,
        {WHO: of_group("oldest_age_seconds")},
        "s",
        text="grows while a group stands still",
    ),
    Panel(
        "In hand",
        16,
        4,
        8,
        8,
        {
            f"running {WHO}": of_processes("running"),
            f"buffered {WHO}": of_processes("buffered"),
            f"waiting {WHO}": of_processes("waiting"),
            f"pending {WHO}": of_group("pending"),
        },
        text="entries that processes hold",
    ),
    Panel(
        "Published",
        0,
        12,
        8,
        8,
        {"{{stream}}": rate("published", "stream", 'stream=~"$stream"')},
        "ops",
        text="events a second, by stream",
    ),
    Panel("Handled", 8, 12, 8, 8, {WHERE: rate("handled", HANDLER)}, "ops", text="attempts a second, by handler"),
    Panel("Outcomes", 16, 12, 8, 8, {"{{outcome}}": rate("handled", "outcome")}, "ops", text="what became of them"),
    Panel(
        "Handler duration",
        0,
        20,
        8,
        8,
        {
            f"p50 {WHERE}": quantile(0.5, "handler_duration_seconds", HANDLER),
            f"p99 {WHERE}": quantile(0.99, "handler_duration_seconds", HANDLER),
        },
        "s",
        text="median and slowest",
    ),
    Panel(
        "Latency",
        8,
        20,
        8,
        8,
        {
            f"p50 {WHO}": quantile(0.5, "latency_seconds", "stream,group"),
            f"p99 {WHO}": quantile(0.99, "latency_seconds", "stream,group"),
        },
        "s",
        text="from publishing to handled",
    ),
    Panel(
        "Failures",
        16,
        20,
        8,
        8,
        {
            f"failed {WHERE}": rate("failed", HANDLER),
            f"dead {WHERE}": rate("dead_lettered", HANDLER),
        },
        "ops",
        text="retries and dead letters a second",
    ),
    Panel(
        "Handed over",
        0,
        28,
        8,
        8,
        {
            f"reclaimed {WHO}": rate("reclaimed", "stream,group"),
            f"lost leases {WHO}": rate("lost_leases", "stream,group"),
            f"duplicates {WHO}": rate("duplicates", "stream,group"),
        },
        "ops",
        text="from processes that are gone or slow",
    ),
    Panel(
        "Event loop",
        8,
        28,
        8,
        8,
        {
            "delay {{instance}}": "max by (instance) (redis_streams_event_loop_delay_seconds)",
            "blocked {{instance}}": f"sum by (instance) (rate(redis_streams_event_loop_blocked_seconds_total{RATE}))",
        },
        "s",
        text="what else runs while a handler computes",
    ),
    Panel(
        "Trouble",
        16,
        28,
        8,
        8,
        {
            "failed steps {{instance}}": f"sum by (instance) (rate(redis_streams_failed_steps_total{RATE}))",
            "not published {{stream}}": rate("publish_failed", "stream", 'stream=~"$stream"'),
            f"lost entries {WHO}": rate("lost_entries", "stream,group"),
            f"trimmed unsettled {WHO}": rate("trimmed_unsettled", "stream,group"),
            f"groups recreated {WHO}": rate("groups_recreated", "stream,group"),
            f"paused {WHO}": of_group("paused"),
        },
        text="Redis away, trimmed too early, paused",
    ),
    Panel(
        "Rates of the group",
        0,
        36,
        12,
        8,
        {f"in {WHO}": of_group("rate_in"), f"out {WHO}": of_group("rate_out")},
        "ops",
        text="of all publishers, and of all processes of the group",
    ),
    Panel(
        "Time to drain",
        12,
        36,
        12,
        8,
        {WHO: of_group("time_to_drain_seconds")},
        "s",
        text="until all is settled; a gap: unknown, or never",
    ),
]


def dashboard() -> str:
    """The dashboard as Grafana imports it."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels = [
        {
            "id": number,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.text,
            "datasource": source,
            "gridPos": {"x": panel.x, "y": panel.y, "w": panel.width, "h": panel.height},
            "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
            "targets": [
                {"refId": chr(ord("A") + at), "datasource": source, "expr": expression, "legendFormat": legend}
                for at, (legend, expression) in enumerate(panel.targets.items())
            ],
        }
        for number, panel in enumerate(PANELS, 1)
    ]
    known = "redis_streams_lag_known"
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
        _variable("stream", f"label_values({known},stream)", source),
        _variable("group", f'label_values({known}{{stream=~"$stream"}},group)', source),
    ]
    whole = {
        "title": "Redis Streams: brokers",
        "uid": "redis-streams-aio",
        "tags": ["redis-streams-aio"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }
    return json.dumps(whole, indent=1) + "\n"


def _variable(name: str, query: str, source: object) -> dict[str, object]:
    return {
        "name": name,
        "type": "query",
        "label": name.capitalize(),
        "datasource": source,
        "query": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


CELL, FONT = 40, "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
LINE = 17


def picture() -> str:
    """The panels in their places, each with its title, what to look for, and its series."""
    height = max(panel.y + panel.height for panel in PANELS) * CELL // 2 + 60
    boxes = "\n".join(map(_box, PANELS))
    named = ", ".join(panel.title for panel in PANELS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 {height}" width="980" height="{height}" role="img" '
        f'aria-labelledby="title description" font-family="{FONT}" font-size="13" fill="#24303c">\n'
        f'<title id="title">The Grafana dashboard</title>\n<desc id="description">Panels: {named}.</desc>\n'
        f"<!-- made by python -m tests.docs.dashboard -->\n"
        f'<rect width="980" height="{height}" rx="14" fill="#f7f9fb"/>\n'
        f'<text x="14" y="30" font-size="15" font-weight="600">Redis Streams: brokers</text>\n{boxes}\n</svg>\n'
    )


def _box(panel: Panel) -> str:
    x, y = 14 + panel.x * (CELL - 0.3), 44 + panel.y * CELL // 2
    width, height = panel.width * (CELL - 0.3) - 8, panel.height * CELL // 2 - 8
    lines = [legend.replace("{{", "").replace("}}", "") for legend in panel.targets if legend]
    shown = "".join(
        f'<text x="{x + 10:.1f}" y="{y + 62 + at * LINE:.1f}" font-size="11" fill="#3b6fb6">{escape(line)}</text>'
        for at, line in enumerate(lines)
        if panel.kind != "stat"
    )
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" fill="#fff" stroke="#d3dae1"/>'
        f'<text x="{x + 10:.1f}" y="{y + 22:.1f}" font-weight="600">{escape(panel.title)}</text>'
        f'<text x="{x + 10:.1f}" y="{y + 41:.1f}" font-size="11" fill="#55616d">{escape(panel.text)}</text>{shown}'
    )


def main() -> None:
    """Write both."""
    DASHBOARD.write_text(dashboard(), "utf-8")
    PICTURE.write_text(picture(), "utf-8")


if __name__ == "__main__":
    main()

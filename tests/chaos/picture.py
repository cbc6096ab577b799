"""The timeline of a run as SVG: a lane for each process, its wire and the server, with the faults that hit them; below
it what was handled in each second, and the longest gap. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape

from tests.chaos.history import Record
from tests.chaos.schedule import ALL, KINDS, SERVER
from tests.chaos.verdict import Verdict
from tests.chaos.workload import PROCESSES

WIDTH, LEFT, RIGHT, TOP = 960, 110, 20, 46
LANE, BARS = 24, 90
COLOURS = {"process": "#c2410c", "network": "#7c3aed", "server": "#0369a1"}
_STYLE = "text{font:11px sans-serif;fill:#334155}.small{font-size:8px}.grid{stroke:#e2e8f0}"


def draw(records: Sequence[Record], verdict: Verdict, headline: str) -> str:
    """The whole picture."""
    began, ended = records[0].at, max(record.at for record in records)
    scale = Scale(began, ended)
    lanes = (SERVER, *PROCESSES)
    bottom = TOP + len(lanes) * LANE
    height = bottom + BARS + 46
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(headline)}</title><style>{_STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="18">{escape(headline)}: {"passed" if verdict.passed else "FAILED"}</text>',
        *_legend(),
        *(_lane(name, TOP + number * LANE) for number, name in enumerate(lanes)),
        *(_fault(record, row, scale) for record, row in _rows(records, lanes)),
        *_bars(records, verdict, scale, bottom),
        *_seconds(scale, bottom),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class Scale:
    """From times to places."""

    def __init__(self, began: float, ended: float) -> None:
        self.began = began
        self.seconds: float = max(ended - began, 1.0)

    def x(self, at: float) -> float:
        """Where this time is."""
        return round(LEFT + (at - self.began) / self.seconds * (WIDTH - LEFT - RIGHT), 1)


def _legend() -> Iterable[str]:
    for number, (room, colour) in enumerate(COLOURS.items()):
        x = LEFT + number * 120
        yield f'<rect x="{x}" y="26" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="35">{room}</text>'


def _lane(name: str, y: int) -> str:
    line = f'<line class="grid" x1="{LEFT}" y1="{y + LANE - 2}" x2="{WIDTH - RIGHT}" y2="{y + LANE - 2}"/>'
    return f'<text x="8" y="{y + 15}">{name}</text>{line}'


def _rows(records: Iterable[Record], lanes: Sequence[str]) -> Iterable[tuple[Record, int]]:
    """Each fault with the heights it is to be drawn at: two to a lane, wires below; those of the server take turns."""
    upper = True
    for record in records:
        if record.what != "fault":
            continue
        room = KINDS[record.name].room
        if room == "server":
            upper = not upper
        lower = room == "network" or (room == "server" and not upper)
        targets = PROCESSES if record.detail == ALL else (record.detail,)
        for target in (SERVER,) if room == "server" else targets:
            yield record, TOP + lanes.index(target) * LANE + (11 if lower else 0)


def _fault(record: Record, y: int, scale: Scale) -> str:
    room = KINDS[record.name].room
    x = scale.x(record.at)
    width = max(2.0, round(scale.x(record.until) - x, 1))
    shown = f"{record.name} {record.detail}, {record.until - record.at:.1f} s"
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="9" fill="{COLOURS[room]}" opacity=".45">'
        f'<title>{shown}</title></rect><text class="small" x="{x}" y="{y + 8}">{record.name}</text>'
    )


def _bars(records: Iterable[Record], verdict: Verdict, scale: Scale, bottom: int) -> Iterable[str]:
    handled = Counter(int(record.at - scale.began) for record in records if record.what == "handled")
    most = max(handled.values(), default=1)
    width = scale.x(scale.began + 1) - LEFT
    for second, count in sorted(handled.items()):
        height = round(count / most * BARS, 1)
        x, y = scale.x(scale.began + second), round(bottom + 10 + BARS - height, 1)
        yield f'<rect x="{x}" y="{y}" width="{max(width - 0.5, 0.4):.1f}" height="{height}" fill="#16a34a"/>'
    yield f'<text x="8" y="{bottom + 22}">handled</text><text x="8" y="{bottom + 36}">a second,</text>'
    yield f'<text x="8" y="{bottom + 50}">up to {most}</text>'
    x = scale.x(verdict.gap.began)
    yield (
        f'<rect x="{x}" y="{bottom + 10}" width="{scale.x(verdict.gap.ended) - x:.1f}" height="{BARS}" fill="#dc2626"'
        f' opacity=".15"/><text x="{x}" y="{bottom + 20}">longest gap {verdict.gap.seconds:.1f} s</text>'
    )


def _seconds(scale: Scale, bottom: int) -> Iterable[str]:
    step = next((step for step in (5, 10, 30, 60, 120) if scale.seconds / step <= 12), 300)
    for second in range(0, int(scale.seconds) + 1, step):
        yield f'<text x="{scale.x(scale.began + second)}" y="{bottom + BARS + 26}">{second} s</text>'

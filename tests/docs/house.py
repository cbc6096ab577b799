"""Draw docs/pictures/house.svg: the rooms of the package, one above the other as their imports have them.

`python -m tests.docs.house` draws it; `tests/test_architecture.py` checks that it is up to date. Rooms, their files and
the order of the floors are read from the imports; only the names of the bands are written here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

from tests.imports import graph

PICTURE = Path(__file__).parents[2] / "docs/pictures/house.svg"

BANDS = {
    "EDGES": ("not imported", ["cli", "testing", "integrations"]),
    "THE BROKER": ("starts and stops", ["broker"]),
    "JOBS": ("each on its own", ["consumer", "producer", "monitoring", "checkpoint"]),
    "THE DOOR": ("all of redis-py", ["connection"]),
    "RULES": ("pure functions", ["handlers", "middleware", "codecs", "config", "telemetry"]),
    "WORDS": ("plain values", ["events", "models", "checks", "exceptions"]),
}
LEFT_OUT = {"", "_public", "__main__", "version"}
"""Modules that only name others, and the version."""
FLOORS = {"consumer"}
"""Rooms whose inner rooms are drawn: they stand on one another too."""

WIDTH, MARGIN, LABELS, GAP = 960, 28, 124, 12
NARROWEST = 150
LINE, PAD = 16, 12
CHARACTER = 6.35
"""Pixels of one character of a file's name."""
COLOURS = ["#6a7682", "#8e5aa8", "#3b6fb6", "#2e8b57", "#b7791f", "#b3423a"]


class Box(NamedTuple):
    """A room: its name, the rooms that it stands on, its files, and rows of rooms within it."""

    name: str
    on: Sequence[str]
    files: Sequence[str]
    inside: Sequence[Sequence[Box]] = ()

    @property
    def weight(self) -> float:
        """How much of a row it takes."""
        within = sum(box.weight for row in self.inside for box in row)
        return max(26, 10 + len(" ".join(self.files)) ** 0.85) + within


# -- from the imports -------------------------------------------------------------------------------------------


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def modules_of(room: str) -> list[str]:
    return [module for module in graph() if within(module, room)]


def imports_of(room: str) -> set[str]:
    """The modules outside of a room that its own import."""
    return {imported for module in modules_of(room) for imported in graph()[module] if not within(imported, room)}


@cache
def below(module: str) -> frozenset[str]:
    """The modules that a module imports, and those that these import, and so on."""
    return graph()[module].union(*map(below, graph()[module]))


def stands_on(room: str, rooms: Iterable[str]) -> list[str]:
    """The rooms that a room imports, without those that one of these stands on as well."""
    found = {other for other in rooms if other != room and any(within(each, other) for each in imports_of(room))}
    return sorted(other for other in found if not any(is_above(each, other) for each in found - {other}))


def is_above(room: str, other: str) -> bool:
    return room != other and any(within(each, other) for module in modules_of(room) for each in below(module))


def rows(rooms: Sequence[str]) -> Iterator[list[str]]:
    """Rooms in rows: each stands on rooms of lower rows only."""
    left = list(rooms)
    while left:
        row = [room for room in left if not any(is_above(other, room) and not is_above(room, other) for other in left)]
        yield row
        left = [room for room in left if room not in row]


def files_of(room: str, leave_out: Iterable[str] = ()) -> list[str]:
    """The files and folders that stand in a room."""
    names = [module.removeprefix(f"{room}.").split(".") for module in modules_of(room) if module != room]
    found = {name[0] + ("/" if len(name) > 1 else "") for name in names} - {f"{each}/" for each in leave_out}
    return sorted(name for name in found if f"{name}/" not in found and name not in leave_out)


def box_of(room: str, rooms: Sequence[str]) -> Box:
    on = stands_on(room, rooms)
    if room not in FLOORS:
        return Box(room, on, files_of(room))
    inner = [f"{room}.{name.rstrip('/')}" for name in files_of(room) if name.endswith("/")]
    single = [f"{room}.{name}" for name in files_of(room) if not name.endswith("/")]
    upper = [name for name in single if any(is_above(name, each) for each in inner)]
    lower = [name for name in single if name not in upper]
    boxes = [[Box(each.rpartition(".")[2] + "/", (), files_of(each)) for each in row] for row in rows(inner)]
    floors = [[Box("", (), [name.rpartition(".")[2] for name in part])] for part in (upper, lower)]
    return Box(room, on, (), [floors[0], *boxes, floors[1]])


def bands() -> Iterator[tuple[str, str, list[list[Box]]]]:
    """The bands from the top down. Raises `ValueError` for a room that no band has, or one that imports upwards."""
    there = {module.split(".")[0] for module in graph()} - LEFT_OUT
    known = [room for _, rooms in BANDS.values() for room in rooms if room in there]
    if missing := there - set(known):
        raise ValueError(f"give these a place in BANDS: {sorted(missing)}")
    for name, (told, rooms) in BANDS.items():
        yield name, told, [[box_of(room, known) for room in row] for row in rows([r for r in rooms if r in there])]


# -- as a picture -----------------------------------------------------------------------------------------------


def draw() -> str:
    drawn, y = [], 64.0
    for (name, told, band), colour in zip(bands(), COLOURS, strict=True):
        top = y
        for row in band:
            parts, height = drawn_row(row, MARGIN + LABELS, y, WIDTH - 2 * MARGIN - LABELS, colour)
            drawn += parts
            y += height + GAP
        drawn.append(text(MARGIN, top + 24, name, f'font-size="12.5" font-weight="600" fill="{colour}"'))
        drawn.append(text(MARGIN, top + 41, told, 'font-size="11.5" fill="#55616d"'))
        y += GAP
    height = round(y + 4)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-labelledby="title description" '
        "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif\" "
        'font-size="13" fill="#24303c">\n'
        '<title id="title">The house</title>\n'
        f'<desc id="description">{escape(described())}</desc>\n'
        "<!-- made by python -m tests.docs.house; its own background reads the same on light and dark pages -->\n"
        f'<rect x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="14" fill="#f7f9fb" stroke="#d3dae1" '
        'stroke-width="1.5"/>\n'
    )
    title = text(MARGIN, 38, "redis_streams_aio: imports point down", 'font-size="15" font-weight="600"')
    return head + "\n".join([title, *drawn]) + "\n</svg>\n"


def described() -> str:
    """The picture in words."""
    return " ".join(
        f"{name.capitalize()} ({told}): {', '.join(box.name for row in band for box in row)}."
        for name, told, band in bands()
    )


def drawn_row(row: Sequence[Box], x: float, y: float, width: float, colour: str) -> tuple[list[str], float]:
    """The boxes of a row, all as high as the highest; and that height."""
    room = width - GAP * (len(row) - 1) - NARROWEST * len(row)
    widths = [NARROWEST + room * box.weight / sum(each.weight for each in row) for box in row]
    height = max(height_of(box, own) for box, own in zip(row, widths, strict=True))
    drawn = []
    for box, own in zip(row, widths, strict=True):
        drawn += drawn_box(box, x, y, own, height, colour)
        x += own + GAP
    return drawn, height


def lines_of(box: Box, width: float) -> list[str]:
    return textwrap.wrap("  ".join(box.files), int((width - 2 * PAD) / CHARACTER), break_on_hyphens=False)


def on_of(box: Box) -> str:
    return f"on {', '.join(box.on)}" if box.on else ""


def has_two_heads(box: Box, width: float) -> bool:
    """Whether its name and the rooms that it stands on need a line each."""
    return 8 * len(box.name) + 5.8 * len(on_of(box)) + 8 > width - 2 * PAD


def head_of(box: Box, width: float) -> float:
    return (LINE + 4 if box.name else 0) + (LINE if has_two_heads(box, width) else 0)


def height_of(box: Box, width: float) -> float:
    within = sum(drawn_row(row, 0, 0, width - 2 * PAD, "")[1] + GAP for row in box.inside)
    return PAD + head_of(box, width) + LINE * len(lines_of(box, width)) + within + (0 if within else PAD - 4)


def drawn_box(box: Box, x: float, y: float, width: float, height: float, colour: str) -> Iterator[str]:
    edge = f'stroke="{colour}" stroke-width="1.25"' if box.name else 'stroke="#d3dae1" stroke-width="1"'
    yield (f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="8" fill="#fff" {edge}/>')
    left, line = x + PAD, y + PAD + 10
    if box.name:
        place = f'x="{left:.1f}" dy="{LINE}"' if has_two_heads(box, width) else 'dx="8"'
        on = f'<tspan {place} font-size="11" fill="#6a7682">{on_of(box)}</tspan>' if box.on else ""
        yield f'<text x="{left:.1f}" y="{line:.1f}"><tspan font-weight="600">{escape(box.name)}</tspan>{on}</text>'
        line += head_of(box, width)
    for words in lines_of(box, width):
        yield text(left, line, words, MONOSPACE)
        line += LINE
    inner = line - 10
    for row in box.inside:
        parts, own = drawn_row(row, left, inner, width - 2 * PAD, colour)
        yield from parts
        inner += own + GAP


MONOSPACE = (
    'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="10.5" '
    'fill="#55616d" xml:space="preserve"'
)


def text(x: float, y: float, words: str, style: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")

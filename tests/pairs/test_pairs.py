"""One test for each cell of the table of pairs: `pytest tests/pairs -k deduplicate-drain`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from redis_streams_aio.consumer import room
from tests.pairs.place import Place
from tests.pairs.play import play
from tests.pairs.table import CELLS, Cell
from tests.pairs.times import MOST_WAITING
from tests.pairs.traits import BATCH


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
async def test_two_that_meet(
    cell: Cell, stage_at: Place, record_property: Callable[[str, object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything is settled, each event as its script says, and none without a reason twice (`invariants`)."""
    record_property("promises", ", ".join(cell.promises))
    traits = (cell.left, cell.right)
    if any(one.fills for one in traits) and BATCH not in traits:  # items that are parked come back in parts
        monkeypatch.setattr(room, "MOST_WAITING", MOST_WAITING)
    await play(stage_at, cell.left, cell.right)

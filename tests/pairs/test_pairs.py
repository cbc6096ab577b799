"""One test for each cell of the table of pairs: `pytest tests/pairs -k deduplicate-drain`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pairs.place import Place
from tests.pairs.play import play
from tests.pairs.table import CELLS, Cell


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
async def test_two_that_meet(cell: Cell, stage_at: Place, record_property: Callable[[str, object], None]) -> None:
    """Everything is settled, each event as its script says, and none without a reason twice (`invariants`)."""
    record_property("promises", ", ".join(cell.promises))
    await play(stage_at, cell.left, cell.right)

"""`BatchDelivery`: the deliveries of one batch, each with its own fate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..checks.values import shown
from .delivery import Delivery


class BatchDelivery:
    """The second parameter of a batch handler: `async def load(rows: list[Row], batch: BatchDelivery)`.

    `batch[3]` is the delivery of the payload `rows[3]`. Decisions about an item take effect when the handler has ended.
    The other items are acknowledged when the handler returns. When it raises, the retry policy decides on each of them,
    and from then on each is handled in a batch of its own, so that one bad item does not affect the others.
    """

    __slots__ = ("_deliveries",)

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries: tuple[Delivery, ...] = tuple(deliveries)

    def ack(self, index: int) -> None:
        """Acknowledge an item, even if the handler raises later. Raises `IndexError`, `SettledError`."""
        self._item(index).ack()

    def retry(self, index: int, delay: float) -> None:
        """Retry an item, not before `delay` seconds after the handler's end. This is not counted as a failure.

        Raises `IndexError`, `SettledError`, and `ConfigError` for a wrong delay.
        """
        self._item(index).retry(delay)

    def reject(self, index: int, reason: str) -> None:
        """Move an item to the dead letters with this reason. Raises `IndexError`, `SettledError`."""
        self._item(index).reject(reason)

    def fail(self, index: int, error: Exception) -> None:
        """Let the retry policy decide on an item, as if the handler had raised `error` for this item alone.

        Raises `IndexError`, `SettledError`.
        """
        self._item(index).fail(error)

    def _item(self, index: int) -> Delivery:
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"index={shown(index)}: expected the place of a payload in the list, e.g. 0")
        if not 0 <= index < len(self):
            raise IndexError(f"index={index}: expected 0 to {len(self) - 1}, as the batch has {len(self)} items")
        return self._deliveries[index]

    @property
    def lost(self) -> bool:
        """Whether the leases of all items were lost, so that nothing the handler does now will count."""
        return all(delivery.lost for delivery in self._deliveries)

    def __getitem__(self, index: int) -> Delivery:
        return self._deliveries[index]

    def __len__(self) -> int:
        return len(self._deliveries)

    def __iter__(self) -> Iterator[Delivery]:
        return iter(self._deliveries)

    def __repr__(self) -> str:
        ends = f" {self._deliveries[0].id} to {self._deliveries[-1].id}" if self._deliveries else ""
        return f"<BatchDelivery of {len(self)}{ends}>"

"""`BatchDelivery`: the deliveries that a batch handler got together, each with a fate of its own (P15)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .delivery import Delivery


class BatchDelivery:
    """What a batch handler may ask for beside the payloads: `async def load(rows: list[Row], batch: BatchDelivery)`.

    `batch[3]` is the delivery of the payload `rows[3]`. What is said of an item is carried out when the handler
    has ended. Items of which nothing is said are acknowledged when it returns; when it raises, the retry policy
    decides on each of them, and from then on each is handled in a batch of its own, so that one bad item never
    drags the others down.
    """

    __slots__ = ("_deliveries",)

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self._deliveries: tuple[Delivery, ...] = tuple(deliveries)

    def ack(self, index: int) -> None:
        """Acknowledge an item, also if the handler raises. Raises `IndexError`."""
        self._deliveries[index].ack()

    def retry(self, index: int, delay: float) -> None:
        """Have an item handled again, not before `delay` seconds from the handler's end; no failure is counted.

        Raises `IndexError`, `ValueError`.
        """
        self._deliveries[index].retry(delay)

    def reject(self, index: int, reason: str) -> None:
        """Move an item to the dead letters with this reason. Raises `IndexError`."""
        self._deliveries[index].reject(reason)

    def fail(self, index: int, error: Exception) -> None:
        """Have the retry policy decide on an item, as if the handler had raised `error` on it alone.

        Raises `IndexError`.
        """
        self._deliveries[index].fail(error)

    @property
    def lost(self) -> bool:
        """Whether the leases of all of them were lost: nothing that is done now will count."""
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

"""`BatchDelivery`: the deliveries of one batch, each with its own fate."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ..checks.values import shown
from .delivery import Delivery, HandlerInstructions, Held, Receiver, close


class BatchDelivery:
    """The second parameter of a batch handler: `async def load(rows: list[Row], batch: BatchDelivery)`.

    `batch[3]` is the delivery of the payload `rows[3]`. Decisions about an item take effect when the handler has ended.
    The other items are acknowledged when the handler returns. When it raises, the retry policy decides on each of them,
    and from then on each is handled in a batch of its own, so that one bad item does not affect the others.
    """

    __slots__ = ("_closed", "_entries", "_given", "_receiver")

    def __init__(self, entries: Sequence[Held], receiver: Receiver) -> None:
        self._entries: Sequence[Held] = entries
        self._receiver = receiver
        self._given: dict[int, Delivery] = {}  # a delivery is made when it is asked for: most handlers ask for none
        self._closed = False

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
        return self._delivery(index)

    def _delivery(self, index: int) -> Delivery:
        if (delivery := self._given.get(index)) is None:
            delivery = self._given[index] = Delivery(self._entries[index], self._receiver)
            if self._closed:
                close(delivery)
        return delivery

    @property
    def lost(self) -> bool:
        """Whether the leases of all items were lost, so that nothing the handler does now will count."""
        return all(entry.lost for entry in self._entries)

    def __getitem__(self, index: int) -> Delivery:
        return self._delivery(range(len(self))[index])

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Delivery]:
        return map(self._delivery, range(len(self)))

    def __repr__(self) -> str:
        ends = f" {self[0].id} to {self[-1].id}" if self._entries else ""
        return f"<BatchDelivery of {len(self)}{ends}>"


def given(batch: BatchDelivery) -> Collection[Delivery]:
    """Return the deliveries that a handler has asked for so far."""
    return batch._given.values()  # noqa: SLF001  # hidden from handlers only


def close_batch(batch: BatchDelivery) -> Mapping[int, HandlerInstructions]:
    """Refuse further instructions, because the handler has ended; return those that it has left, by place."""
    batch._closed = True  # noqa: SLF001  # hidden from handlers only
    told = {index: close(delivery) for index, delivery in batch._given.items()}  # noqa: SLF001
    return {index: instructions for index, instructions in told.items() if instructions is not None}

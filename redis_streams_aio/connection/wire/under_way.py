"""`UnderWay`: the requests that were sent and are not answered yet.

Redis answers in the order of the commands, so the next answer is for the first request. Requests that were written
together are a batch. While Redis works on one batch, the next one may already be on its way, so that neither side
waits for the other; with more, the last caller would wait for all of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from ..replies import Answer
from .outbox import Request

MOST_BATCHES = 2


class UnderWay:
    """Sent requests, in the order of their answers."""

    def __init__(self) -> None:
        self._requests: deque[Request] = deque()
        self.batches: int = 0
        """Batches that are not answered yet; another one may leave while there are fewer than `MOST_BATCHES`."""

    def __len__(self) -> int:
        return len(self._requests)

    def add(self, batch: Sequence[Request]) -> None:
        """Note a batch that leaves now."""
        batch[-1].ends_batch = True
        self._requests.extend(batch)
        self.batches += 1

    def take(self, answers: Sequence[Answer]) -> None:
        """Give each answer to its request. Raises `ConnectionError` for an answer that nobody had asked for."""
        requests, others = self._requests, iter(answers)
        for answer in others:
            if not requests:
                raise ConnectionError("a reply came that nobody had asked for")
            request = requests[0]
            if request.expected != 1:
                if not request.take(answer, others):
                    return
            elif not request.future.done():
                request.future.set_result([answer])
            requests.popleft()
            self.batches -= request.ends_batch

    def fail(self, error: Exception) -> None:
        """Fail all requests; answers that came before are kept."""
        self.batches = 0
        while self._requests:
            self._requests.popleft().fail(error)

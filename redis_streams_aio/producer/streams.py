"""`StreamManager` creates, describes, measures, trims and deletes streams."""

from __future__ import annotations

from collections.abc import Callable

from ..checks import functions, names, values
from ..connection import Connection, replies
from ..connection.naming import with_stream
from ..connection.steps.describing import describe_stream
from ..connection.steps.streams import create_stream
from ..exceptions import InvalidEventError, RedisStreamsError, StreamNotFoundError
from ..models import StreamInfo
from ..telemetry import SILENT, StreamPastBound, Telemetry

LengthCallback = Callable[[str, int], None]
"""A function that is called with the stream's name and its length."""


class StreamManager:
    """Creates, describes, measures, trims and deletes streams.

    Raises `InvalidEventError` for invalid names, `ConfigError` for other wrong arguments.
    """

    def __init__(self, connection: Connection, *, telemetry: Telemetry = SILENT) -> None:
        self._connection = values.instance("connection", connection, Connection)
        self._telemetry = values.instance("telemetry", telemetry, Telemetry)
        self._bounds: dict[str, tuple[int, LengthCallback | None]] = {}
        self._past: set[str] = set()

    async def create_stream(self, stream: str) -> StreamInfo:
        """Create an empty stream if it does not exist, and describe it.

        Raises `StreamTypeError` if the key holds something else.
        """
        stream = _checked(stream)
        await create_stream(self._connection, stream)
        return await self.get_stream_info(stream)

    async def delete_stream(self, stream: str) -> bool:
        """Delete a stream with its groups, and return whether it existed.

        Pending entries are lost. Raises `StreamTypeError` if the key holds something else.
        """
        stream = _checked(stream)
        try:
            await self.get_stream_info(stream)
        except StreamNotFoundError:
            return False
        return replies.integer(await self._connection.call("UNLINK", stream)) == 1

    async def get_stream_info(self, stream: str) -> StreamInfo:
        """Describe a stream. Raises `StreamNotFoundError`, `StreamTypeError`."""
        stream = _checked(stream)
        return await describe_stream(self._connection, stream)

    async def length(self, stream: str) -> int:
        """Return the number of entries in the stream; 0 if it does not exist. Raises `StreamTypeError`."""
        stream = _checked(stream)
        return replies.integer(await self._connection.call("XLEN", stream))

    async def trim(self, stream: str, *, maxlen: int, exact: bool = False) -> int:
        """Delete the oldest entries beyond `maxlen`, read or not, and return their number. Raises `StreamTypeError`.

        Without `exact`, Redis deletes only whole nodes of about 100 entries, which is far cheaper.
        """
        maxlen = values.whole("maxlen", maxlen, 0)
        how = "=" if values.instance("exact", exact, bool) else "~"
        return replies.integer(await self._connection.call("XTRIM", _checked(stream), "MAXLEN", how, maxlen))

    def watch_length(self, stream: str, bound: int, callback: LengthCallback | None = None) -> None:
        """Watch the length of a stream: `check_lengths` emits a fact and calls `callback` when it exceeds `bound`."""
        if callback is not None:
            functions.function("callback", callback, "stream, length")
        self._bounds[_checked(stream)] = (values.whole("bound", bound, 1), callback)

    async def check_lengths(self) -> dict[str, int]:
        """Measure the watched streams, and report each that exceeds its bound, once until it is within it again.

        Streams that cannot be measured are left out, and their first error is raised after all reports.
        """
        answers = await self._connection.call_many([("XLEN", stream) for stream in self._bounds])
        measured = dict(zip(self._bounds, answers, strict=True))
        failed = [with_stream(each, stream) for stream, each in measured.items() if isinstance(each, RedisStreamsError)]
        lengths = {stream: each for stream, each in measured.items() if isinstance(each, int)}
        for stream, length in lengths.items():
            self._compare(stream, length)
        if failed:
            raise failed[0]
        return lengths

    def _compare(self, stream: str, length: int) -> None:
        bound, callback = self._bounds[stream]
        if length <= bound:
            self._past.discard(stream)
        elif stream not in self._past:
            self._past.add(stream)
            self._telemetry.emit(StreamPastBound(stream=stream, length=length, bound=bound))
            if callback is not None:
                self._telemetry.guard(callback, stream, length)


def _checked(stream: str) -> str:
    return names.checked("stream", stream, InvalidEventError)

"""Bytes that a socket has still to send, as far as the system tells."""

from __future__ import annotations

import struct
import sys
from asyncio import WriteTransport

if sys.platform != "win32":
    import fcntl
    import termios

    def unconfirmed(transport: WriteTransport) -> int:
        """Bytes written to a transport that the other side has not confirmed yet: in its buffer, or in the system's.

        The system takes megabytes at once, which leave a slow line long after; where it does not say how many are left
        (macOS), those count as sent.
        """
        try:
            descriptor = transport.get_extra_info("socket").fileno()
            (queued,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
        except (AttributeError, OSError, ValueError):
            queued = 0
        return transport.get_write_buffer_size() + int(queued)

else:

    def unconfirmed(transport: WriteTransport) -> int:
        """Bytes in a transport's buffer."""
        return transport.get_write_buffer_size()

"""A connection that never blocks: what cannot be sent at once waits in memory."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

MOST_UNSENT = 64 << 20
"""A client that leaves more than this many bytes unread is dropped."""
READ_SIZE = 1 << 18


class Stream:
    """Both directions of a connection, never blocking."""

    def __init__(self, read: int, write: int, close: Callable[[], None]) -> None:
        self.read_fd, self.write_fd, self.close = read, write, close
        self.unsent = bytearray()
        self.broken = False
        os.set_blocking(read, False)
        os.set_blocking(write, False)

    def read(self) -> bytes | None:
        """What came; b"" at the end, None when there is nothing."""
        try:
            return os.read(self.read_fd, READ_SIZE)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def hung_up(self) -> bool:
        """Whether the other side has closed the connection, though some of what it sent may not have been read."""
        poller = select.poll()
        poller.register(self.read_fd, select.POLLRDHUP)
        return bool(poller.poll(0))

    def write(self, data: bytes) -> bool:
        """Send, or keep what cannot be sent now; False when the other side is gone, or leaves too much unread."""
        unsent = self.unsent
        if unsent:
            unsent += data
            data = bytes(memoryview(unsent)[:READ_SIZE])
        try:
            sent = os.write(self.write_fd, data) if data else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            self.broken = True
            sent = 0
        if unsent:
            del unsent[:sent]
        else:
            unsent += data[sent:]
        self.broken |= len(unsent) > MOST_UNSENT
        return not self.broken

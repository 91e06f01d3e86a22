"""A connection that never blocks: what cannot be sent at once waits in memory."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

from gdbstub.poller import HAS_EPOLL

MOST_UNSENT = 64 << 20
"""A client that leaves more than this many bytes unread is dropped."""
READ_SIZE = 1 << 18


class Stream:
    """Both directions of a connection, never blocking."""

    def __init__(self, read: int, write: int, close: Callable[[], None]) -> None:
        self.read_fd, self.write_fd, self.close = read, write, close
        self.unsent = bytearray()
        self.broken = False
        self._unblock()

    def _unblock(self) -> None:
        os.set_blocking(self.read_fd, False)
        os.set_blocking(self.write_fd, False)

    def _receive(self) -> bytes:
        return os.read(self.read_fd, READ_SIZE)

    def _send(self, data: bytes) -> int:
        return os.write(self.write_fd, data)

    def read(self) -> bytes | None:
        """What came; b"" at the end, None when there is nothing."""
        try:
            return self._receive()
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
            sent = self._send(data) if data else 0
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


class SocketStream(Stream):
    """The same where a socket is no file (Windows), and no wait tells that its other side has gone (macOS)."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        super().__init__(connection.fileno(), connection.fileno(), connection.close)

    def _unblock(self) -> None:
        self._socket.setblocking(False)

    def _receive(self) -> bytes:
        return self._socket.recv(READ_SIZE)

    def _send(self, data: bytes) -> int:
        return self._socket.send(data)

    def hung_up(self) -> bool:
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def stream_of(connection: socket.socket) -> Stream:
    """The one of this system."""
    if HAS_EPOLL:
        return Stream(connection.fileno(), connection.fileno(), connection.close)
    return SocketStream(connection)

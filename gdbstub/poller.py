"""Waiting for connections that can be read from or written to: epoll on Linux, select elsewhere.

Any thread may change what is waited for while one waits.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Protocol

HAS_EPOLL = hasattr(select, "epoll")
READ = select.EPOLLIN | select.EPOLLRDHUP if HAS_EPOLL else 1
"""To be waited for: something came, or the end of it."""
WRITE = select.EPOLLOUT if HAS_EPOLL else 4
AFTER_ERROR = 0.01
"""Seconds before one looks again where a connection was closed meanwhile."""


class Poller(Protocol):
    """What of ``select.epoll`` is used."""

    def register(self, fd: int, eventmask: int) -> None: ...

    def modify(self, fd: int, eventmask: int) -> None: ...

    def unregister(self, fd: int) -> None:
        """OSError or KeyError where it is not registered."""

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """Those that are ready, with READ, WRITE or both; none when the time is over."""
        ...

    def close(self) -> None: ...


class Wake:
    """A connection to oneself, by which other threads end a wait."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self.fd = self._read.fileno()

    def set(self) -> None:
        with contextlib.suppress(OSError):  # full, so it is set already; or closed
            self._write.send(b".")

    def clear(self) -> None:
        with contextlib.suppress(OSError):
            self._read.recv(4096)

    def close(self) -> None:
        self._read.close()
        self._write.close()


def make() -> Poller:
    """The one of this system."""
    return select.epoll() if HAS_EPOLL else SelectPoller()


class SelectPoller:
    """With select, which knows nothing of changes: each ends the wait, and it begins anew."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}
        self._lock = threading.Lock()
        self._changed = Wake()

    def register(self, fd: int, eventmask: int) -> None:
        with self._lock:
            self._wanted[fd] = eventmask
        self._changed.set()

    modify = register

    def unregister(self, fd: int) -> None:
        with self._lock:
            del self._wanted[fd]
        self._changed.set()

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                read = [fd for fd, wanted in self._wanted.items() if wanted & READ]
                write = [fd for fd, wanted in self._wanted.items() if wanted & WRITE]
            left = None if end is None else max(end - time.monotonic(), 0)
            try:
                readable, writable, _ = select.select([self._changed.fd, *read], write, [], left)
            except (OSError, ValueError):  # one of them has been closed
                time.sleep(AFTER_ERROR)
                readable, writable = [], []
            if self._changed.fd in readable:
                self._changed.clear()
                readable.remove(self._changed.fd)
            ready = dict.fromkeys(readable, READ)
            for fd in writable:
                ready[fd] = ready.get(fd, 0) | WRITE
            if ready or (end is not None and time.monotonic() >= end):
                return list(ready.items())

    def close(self) -> None:
        self._changed.close()

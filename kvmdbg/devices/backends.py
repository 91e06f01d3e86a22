"""What a serial port is connected to, beside the console: a file, a pseudo-terminal, a TCP port on loopback."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    import socket

Feed = Callable[[bytes], int]
"""Takes bytes for the guest, and says how many wait now until it reads them."""
AHEAD = 1 << 16
"""How many bytes are read ahead of the guest."""


class Backend:
    """``where`` says where it is; ``write`` takes what the guest sends; ``listen`` gives on what comes in."""

    where = "stdio"
    closed = False
    tell: Callable[[str], None]
    """Told once when what the guest sends cannot be written any more."""

    def __init__(self) -> None:
        self.tell = lambda text: None

    def write(self, data: bytes) -> None:
        """Bytes from the guest; dropped where nobody reads them."""

    def listen(self, feed: Feed) -> None:
        """Give bytes from outside to ``feed``, on a thread of its own."""

    def wanted(self) -> None:
        """The guest looks for input; on its vCPU's thread, whenever it does."""

    def give(self, feed: Feed, data: bytes) -> None:
        """Give them, and wait until there is room for more."""
        unread = feed(data)
        while unread > AHEAD and not self.closed:
            time.sleep(0.02)
            unread = feed(b"")

    def close(self) -> None:
        """Give it back to the host."""


class Stdio(Backend):
    """The console: whoever runs the session shows what the guest sends, and may give it a file to read.

    Nothing is read from that before the guest looks for input: it may be the input of others, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._feed: Feed | None = None
        self._source: int | None = None

    def listen(self, feed: Feed) -> None:
        self._feed = feed

    def take_input(self, source: int) -> None:
        """What can be read from this file descriptor is for the guest."""
        self._source = source

    def wanted(self) -> None:
        source, self._source = self._source, None
        if source is not None and self._feed is not None:
            threading.Thread(target=self._copy, args=(source, self._feed), name="kvmdbg-serial", daemon=True).start()

    def _copy(self, source: int, feed: Feed) -> None:
        """Read until the end, not far ahead of the guest. A terminal that another job has now gives nothing."""
        if hasattr(signal, "SIGTTIN"):  # reading fails then, instead of stopping kvmdbg
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN})
        with suppress(OSError):
            while data := os.read(source, 4096):
                self.give(feed, data)


class File(Backend):
    """Everything that is sent goes into a file."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self._lost = False
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115  closed by close()
        except OSError as error:
            raise UsageError(f"--serial: cannot write {path}: {error.strerror}") from None
        self.where = f"file {path}"

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self._lost:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self._lose(error)

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # some file systems tell only now that there was no room
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if not self._lost:
            self._lost = True
            self.tell(f"--serial: cannot write {self.path}: {error.strerror}; what the guest sends is lost")


class Pty(Backend):
    """A pseudo-terminal, for screen, minicom or picocom."""

    def __init__(self) -> None:
        super().__init__()
        try:
            import tty
        except ImportError:
            raise UsageError("--serial: this system has no pseudo-terminals; tcp:PORT works there") from None

        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._reader: threading.Thread | None = None
        self.where = f"terminal {os.ttyname(self._slave)}"

    def write(self, data: bytes) -> None:
        with suppress(OSError):  # nobody reads, and its buffer is full
            os.write(self._master, data)

    def listen(self, feed: Feed) -> None:
        def read() -> None:
            import select

            while not self.closed:
                ready, _, _ = select.select([self._master], [], [], 0.2)
                if ready and not self.closed:
                    with suppress(OSError):
                        self.give(feed, os.read(self._master, 4096))
            os.close(self._master)

        self._reader = threading.Thread(target=read, name="kvmdbg-serial", daemon=True)
        self._reader.start()

    def close(self) -> None:
        self.closed = True
        os.close(self._slave)
        if self._reader is None:
            os.close(self._master)


class Tcp(Backend):
    """A TCP port on loopback, one client at a time."""

    def __init__(self, port: int) -> None:
        super().__init__()
        import socket

        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._server.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            self._server.close()
            raise UsageError(f"--serial: cannot listen at port {port} of 127.0.0.1: {error}") from None
        self._server.listen(1)
        self._client: socket.socket | None = None
        self.where = f"tcp 127.0.0.1:{self._server.getsockname()[1]}"

    def write(self, data: bytes) -> None:
        client = self._client
        if client is not None:
            try:
                client.sendall(data)
            except OSError:
                from socket import SHUT_RDWR

                with suppress(OSError):
                    client.shutdown(SHUT_RDWR)

    def listen(self, feed: Feed) -> None:
        def serve() -> None:
            while True:
                try:
                    client, _ = self._server.accept()
                except OSError:
                    return
                client.settimeout(5)  # of sending: who does not read for so long is let go
                self._client = client
                with client, suppress(OSError):
                    while True:
                        try:
                            data = client.recv(4096)
                        except TimeoutError:
                            continue
                        if not data:
                            break
                        self.give(feed, data)
                self._client = None

        threading.Thread(target=serve, name="kvmdbg-serial", daemon=True).start()

    def close(self) -> None:
        from socket import SHUT_RDWR

        self.closed = True
        with suppress(OSError):
            self._server.shutdown(SHUT_RDWR)
        self._server.close()
        client = self._client
        if client is not None:
            with suppress(OSError):
                client.shutdown(SHUT_RDWR)


def backend(text: str) -> Backend:
    """``stdio``, ``none``, ``file:PATH``, ``pty`` or ``tcp:PORT`` (0: any free one). UsageError."""
    kind, _, rest = text.partition(":")
    if text == "stdio":
        return Stdio()
    if text == "none":
        found = Backend()
        found.where = "nothing"
        return found
    if text == "pty":
        return Pty()
    if kind == "file" and rest:
        return File(rest)
    if kind == "tcp" and rest.isdigit():
        return Tcp(int(rest))
    raise UsageError(f"--serial takes stdio, none, file:PATH, pty or tcp:PORT, not {text!r}")

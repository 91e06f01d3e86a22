"""What a serial port is connected to, beside the console: a file, a pseudo-terminal, a TCP port on loopback."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    import socket

Feed = Callable[[bytes], None]


class Backend:
    """``where`` says where it is; ``write`` takes what the guest sends; ``listen`` gives on what comes in."""

    where = "stdio"

    def write(self, data: bytes) -> None:
        """Bytes from the guest; dropped where nobody reads them."""

    def listen(self, feed: Feed) -> None:
        """Give bytes from outside to ``feed``, on a thread of its own."""

    def close(self) -> None:
        """Give it back to the host."""


class File(Backend):
    """Everything that is sent goes into a file."""

    def __init__(self, path: str) -> None:
        try:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115  closed by close()
        except OSError as error:
            raise UsageError(f"--serial: cannot write {path}: {error.strerror}") from None
        self.where = f"file {path}"

    def write(self, data: bytes) -> None:
        with suppress(OSError):
            self._file.write(data)

    def close(self) -> None:
        self._file.close()


class Pty(Backend):
    """A pseudo-terminal, for screen, minicom or picocom."""

    def __init__(self) -> None:
        import tty

        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.where = f"terminal {os.ttyname(self._slave)}"
        self._closed = False

    def write(self, data: bytes) -> None:
        with suppress(OSError):  # nobody reads, and its buffer is full
            os.write(self._master, data)

    def listen(self, feed: Feed) -> None:
        def read() -> None:
            import select

            while not self._closed:
                ready, _, _ = select.select([self._master], [], [], 0.2)
                if ready and not self._closed:
                    with suppress(OSError):
                        feed(os.read(self._master, 4096))

        threading.Thread(target=read, name="kvmdbg-serial", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        os.close(self._slave)


class Tcp(Backend):
    """A TCP port on loopback, one client at a time."""

    def __init__(self, port: int) -> None:
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
            with suppress(OSError):
                client.sendall(data)

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
                        feed(data)
                self._client = None

        threading.Thread(target=serve, name="kvmdbg-serial", daemon=True).start()

    def close(self) -> None:
        from socket import SHUT_RDWR

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
        return Backend()
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

"""Where a server listens, and who is at the other end of a connection."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


@dataclass(frozen=True)
class Address:
    """Where to listen: a TCP ``host`` and ``port``, a Unix socket at ``path``, or with neither stdin and stdout."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """``PORT``, ``:PORT`` (both loopback), ``HOST:PORT``, ``[IPv6]:PORT``, ``unix:PATH`` or ``stdio``."""
        if text == "stdio":
            return cls()
        if text.startswith("unix:"):
            if not text[5:]:
                raise ValueError("unix: needs the path of a socket")
            return cls(path=text[5:])
        host, _, port = text.rpartition(":")
        if not port.isdigit() or int(port) > 65535:
            raise ValueError(f"'{text}' is no PORT, HOST:PORT, unix:PATH or stdio")
        return cls(host.strip("[]") or LOOPBACK, int(port))

    @property
    def stdio(self) -> bool:
        return not self.host and not self.path

    @property
    def exposed(self) -> bool:
        """Whether other machines can reach it."""
        return bool(self.host) and not is_loopback(self.host)

    @property
    def remote(self) -> str:
        """What gdb's ``target remote`` takes for it."""
        return self.path or str(self)

    def __str__(self) -> str:
        if self.stdio:
            return "stdio"
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_unix(connection: socket.socket) -> bool:
    return connection.family == getattr(socket, "AF_UNIX", None)


def peer_of(connection: socket.socket) -> str:
    """Who is at the other end: "from ADDRESS", or of a Unix socket "process NUMBER"."""
    with contextlib.suppress(OSError):
        if _is_unix(connection):
            if not hasattr(socket, "SO_PEERCRED"):
                return "of this machine"
            process, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return f"process {process}"
        host, port = connection.getpeername()[:2]
        return f"from {Address(host, port)}"
    return "who is gone"


def is_local(connection: socket.socket) -> bool:
    """Whether the other side is on this machine."""
    if _is_unix(connection):
        return True
    with contextlib.suppress(OSError):
        return is_loopback(connection.getpeername()[0])
    return False


def answers(path: str) -> bool:
    """Whether somebody listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True

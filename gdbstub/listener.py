"""The socket at which a server takes connections."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from gdbstub.address import Address, answers


class Listener:
    """A listening socket at ``address``; OSError where that is not possible.

    ``address`` has the port that the system gave where it was asked for any.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        if address.path:
            self._socket = _unix(address.path)
        else:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            self._socket = socket.create_server((address.host, address.port), family=family)
            self.address = Address(address.host, self._socket.getsockname()[1])

    def fileno(self) -> int:
        return self._socket.fileno()

    def accept(self) -> socket.socket | None:
        """The next connection; None where it has gone already, or no more files can be opened."""
        try:
            return self._socket.accept()[0]
        except OSError:
            return None

    def close(self) -> None:
        self._socket.close()
        if self.address.path:
            with contextlib.suppress(OSError):
                os.unlink(self.address.path)


def _unix(path: str) -> socket.socket:
    """A socket of the name ``path``, which takes the place of one that nobody listens at."""
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets")
    with contextlib.suppress(OSError):
        if stat.S_ISSOCK(os.stat(path).st_mode) and not answers(path):
            os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    hidden = os.path.join(os.path.dirname(path), f".{os.getpid():x}-{id(listener) & 0xFFFF:x}")
    try:  # whoever sees the socket's name may connect at once
        listener.bind(hidden)
        os.chmod(hidden, 0o600)
        listener.listen()
        os.link(hidden, path)
    except OSError:
        listener.close()
        raise
    finally:
        with contextlib.suppress(OSError):
            os.unlink(hidden)
    return listener

"""Clients that come while another one is attached are told so, and turned away."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from gdbstub.wire import Wire

ASKS_WITHIN, GOES_ON_FOR, MOST_AT_ONCE = 30, 2, 16
"""Seconds that such a client has to ask, and to go on asking; how many of them may be there."""
LOOKS_UP = 0.5
"""Seconds after which a thread that waits for such a client sees that the server closes."""


class Refusal:
    """Answers each of them on a thread of its own, until ``closing``."""

    def __init__(self, closing: Callable[[], bool]) -> None:
        self._closing = closing
        self._places = threading.Semaphore(MOST_AT_ONCE)

    def give(self, connection: socket.socket, attached: str) -> None:
        """Answer whatever is asked there with who is ``attached``, and close when the client has gone or asks no more.

        Not before it asks: no client expects that, or shows it.
        """
        if self._places.acquire(blocking=False):
            reply = f"E.another debugger is attached, {attached}".encode()
            threading.Thread(target=self._answer, args=(connection, reply), name="gdbstub-refuse", daemon=True).start()
        else:
            connection.close()

    def _answer(self, connection: socket.socket, reply: bytes) -> None:
        wire = Wire()
        end = time.monotonic() + ASKS_WITHIN
        asked = False
        with contextlib.suppress(OSError), connection:
            connection.settimeout(LOOKS_UP)
            while time.monotonic() < end and not self._closing():
                try:
                    data = connection.recv(4096)
                except TimeoutError:
                    continue
                packets = [event for event in wire.feed(data) if isinstance(event, bytes)]
                # lldb begins with QStartNoAckMode: no answer to that is shown, it would wait for ever; an end it tells
                if not data or (not asked and packets[:1] == [b"QStartNoAckMode"]):
                    break
                for _ in packets:
                    wire.send(reply)
                if packets and not asked:
                    asked, end = True, time.monotonic() + GOES_ON_FOR
                connection.sendall(wire.take())
        self._places.release()

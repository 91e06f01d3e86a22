"""The guest's serial port: what it sends, and what is sent to it, whatever it is connected to."""

from __future__ import annotations

from kvmdbg.devices.backends import Stdio, backend
from kvmdbg.devices.uart import Uart
from kvmdbg.engine.listeners import Listeners
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board

KEPT = 16 << 20
"""Bytes of what the guest has sent last that are kept at least, and at most twice as many."""


class SerialPort:
    """Connected as ``where`` says (``--serial``); UsageError for one that cannot be."""

    def __init__(self, where: str, listeners: Listeners) -> None:
        self.output = bytearray()
        """What the guest has sent: all of it, or the last of it."""
        self._listeners = listeners
        self._backend = backend(where)
        self._backend.tell = listeners.tell_warning
        self.uart: Uart

    def attach(self, board: Board) -> Uart:
        """A new machine's UART, connected here."""
        self.uart = Uart(self._sent, board, self._backend.where)
        self.uart.wanted = self._backend.wanted
        return self.uart

    def listen(self) -> None:
        """From now on what comes in goes to the guest."""
        self._backend.listen(self._received)

    def close(self) -> None:
        self._backend.close()

    def _sent(self, data: bytes) -> None:
        if self._backend.where == "stdio":
            self.show(data)
        else:
            self._keep(data)
            self._backend.write(data)

    def show(self, data: bytes) -> None:
        """Something that the guest says to its user, by this port or by a debug console."""
        self._keep(data)
        self._listeners.tell_output(data)

    def _keep(self, data: bytes) -> None:
        self.output += data
        if len(self.output) > 2 * KEPT:
            del self.output[:-KEPT]

    def take_input(self, source: int) -> None:
        """Give the guest's serial port what can be read from a file descriptor, if it is connected to stdio."""
        if isinstance(self._backend, Stdio):
            self._backend.take_input(source)

    @property
    def takes_keys(self) -> bool:
        """Whether it is connected to stdio, and the guest looks for input there."""
        return isinstance(self._backend, Stdio) and self.uart.looks_for_input

    def type(self, data: bytes) -> None:
        """Bytes that were typed for the guest."""
        self._received(data)

    def _received(self, data: bytes) -> int:
        """What comes in there; how much of it the guest has yet to read."""
        try:
            return self.uart.feed(data)
        except UsageError:  # the guest is given what was recorded
            return 0
        except Exception as error:
            self._listeners.unforeseen(error)
            return 0

"""What the guest has sent to its serial port, for the full screen: its console, and the log between commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.ui.panes import Line, console_lines

if TYPE_CHECKING:
    from kvmdbg.engine.serial_port import SerialPort


class Heard:
    """The part of it that the log has not taken yet."""

    def __init__(self, serial: SerialPort) -> None:
        self._serial = serial
        self._taken = len(serial.output)

    def lines(self, width: int) -> list[Line]:
        """What there is of it now."""
        if len(self._serial.output) < self._taken:  # the guest was made anew
            self._taken = 0
        new = bytes(self._serial.output[self._taken :])
        return console_lines(new.removesuffix(b"\n").removesuffix(b"\r"), width) if new else []

    def console(self, width: int) -> list[Line]:
        """All of it, or the last of it."""
        return console_lines(self._serial.output, width)

    def take(self, width: int) -> list[Line]:
        """The same; from now on only what comes later is new."""
        found = self.lines(width)
        self._taken = len(self._serial.output)
        return found

"""Switching off and resetting without ACPI: the ports at which emulators and chipsets take it.

0x604 (QEMU), 0xB004 (Bochs, older QEMU) and 0x4004 (VirtualBox) switch off; 0xCF9 (PIIX reset control) and 0x92 (system
control port A, which also switches A20) reset.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import GuestEnd

OFF = {0x604: 0x2000, 0xB004: 0x2000, 0x4004: 0x3400}
SLEEP, ACPI_MODE = 0x3C00, 1
"""Of ACPI's control register: the state to go to, and that it is there."""
CONTROL = 0x604
RESET_CONTROL, CONTROL_A = 0xCF9, 0x92
A20 = 2
"""Of system control port A: address line 20 works."""


@device
class Power:
    """power: ports that switch the machine off or reset it; either ends the guest with status 0."""

    name = "power"
    options: ClassVar[dict[str, int]] = {"iobase": 0x604, "iosize": 2}
    standard = True
    ports: ClassVar[tuple[int, ...]] = (*OFF, RESET_CONTROL, CONTROL_A)

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self.control_a = A20
        self.reset_control = 0

    def read(self, port: int, size: int) -> int:
        if port == CONTROL_A:
            return self.control_a
        if port == RESET_CONTROL:
            return self.reset_control
        return ACPI_MODE if port == CONTROL and not self._board.firmware else 0

    def write(self, port: int, size: int, value: int) -> GuestEnd | None:
        if port in OFF and value & SLEEP == OFF[port]:
            return GuestEnd(0, f"it switched the machine off (port {port:#x})")
        if port == RESET_CONTROL:
            self.reset_control = value
            if value & 4:
                return GuestEnd(0, f"it asked for a reset (port {port:#x})")
        if port == CONTROL_A:
            self.control_a = value & ~1
            self._board.set_a20(bool(value & A20))
            if value & 1:
                return GuestEnd(0, f"it asked for a reset (port {port:#x})")
        return None

    def describe(self) -> str:
        return "switches off at ports 0x604, 0xb004, 0x4004, resets at 0xcf9, 0x92"

    def save(self) -> Any:
        return [self.control_a, self.reset_control, self._board.a20]

    def load(self, state: Any) -> None:
        self.control_a, self.reset_control, a20 = state
        self._board.set_a20(a20)

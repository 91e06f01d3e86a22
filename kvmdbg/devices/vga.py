"""The registers of a VGA adapter in text mode, at ports 0x3C0 to 0x3DF; its text lies in RAM at 0xB8000.

As much as a guest needs that moves the cursor and scrolls by the start address (IBM VGA, CRT controller registers 0x0C
to 0x0F). Graphics modes are not drawn.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board

TEXT = 0xB8000
COLUMNS, ROWS = 80, 25
SHOWN = dict(enumerate(" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼")) | {127: "⌂"}
"""What a VGA adapter draws for the characters that code page 437 shares with ASCII's control characters."""
CRTC_INDEX, CRTC_DATA, STATUS = 0x14, 0x15, 0x1A
START, CURSOR = 0x0C, 0x0E


@device
class Vga:
    """vga: cursor and start address of the text screen at 0xB8000, which `screen` shows."""

    name = "vga"
    options: ClassVar[dict[str, int]] = {"iobase": 0x3C0, "iosize": 32}
    standard = True

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.index = 0
        self.crtc = bytearray(32)
        self.registers = bytearray(32)
        self.retrace = False

    @property
    def cursor(self) -> int:
        """The character the cursor is on, counted from the start of text memory."""
        return self.crtc[CURSOR] << 8 | self.crtc[CURSOR + 1]

    @property
    def start(self) -> int:
        """The character at the screen's upper left."""
        return self.crtc[START] << 8 | self.crtc[START + 1]

    def read(self, offset: int, size: int) -> int:
        value = 0
        for n in range(size):
            value |= self._read(offset + n) << 8 * n
        return value

    def _read(self, offset: int) -> int:
        if offset == CRTC_INDEX:
            return self.index
        if offset == CRTC_DATA:
            return self.crtc[self.index & 31]
        if offset == STATUS:  # whoever waits for the retrace, or for its end, goes on
            self.retrace = not self.retrace
            return 9 if self.retrace else 0
        return self.registers[offset] if offset < 32 else 0xFF

    def write(self, offset: int, size: int, value: int) -> None:
        for n in range(size):
            self._write(offset + n, value >> 8 * n & 0xFF)

    def _write(self, offset: int, value: int) -> None:
        if offset == CRTC_INDEX:
            self.index = value
        elif offset == CRTC_DATA:
            self.crtc[self.index & 31] = value
        elif offset < 32:
            self.registers[offset] = value

    def describe(self) -> str:
        return f"VGA text at {TEXT:#x}, cursor at row {self.cursor // COLUMNS}, column {self.cursor % COLUMNS}"

    def details(self) -> dict[str, str]:
        return {
            "cursor": f"row {self.cursor // COLUMNS}, column {self.cursor % COLUMNS}",
            "start": f"{self.start:#x}",
            "crtc": self.crtc.hex(" "),
        }

    def save(self) -> Any:
        return [self.index, bytes(self.crtc), bytes(self.registers), self.retrace]

    def load(self, state: Any) -> None:
        self.index, crtc, registers, self.retrace = state
        self.crtc, self.registers = bytearray(crtc), bytearray(registers)

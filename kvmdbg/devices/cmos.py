"""CMOS memory and its real-time clock, at ports 0x70 and 0x71.

Registers: Motorola MC146818A data sheet; what firmware keeps in the memory: Ralf Brown's list of CMOS registers, as
QEMU's pc_cmos_init fills it. The clock is the host's, in UTC; its interrupts are not made.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from kvmdbg.devices.cmos_drives import drive_settings
from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board

STATUS_A, STATUS_B, STATUS_C, STATUS_D = 10, 11, 12, 13
B_BINARY, B_24 = 4, 2
CENTURY = 0x32
KIB, MIB = 1 << 10, 1 << 20


@device
class Cmos:
    """cmos: memory size and date, at ports 0x70 and 0x71."""

    name = "cmos"
    options: ClassVar[dict[str, int]] = {"iobase": 0x70, "iosize": 2}
    standard = True

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._memory = board.memory
        self.index = 0
        self.data = bytearray(128)
        self.data[STATUS_A], self.data[STATUS_B], self.data[STATUS_D] = 0x26, B_24, 0x80
        below = min(self._memory, 0xC0000000)
        self._word(0x15, 640)
        extended = min(max(below - MIB, 0) // KIB, 0xFFFF)
        self._word(0x17, extended)
        self._word(0x30, extended)
        self._word(0x34, min(max(below - 16 * MIB, 0) // (64 * KIB), 0xFFFF))
        above = (self._memory - below) // (64 * KIB)
        self.data[0x5B:0x5E] = min(above, 0xFFFFFF).to_bytes(3, "little")
        for at, value in drive_settings(board).items():
            self.data[at] = value

    def _word(self, at: int, value: int) -> None:
        self.data[at : at + 2] = value.to_bytes(2, "little")

    def read(self, offset: int, size: int) -> int:
        return 0xFF if offset == 0 else self._register(self.index)

    def _register(self, index: int) -> int:
        now = time.gmtime()
        clock = {
            0: now.tm_sec, 2: now.tm_min, 4: now.tm_hour, 6: (now.tm_wday + 1) % 7 + 1, 7: now.tm_mday, 8: now.tm_mon,
            9: now.tm_year % 100, CENTURY: now.tm_year // 100,
        }  # fmt: skip
        if index not in clock:
            return self.data[index]
        value, pm = clock[index], 0
        if index == 4 and not self.data[STATUS_B] & B_24:
            pm = 0x80 if value >= 12 else 0
            value = value % 12 or 12
        return (value if self.data[STATUS_B] & B_BINARY else value // 10 << 4 | value % 10) | pm

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self.index = value & 0x7F
        elif self.index not in (STATUS_C, STATUS_D):
            self.data[self.index] = value & 0xFF

    def describe(self) -> str:
        return f"CMOS memory and clock, index {self.index:#04x}"

    def details(self) -> dict[str, str]:
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        rows = {f"{at:#04x}": self.data[at : at + 16].hex(" ") for at in range(0, 128, 16)}
        return {"clock": now, "index": f"{self.index:#04x}", **rows}

    def save(self) -> Any:
        return [self.index, bytes(self.data)]

    def load(self, state: Any) -> None:
        self.index, data = state
        self.data = bytearray(data)

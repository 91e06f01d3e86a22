"""What the PIIX4 has of ACPI: the power management timer, by which firmware waits, and the event registers before it.

Sources: Intel 82371AB PIIX4 data sheet (290562), section 7 (PMBA, PMREGMISC); ACPI specification 6.4, sections 4.8.2.1
(timer), 4.8.3.1 (PM1 events). The control register behind the events is one of the ports of devices/power.py.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.pci import POWER_MANAGEMENT
from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board
from kvmdbg.machine.guest_time import SECOND

BASES = (0x600, 0xB000, 0xE400)
"""Where firmware puts the registers: SeaBIOS and coreboot, OVMF, U-Boot."""
BLOCK = 0x40
STATUS, ENABLE, TIMER = 0, 2, 8
TIMER_HZ, TIMER_BITS = 3_579_545, 24
CARRIED = 1
"""Of the status register: the timer's highest bit has changed."""


@device
class AcpiPm:
    """acpi-pm: the ACPI timer and event registers of a PIIX4; it raises no interrupt."""

    name = "acpi-pm"
    options: ClassVar[dict[str, int]] = {"iobase": BASES[0], "iosize": BLOCK}
    ports: ClassVar[tuple[int, ...]] = tuple(base + at for base in BASES for at in (0, 1, 2, 3, 8, 9, 10, 11))

    @staticmethod
    def belongs_to(board: Board) -> bool:
        return board.firmware

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self.enabled = 0
        self._seen = 0
        """How often the timer's highest bit had changed when its status bit was cleared last."""

    def _decodes(self, port: int) -> bool:
        """Whether the registers are switched on, and lie at this port. Only firmware finds them elsewhere, or off."""
        if not self._board.firmware:
            return port & -BLOCK == BASES[0]
        seen = self._board.pci.get(POWER_MANAGEMENT)
        return seen is not None and bool(seen.space[0x80] & 1) and seen.number(0x40, 2) & ~1 == port & -BLOCK

    @property
    def ticks(self) -> int:
        """What the timer has counted since the machine started."""
        return self._board.time.now() * TIMER_HZ // SECOND

    def _registers(self) -> int:
        """The block's first 12 bytes."""
        ticks = self.ticks
        carried = CARRIED if ticks >> TIMER_BITS - 1 != self._seen else 0
        timer = ticks & (1 << TIMER_BITS) - 1
        return carried | self.enabled << 8 * ENABLE | timer << 8 * TIMER

    def read(self, port: int, size: int) -> int:
        ones = (1 << 8 * size) - 1
        return self._registers() >> 8 * (port % BLOCK) & ones if self._decodes(port) else ones

    def write(self, port: int, size: int, value: int) -> None:
        at = port % BLOCK
        if not self._decodes(port):
            return
        if at == STATUS and value & CARRIED:
            self._seen = self.ticks >> TIMER_BITS - 1
        for place in range(max(at, ENABLE), min(at + size, ENABLE + 2)):
            shift = 8 * (place - ENABLE)
            self.enabled = self.enabled & ~(0xFF << shift) | (value >> 8 * (place - at) & 0xFF) << shift

    def describe(self) -> str:
        return f"ACPI timer, {TIMER_HZ} Hz"

    def details(self) -> dict[str, str]:
        return {"timer": f"{self.ticks & (1 << TIMER_BITS) - 1:#x}", "enabled events": f"{self.enabled:#x}"}

    def save(self) -> Any:
        return [self.enabled, self._seen]

    def load(self, state: Any) -> None:
        self.enabled, self._seen = state

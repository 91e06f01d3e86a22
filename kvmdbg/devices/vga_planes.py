"""The 256 KiB of a VGA adapter's memory as the CPU sees them at 0xA0000: planes, latches, write and read modes.

Source: IBM PS/2 Hardware Interface Technical Reference, video subsystem: sequencer and graphics controller.
"""

from __future__ import annotations

SIZE = 0x10000
"""Bytes of each of the four planes."""
SPREAD = tuple(sum(0xFF << 8 * plane for plane in range(4) if bits >> plane & 1) for bits in range(16))
"""For a bit each plane: all bits of that plane's byte."""
EVERY = 0x01010101
MAP_MASK, MEMORY_MODE = 2, 4
SET_RESET, ENABLE_SET_RESET, COMPARE, ROTATE, READ_MAP, MODE, MISCELLANEOUS, DONT_CARE, BIT_MASK = range(9)
CHAIN_4, NOT_ODD_EVEN = 8, 4
"""In the sequencer's memory mode."""
READ_COMPARES = 8
"""In the graphics controller's mode."""


class Planes:
    """Planes 0 to 3; byte ``4 * address + plane`` of ``memory``. The registers are those of the adapter itself."""

    def __init__(self, sequencer: bytearray, graphics: bytearray) -> None:
        self._sequencer = sequencer
        self._graphics = graphics
        self.memory = bytearray(4 * SIZE)
        self._quads = memoryview(self.memory).cast("I")
        self.latches = 0

    def plane(self, number: int, start: int, size: int) -> bytes:
        """``size`` bytes of one plane."""
        return bytes(self.memory[4 * start + number : 4 * (start + size) : 4])

    def read(self, address: int) -> int:
        """A byte as the CPU reads it, which fills the latches."""
        graphics = self._graphics
        if self._sequencer[MEMORY_MODE] & CHAIN_4:
            self.latches = self._quads[address >> 2]
            return self.memory[address]
        plane = graphics[READ_MAP] & 3
        if not self._sequencer[MEMORY_MODE] & NOT_ODD_EVEN:
            plane = plane & 2 | address & 1
            address &= ~1
        self.latches = latches = self._quads[address]
        if not graphics[MODE] & READ_COMPARES:
            return latches >> 8 * plane & 0xFF
        other = (latches ^ SPREAD[graphics[COMPARE] & 15]) & SPREAD[graphics[DONT_CARE] & 15]
        return ~(other | other >> 8 | other >> 16 | other >> 24) & 0xFF

    def write(self, address: int, value: int) -> None:
        """A byte that the CPU writes."""
        planes = self._sequencer[MAP_MASK] & 15
        memory_mode = self._sequencer[MEMORY_MODE]
        if memory_mode & CHAIN_4:
            if planes >> (address & 3) & 1:
                self.memory[address] = value
            return
        if not memory_mode & NOT_ODD_EVEN:
            planes &= 0xA if address & 1 else 5
            address &= ~1
        graphics = self._graphics
        mode = graphics[MODE] & 3
        mask = SPREAD[planes]
        if mode == 1:
            new = self.latches
        else:
            bits = graphics[BIT_MASK]
            if mode == 2:
                new = SPREAD[value & 15]
            else:
                turned = graphics[ROTATE] & 7
                value = (value >> turned | value << 8 - turned) & 0xFF
                if mode == 3:
                    bits &= value
                    new = SPREAD[graphics[SET_RESET] & 15]
                else:
                    fixed = SPREAD[graphics[ENABLE_SET_RESET] & 15]
                    new = value * EVERY & ~fixed | SPREAD[graphics[SET_RESET] & 15] & fixed
            function = graphics[ROTATE] >> 3 & 3
            if function == 1:
                new &= self.latches
            elif function == 2:
                new |= self.latches
            elif function == 3:
                new ^= self.latches
            if bits != 0xFF:
                bits *= EVERY
                new = new & bits | self.latches & ~bits
        self._quads[address] = new if planes == 15 else self._quads[address] & ~mask | new & mask

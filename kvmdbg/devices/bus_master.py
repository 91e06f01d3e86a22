"""The bus master of one IDE channel: it moves data between a drive and memory by a table that lies there.

Source: Intel 82371SB PIIX3 data sheet (290550), sections 2.7 and 3.5: command, status, and the address of the table of
physical regions, each 8 bytes: address, size (0 is 64 KiB), and a bit that says that it is the last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kvmdbg.devices.ata_drive import Drive, Registers
from kvmdbg.errors import MemoryFault
from kvmdbg.machine.board import Board

COMMAND, STATUS, TABLE = 0, 2, 4
START, TO_MEMORY = 1, 8
"""In the command register."""
ACTIVE, ERROR, INTERRUPT, CAN_DMA = 1, 2, 4, 0x60
"""In the status register."""
LAST = 0x8000
ENTRY, REGIONS_END = 8, 0x10000
"""A table does not cross 64 KiB."""


class BusMaster:
    def __init__(self, board: Board, drives: Sequence[Drive | None]) -> None:
        self._board = board
        self._drives = drives
        self.command = self.status = self.table = 0

    def read(self, at: int, size: int) -> int:
        whole = self.command | self.status << 16 | self.table << 32
        return whole >> 8 * at & (1 << 8 * size) - 1

    def write(self, registers: Registers, at: int, size: int, value: int) -> None:
        if at >= TABLE:
            shift = 8 * (at - TABLE)
            ones = (1 << 8 * size) - 1 << shift
            self.table = (self.table & ~ones | value << shift & ones) & 0xFFFFFFFC
            return
        for place in range(at, min(at + size, TABLE)):
            byte = value >> 8 * (place - at) & 0xFF
            if place == COMMAND:
                self._start(registers, byte)
            elif place == STATUS:
                self.status = byte & CAN_DMA | self.status & ACTIVE | self.status & ~byte & (ERROR | INTERRUPT)

    def _start(self, registers: Registers, value: int) -> None:
        began = value & START and not self.command & START
        self.command = value & (START | TO_MEMORY)
        if not value & START:
            self.status &= ~ACTIVE
        elif began:
            self.status |= ACTIVE
            self.move(registers)

    def move(self, registers: Registers) -> None:
        """Move what a drive waits for, once it has been started; it takes no time."""
        drive = next((one for one in self._drives if one is not None and one.waits_for), None)
        if drive is None or not self.command & START or not self.status & ACTIVE:
            return
        to_memory = drive.waits_for == "read"
        if to_memory != bool(self.command & TO_MEMORY):
            return  # the drive waits for ever, as it does on a PC
        size = drive.dma_size()
        try:
            regions = list(self._regions(size))
            if to_memory:
                data = drive.dma_read(registers)
                if data is None:
                    self.status |= ERROR
                    return
                for address, start, end in regions:
                    self._board.dma.write(address, data[start:end])
                self._ended()
                drive.done()
            else:
                parts = b"".join(self._board.dma.read(address, end - start) for address, start, end in regions)
                self._ended()
                drive.dma_write(registers, parts)
        except MemoryFault:
            self.status = self.status & ~ACTIVE | ERROR
            drive.abort()

    def _ended(self) -> None:
        self.status &= ~ACTIVE

    def _regions(self, size: int) -> Iterator[tuple[int, int, int]]:
        """Address, and which bytes of ``size`` lie there. MemoryFault where the table has too few."""
        at, done = self.table, 0
        while done < size:
            entry = self._board.dma.read(at, ENTRY)
            address = int.from_bytes(entry[:4], "little") & 0xFFFFFFFE
            length = (int.from_bytes(entry[4:6], "little") & 0xFFFE) or REGIONS_END
            end = min(done + length, size)
            yield address, done, end
            done = end
            at += ENTRY
            is_last = int.from_bytes(entry[6:8], "little") & LAST
            if done < size and (is_last or at % REGIONS_END == 0):
                raise MemoryFault(at)

    def interrupted(self) -> None:
        """The drive has raised its interrupt."""
        self.status |= INTERRUPT

    def in_words(self) -> str:
        return f"command {self.command:#04x}, status {self.status:#04x}, table at {self.table:#x}"

    def save(self) -> Any:
        return [self.command, self.status, self.table]

    def load(self, state: Any) -> None:
        self.command, self.status, self.table = state

"""IDE controllers at their ISA ports, with hard disks and a CD drive: PIO, and DMA by the bus master.

ATA/ATAPI-6 (T13/1410D): registers in chapter 7, commands in chapter 8, protocols in chapter 9. ``hd0`` and ``hd1`` are
on the first channel, the CD is the first drive of the second one.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.ata_drive import (
    BUSY,
    COMMAND,
    DATA,
    DEVICE,
    DEVICE_SLAVE,
    ERROR,
    REQUEST,
    STATUS,
    Drive,
    HardDisk,
    Registers,
)
from kvmdbg.devices.atapi import CdDrive
from kvmdbg.devices.bus_master import BusMaster
from kvmdbg.devices.pci import BUS_MASTER, BUS_MASTER_BAR, BUS_MASTER_SIZE, IDE
from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board

CHANNELS = ((0x1F0, 0x3F6, 14), (0x170, 0x376, 15))
"""First port of the command block, port of the control block, IRQ."""
CONTROL = 8
"""The control block's port among the offsets of a channel."""
NO_INTERRUPTS, SOFT_RESET, HIGH_ORDER = 2, 4, 0x80
"""Bits of Device Control."""
DEVICE_RESET, DIAGNOSTIC = 0x08, 0x90


class Channel:
    """Two drives, either of which may be missing, that share registers and an interrupt line."""

    def __init__(self, board: Board, irq: int, drives: list[Drive | None]) -> None:
        self._board = board
        self._irq = irq
        self.drives = drives
        self.registers = Registers()
        self.control = 0
        self.interrupt = False
        self.master = BusMaster(board, drives)
        for one in drives:
            if one is not None:
                one.interrupt = self._interrupt
        self._reset()

    @property
    def drive(self) -> Drive | None:
        """The one that is selected."""
        return self.drives[bool(self.registers.values[DEVICE] & DEVICE_SLAVE)]

    def _reset(self) -> None:
        self._lower()
        for one in self.drives:
            if one is not None:
                one.reset(self.registers)
        first = self.drives[0]
        if first is not None:  # both have put their signature there: the first one's is seen
            first.put_signature(self.registers)
        self.registers.values[DEVICE] = 0

    def _interrupt(self) -> None:
        self.interrupt = True
        self.master.interrupted()
        self._show_interrupt()

    def _lower(self) -> None:
        self.interrupt = False
        self._show_interrupt()

    def _show_interrupt(self) -> None:
        self._board.set_irq(self._irq, self.interrupt and not self.control & NO_INTERRUPTS)

    # --- registers ---------------------------------------------------------------------------------

    def read(self, at: int, size: int) -> int:
        drive = self.drive
        if not any(self.drives):
            return (1 << size * 8) - 1 if at == DATA else 0
        if at == DATA:
            return int.from_bytes(self.read_string(size, 1), "little")
        if at in (STATUS, CONTROL):
            if at == STATUS:
                self._lower()
            return drive.status if drive is not None else 0
        if at == ERROR:
            return drive.error if drive is not None else 0
        return self.registers.read(at, high_order=bool(self.control & HIGH_ORDER))

    def read_string(self, size: int, count: int) -> bytes:
        """What ``count`` reads of the data register give."""
        drive, wanted = self.drive, size * count
        data = drive.take(self.registers, wanted) if drive is not None else b""
        return data.ljust(wanted, b"\xff")

    def write(self, at: int, size: int, value: int) -> None:
        drive = self.drive
        if at == CONTROL:
            self._set_control(value)
        elif at == DATA:
            self.write_string(value.to_bytes(size, "little"))
        elif at == COMMAND:
            self._command(value & 0xFF)
        else:
            self.control &= ~HIGH_ORDER
            if drive is None or not drive.status & (BUSY | REQUEST) or at == DEVICE:
                self.registers.write(at, value & 0xFF)

    def write_string(self, data: bytes) -> None:
        """Writes to the data register, one after the other."""
        if self.drive is not None:
            self.drive.give(self.registers, data)
            self.master.move(self.registers)

    def _set_control(self, value: int) -> None:
        before, self.control = self.control, value
        if before & SOFT_RESET and not value & SOFT_RESET:
            self._reset()
        elif value & SOFT_RESET:
            for one in self.drives:
                if one is not None:
                    one.status = BUSY
        self._show_interrupt()

    def _command(self, command: int) -> None:
        self._lower()
        self.control &= ~HIGH_ORDER
        drive = self.drive
        if command == DIAGNOSTIC and any(self.drives):
            self._reset()
            self._interrupt()
        elif drive is not None and (not drive.status & (BUSY | REQUEST) or command == DEVICE_RESET):
            drive.command(self.registers, command)
            self.master.move(self.registers)

    # --- in words ----------------------------------------------------------------------------------

    def in_words(self) -> str:
        drive = self.drive
        found = ", ".join(one.disk.name for one in self.drives if one is not None)
        if drive is None:
            return found or "no drives"
        return f"{found}; {drive.disk.name} selected, status {drive.status:#04x}, error {drive.error:#04x}"

    def save(self) -> Any:
        drives = [one.save() for one in self.drives if one is not None]
        return [self.registers.save(), self.control, self.interrupt, self.master.save(), drives]

    def load(self, state: Any) -> None:
        registers, self.control, self.interrupt, master, drives = state
        self.master.load(master)
        self.registers.load(registers)
        for one, saved in zip((one for one in self.drives if one is not None), drives, strict=True):
            one.load(saved)


@device
class Ata:
    """ata: IDE controllers at 0x1f0 (IRQ 14) and 0x170 (IRQ 15), with what --disk and --cdrom name."""

    name = "ata"
    options: ClassVar[dict[str, int]] = {"iobase": 0x1F0, "iosize": 8}
    ports: ClassVar[tuple[int, ...]] = (
        *(port for first, control, _ in CHANNELS for port in (*range(first, first + 8), control)),
        *range(BUS_MASTER, BUS_MASTER + BUS_MASTER_SIZE),
    )

    @staticmethod
    def belongs_to(board: Board) -> bool:
        """Where there are disks for it, and where firmware looks for it."""
        return board.firmware or bool(board.disks.hard_disks) or board.disks.cdrom is not None

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        has_dma = self._has_master
        disks: list[Drive | None] = [
            HardDisk(one, slave=number == 1, has_dma=has_dma) for number, one in enumerate(board.disks.hard_disks[:2])
        ]
        cd: list[Drive | None] = [] if board.disks.cdrom is None else [CdDrive(board.disks.cdrom, has_dma)]
        self.channels = [
            Channel(board, irq, [*drives, None, None][:2])
            for (_, _, irq), drives in zip(CHANNELS, (disks, cd), strict=True)
        ]
        self._places = {
            port: (channel, offset)
            for channel, (first, control, _) in zip(self.channels, CHANNELS, strict=True)
            for port, offset in [*((first + n, n) for n in range(8)), (control, CONTROL)]
        }

    def _has_master(self) -> bool:
        """Whether the bus master is at its ports: firmware has to put it there, and nowhere else."""
        if not self._board.firmware:
            return True
        seen = self._board.pci.get(IDE)
        return seen is not None and seen.decodes(BUS_MASTER_BAR, BUS_MASTER)

    def _master(self, port: int) -> tuple[Channel, int]:
        """The channel of a port of the bus master, and the offset among its eight."""
        number, at = divmod(port - BUS_MASTER, BUS_MASTER_SIZE // 2)
        return self.channels[number], at

    def read(self, port: int, size: int) -> int:
        if port >= BUS_MASTER:
            channel, at = self._master(port)
            return channel.master.read(at, size) if self._has_master() else (1 << size * 8) - 1
        channel, at = self._places[port]
        if at == DATA or size == 1:
            return channel.read(at, size)
        value = 0
        for n in range(size):  # all but the data register are a byte wide
            value |= (self.read(port + n, 1) if port + n in self._places else 0xFF) << 8 * n
        return value

    def write(self, port: int, size: int, value: int) -> None:
        if port >= BUS_MASTER:
            channel, at = self._master(port)
            if self._has_master():
                channel.master.write(channel.registers, at, size, value)
            return
        channel, at = self._places[port]
        if at == DATA or size == 1:
            channel.write(at, size, value)
            return
        for n in range(size):
            if port + n in self._places:
                self.write(port + n, 1, value >> 8 * n & 0xFF)

    def read_string(self, port: int, size: int, count: int) -> bytes:
        """What ``count`` reads of a port give."""
        channel, at = self._places.get(port, (None, CONTROL))
        if channel is not None and at == DATA:
            return channel.read_string(size, count)
        return b"".join(self.read(port, size).to_bytes(size, "little") for _ in range(count))

    def write_string(self, port: int, size: int, data: bytes) -> None:
        """Writes of ``size`` bytes each to a port."""
        channel, at = self._places.get(port, (None, CONTROL))
        if channel is not None and at == DATA:
            channel.write_string(data)
        else:
            for start in range(0, len(data), size):
                self.write(port, size, int.from_bytes(data[start : start + size], "little"))

    def describe(self) -> str:
        return "IDE controllers: " + "; ".join(
            f"{number}: {one.in_words()}" for number, one in enumerate(self.channels)
        )

    def details(self) -> dict[str, str]:
        found = {}
        for number, one in enumerate(self.channels):
            found[f"channel {number}"] = one.in_words()
            found[f"registers {number}"] = one.registers.in_words()
            found[f"bus master {number}"] = one.master.in_words()
        return found

    def save(self) -> Any:
        return [one.save() for one in self.channels]

    def load(self, state: Any) -> None:
        for one, saved in zip(self.channels, state, strict=True):
            one.load(saved)

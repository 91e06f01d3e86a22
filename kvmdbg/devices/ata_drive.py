"""A drive on an IDE channel, and the hard disk as one (ATA/ATAPI-6, T13/1410D)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from kvmdbg.machine.disk import SECTOR, Disk, Geometry

DATA, ERROR, SECTORS, LOW, MIDDLE, HIGH, DEVICE, STATUS = range(8)
FEATURES, COMMAND = ERROR, STATUS
"""The same ports, written to."""
BUSY, READY, SEEK_DONE, REQUEST, FAILED = 0x80, 0x40, 0x10, 0x08, 0x01
"""Bits of Status."""
UNCORRECTABLE, NOT_FOUND, ABORTED = 0x40, 0x10, 0x04
"""Bits of Error."""
DEVICE_SLAVE, DEVICE_LBA = 0x10, 0x40
PASSED = 1
MOST_HEADS, MOST_PER_TRACK, MOST_CYLINDERS = 16, 63, 16383
"""How a drive says that it has more: word 1 of IDENTIFY DEVICE (8.15.8)."""
MOST_MULTIPLE = 16
MOST_LBA28 = (1 << 28) - 1


class Registers:
    """The command block, each register with what was written to it before: the high order of 48-bit commands."""

    def __init__(self) -> None:
        self.values = bytearray(8)
        self.before = bytearray(8)

    def read(self, at: int, *, high_order: bool = False) -> int:
        if at == DEVICE:
            return self.values[at] | 0xA0
        return (self.before if high_order else self.values)[at]

    def write(self, at: int, value: int) -> None:
        self.before[at] = self.values[at]
        self.values[at] = value

    def put(self, at: int, value: int) -> None:
        """What the drive says."""
        self.values[at] = value & 0xFF

    def in_words(self) -> str:
        names = ("features", "sectors", "low", "middle", "high", "device")
        return ", ".join(
            f"{name} {value:#04x}" for name, value in zip(names, self.values[FEATURES:STATUS], strict=True)
        )

    def save(self) -> Any:
        return [bytes(self.values), bytes(self.before)]

    def load(self, state: Any) -> None:
        values, before = state
        self.values[:], self.before[:] = values, before


class Drive:
    """What all drives have in common: status, and the block of data that goes through the data register."""

    disk: Disk
    signature = (0, 0)
    """What Middle and High have after a reset."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.interrupt: Callable[[], None] = lambda: None
        self.status = READY | SEEK_DONE
        self.error = PASSED
        self.block = bytearray()
        """What is being read, or has been written so far."""
        self.at = 0
        self.to_come = 0
        """Bytes that the host is to write before anything is done with them."""
        self.waits_for = ""
        """What the bus master is to do: "read" (from the disk), "write", or nothing."""

    def reset(self, registers: Registers) -> None:
        self.status, self.error = READY | SEEK_DONE, PASSED
        self.block, self.at, self.to_come, self.waits_for = bytearray(), 0, 0, ""
        self.put_signature(registers)

    def put_signature(self, registers: Registers) -> None:
        """Say what kind of drive it is (9.12)."""
        middle, high = self.signature
        for at, value in ((SECTORS, 1), (LOW, 1), (MIDDLE, middle), (HIGH, high)):
            registers.put(at, value)

    def command(self, registers: Registers, command: int) -> None:
        """Begin a command."""
        raise NotImplementedError

    def block_read(self, registers: Registers) -> None:
        """The host has read all of the block."""
        raise NotImplementedError

    def block_written(self, registers: Registers) -> None:
        """The host has written all of the block."""
        raise NotImplementedError

    def dma_size(self) -> int:
        """How many bytes the bus master is to move."""
        return 0

    def dma_read(self, registers: Registers) -> bytes | None:
        """What it is to put into memory; None where that cannot be read, and the command has failed."""
        return None

    def dma_write(self, registers: Registers, data: bytes) -> None:
        """It has brought this from memory."""

    # --- the data register -------------------------------------------------------------------------

    def offer(self, data: bytes) -> None:
        """Let the host read a block."""
        self.block, self.at = bytearray(data), 0
        self.status = READY | SEEK_DONE | REQUEST
        self.interrupt()

    def expect(self, size: int) -> None:
        """Let the host write a block."""
        self.block, self.to_come = bytearray(), size
        self.status = READY | SEEK_DONE | REQUEST

    def take(self, registers: Registers, size: int) -> bytes:
        """The host reads so many bytes: those of the block, and of those that follow it."""
        data = b""
        while len(data) < size and self.status & REQUEST and not self.to_come:
            part = bytes(self.block[self.at : self.at + size - len(data)])
            data += part
            self.at += len(part)
            if self.at >= len(self.block):
                self.block_read(registers)
        return data

    def give(self, registers: Registers, data: bytes) -> None:
        """The host writes these bytes; what nobody waits for is lost."""
        while data and self.to_come:
            part = data[: self.to_come]
            data = data[len(part) :]
            self.block += part
            self.to_come -= len(part)
            if not self.to_come:
                self.block_written(registers)

    def done(self, *, quiet: bool = False) -> None:
        """The command has ended well."""
        self.status = READY | SEEK_DONE
        if not quiet:
            self.interrupt()

    def abort(self, error: int = ABORTED) -> None:
        """The command has failed."""
        self.status, self.error = READY | SEEK_DONE | FAILED, error
        self.to_come, self.waits_for = 0, ""
        self.interrupt()

    def save(self) -> Any:
        return [self.status, self.error, bytes(self.block), self.at, self.to_come, self.waits_for]

    def load(self, state: Any) -> None:
        self.status, self.error, block, self.at, self.to_come, self.waits_for = state
        self.block = bytearray(block)


class HardDisk(Drive):
    """``disk`` with sectors by LBA, and by cylinder, head and sector."""

    def __init__(self, disk: Disk, *, slave: bool = False, has_dma: Callable[[], bool] = lambda: False) -> None:
        super().__init__(disk)
        self.has_dma = has_dma
        self._number = int(slave)
        self.geometry = default_geometry(disk)
        """What it has been told to translate addresses by."""
        self.multiple = MOST_MULTIPLE
        self.next = 0
        self.left = 0
        """Sectors that are still to be moved from ``next`` on."""
        self.at_once = 1

    def reset(self, registers: Registers) -> None:
        super().reset(registers)
        self.left = 0

    def command(self, registers: Registers, command: int) -> None:
        self.error = 0
        found = COMMANDS.get(command)
        if found is None:
            self.abort()
        else:
            found(self, registers, command)

    # --- addresses ---------------------------------------------------------------------------------

    def _place(self, registers: Registers, wide: bool) -> tuple[int, int] | None:
        """First sector and how many, None where the address is none."""
        now, before = registers.values, registers.before
        if wide:
            count = now[SECTORS] | before[SECTORS] << 8
            low = now[LOW] | now[MIDDLE] << 8 | now[HIGH] << 16
            return low | before[LOW] << 24 | before[MIDDLE] << 32 | before[HIGH] << 40, count or 0x10000
        count = now[SECTORS] or 0x100
        if now[DEVICE] & DEVICE_LBA:
            return now[LOW] | now[MIDDLE] << 8 | now[HIGH] << 16 | (now[DEVICE] & 15) << 24, count
        cylinder, head, sector = now[MIDDLE] | now[HIGH] << 8, now[DEVICE] & 15, now[LOW]
        made = self.geometry
        if not 1 <= sector <= made.sectors or head >= made.heads:
            return None
        return (cylinder * made.heads + head) * made.sectors + sector - 1, count

    def _show_place(self, registers: Registers, sector: int) -> None:
        """Have the registers name this sector, the last that was moved or the one that failed."""
        if registers.values[DEVICE] & DEVICE_LBA:
            for at in (LOW, MIDDLE, HIGH):
                registers.put(at, sector)
                sector >>= 8
            return
        made = self.geometry
        track, number = divmod(sector, made.sectors)
        cylinder, head = divmod(track, made.heads)
        for at, value in ((LOW, number + 1), (MIDDLE, cylinder), (HIGH, cylinder >> 8)):
            registers.put(at, value)
        registers.values[DEVICE] = registers.values[DEVICE] & 0xF0 | head & 15

    def _begin(self, registers: Registers, wide: bool, at_once: int) -> bool:
        """Set out to move the sectors that the registers name."""
        place = self._place(registers, wide)
        if place is None or place[0] + place[1] > self.disk.sectors:
            self.abort(NOT_FOUND)
            return False
        self.next, self.left = place
        self.at_once = at_once
        return True

    # --- moving sectors ----------------------------------------------------------------------------

    def _read(self, registers: Registers, command: int) -> None:
        multiple = command in READ_MULTIPLE
        if multiple and not self.multiple:
            self.abort()
        elif self._begin(registers, command in WIDE, self.multiple if multiple else 1):
            self._offer_sectors(registers)

    def _offer_sectors(self, registers: Registers) -> None:
        count = min(self.at_once, self.left)
        try:
            data = self.disk.read(self.next, count)
        except OSError:
            self._show_place(registers, self.next)
            self.abort(UNCORRECTABLE)
            return
        self._moved(registers, count)
        self.offer(data)

    def _moved(self, registers: Registers, count: int) -> None:
        self.next += count
        self.left -= count
        self._show_place(registers, self.next - 1)
        registers.put(SECTORS, self.left)

    def block_read(self, registers: Registers) -> None:
        if self.left:
            self._offer_sectors(registers)
        else:
            self.done(quiet=True)

    def _write(self, registers: Registers, command: int) -> None:
        multiple = command in WRITE_MULTIPLE
        if self.disk.read_only or (multiple and not self.multiple):
            self.abort()
        elif self._begin(registers, command in WIDE, self.multiple if multiple else 1):
            self.expect(min(self.at_once, self.left) * SECTOR)

    def block_written(self, registers: Registers) -> None:
        count = len(self.block) // SECTOR
        try:
            self.disk.write(self.next, bytes(self.block))
        except OSError:
            self._show_place(registers, self.next)
            self.abort(UNCORRECTABLE)
            return
        self._moved(registers, count)
        if self.left:
            self.expect(min(self.at_once, self.left) * SECTOR)
            self.interrupt()
        else:
            self.done()

    def _dma(self, registers: Registers, command: int) -> None:
        writes = command in WRITE_DMA
        if not self.has_dma() or (writes and self.disk.read_only):
            self.abort()
        elif self._begin(registers, command in WIDE, 1):
            self.waits_for = "write" if writes else "read"
            self.status = BUSY

    def dma_size(self) -> int:
        return self.left * SECTOR

    def dma_read(self, registers: Registers) -> bytes | None:
        self.waits_for = ""
        try:
            data = self.disk.read(self.next, self.left)
        except OSError:
            self._show_place(registers, self.next)
            self.abort(UNCORRECTABLE)
            return None
        self._moved(registers, self.left)
        return data

    def dma_write(self, registers: Registers, data: bytes) -> None:
        self.waits_for = ""
        try:
            self.disk.write(self.next, data)
        except OSError:
            self._show_place(registers, self.next)
            self.abort(UNCORRECTABLE)
            return
        self._moved(registers, self.left)
        self.done()

    def _verify(self, registers: Registers, command: int) -> None:
        if self._begin(registers, command in WIDE, 1):
            self._moved(registers, self.left)
            self.done()

    # --- other commands ----------------------------------------------------------------------------

    def _identify(self, registers: Registers, command: int) -> None:
        self.left = 0
        self.offer(identify(self.disk, self.geometry, self.multiple, self._number, has_dma=self.has_dma()))

    def _set_geometry(self, registers: Registers, command: int) -> None:
        """INITIALIZE DEVICE PARAMETERS."""
        sectors, heads = registers.values[SECTORS], (registers.values[DEVICE] & 15) + 1
        if not sectors:
            self.abort()
            return
        cylinders = min(self.disk.sectors // (heads * sectors), 0xFFFF)
        self.geometry = Geometry(cylinders, heads, sectors)
        self.done()

    def _set_multiple(self, registers: Registers, command: int) -> None:
        wanted = registers.values[SECTORS]
        if wanted > MOST_MULTIPLE or wanted & (wanted - 1):
            self.multiple = 0
            self.abort()
        else:
            self.multiple = wanted
            self.done()

    def _set_features(self, registers: Registers, command: int) -> None:
        wanted, value = registers.values[FEATURES], registers.values[SECTORS]
        # PIO default, PIO with flow control, and with DMA multiword and Ultra DMA
        if wanted == SET_TRANSFER_MODE and value >> 3 not in ((0, 1, 4, 8) if self.has_dma() else (0, 1)):
            self.abort()
        elif wanted in KNOWN_FEATURES:
            self.done()
        else:
            self.abort()

    def _native_end(self, registers: Registers, command: int) -> None:
        """READ NATIVE MAX ADDRESS."""
        last = self.disk.sectors - 1
        if command == 0x27:
            for at, shift in ((LOW, 24), (MIDDLE, 32), (HIGH, 40)):
                registers.before[at] = last >> shift & 0xFF
        else:
            last = min(last, MOST_LBA28)
            registers.values[DEVICE] = registers.values[DEVICE] & 0xF0 | last >> 24 & 15
        for at, shift in ((LOW, 0), (MIDDLE, 8), (HIGH, 16)):
            registers.put(at, last >> shift)
        self.done()

    def _say_active(self, registers: Registers, command: int) -> None:
        """CHECK POWER MODE."""
        registers.put(SECTORS, 0xFF)
        self.done()

    def _nothing(self, registers: Registers, command: int) -> None:
        self.done()

    def save(self) -> Any:
        own = [list(self.geometry), self.multiple, self.next, self.left, self.at_once]
        return [super().save(), *own]

    def load(self, state: Any) -> None:
        common, geometry, self.multiple, self.next, self.left, self.at_once = state
        super().load(common)
        self.geometry = Geometry(*geometry)


SET_TRANSFER_MODE = 0x03
KNOWN_FEATURES = frozenset((0x02, 0x82, SET_TRANSFER_MODE, 0x55, 0xAA, 0x66, 0xCC))
"""SET FEATURES: write cache, transfer mode, read look-ahead, defaults after a reset."""
READ_MULTIPLE, WRITE_MULTIPLE = frozenset((0xC4, 0x29)), frozenset((0xC5, 0x39))
WRITE_DMA = frozenset((0xCA, 0xCB, 0x35))
WIDE = frozenset((0x24, 0x25, 0x29, 0x34, 0x35, 0x39, 0x42))
"""Commands with 48-bit addresses."""
COMMANDS: dict[int, Callable[[HardDisk, Registers, int], None]] = {
    **dict.fromkeys((0x20, 0x21, 0x24, 0xC4, 0x29), HardDisk._read),
    **dict.fromkeys((0x30, 0x31, 0x34, 0xC5, 0x39), HardDisk._write),
    **dict.fromkeys((0xC8, 0xC9, 0x25, *WRITE_DMA), HardDisk._dma),
    **dict.fromkeys((0x40, 0x41, 0x42), HardDisk._verify),
    **dict.fromkeys((0x27, 0xF8), HardDisk._native_end),
    0x91: HardDisk._set_geometry,
    0xC6: HardDisk._set_multiple,
    0xE5: HardDisk._say_active,
    0xEC: HardDisk._identify,
    0xEF: HardDisk._set_features,
    **dict.fromkeys((*range(0x10, 0x20), 0x70, 0xE0, 0xE1, 0xE2, 0xE3, 0xE6, 0xE7, 0xEA), HardDisk._nothing),
}
"""By code; those that do nothing recalibrate, seek, rest, and flush a cache that is none."""


def default_geometry(disk: Disk) -> Geometry:
    """What a drive says of itself: the disk's own geometry where that has no more than 16 heads."""
    made = disk.geometry
    if made is not None and made.heads <= MOST_HEADS and made.sectors <= MOST_PER_TRACK:
        return made
    cylinders = min(disk.sectors // (MOST_HEADS * MOST_PER_TRACK), MOST_CYLINDERS)
    return Geometry(max(cylinders, 1), MOST_HEADS, MOST_PER_TRACK)


def text(words: int, value: str) -> bytes:
    """A text of so many words, as IDENTIFY has it: the first character in the upper half of a word."""
    padded = value.encode("ascii", "replace")[: words * 2].ljust(words * 2)
    return b"".join(bytes((padded[at + 1], padded[at])) for at in range(0, words * 2, 2))


def identify(disk: Disk, made: Geometry, multiple: int, number: int, *, has_dma: bool) -> bytes:
    """The 512 bytes of IDENTIFY DEVICE (8.15), ``made`` being the translation in force."""
    words = bytearray(SECTOR)

    def put(at: int, *values: int) -> None:
        struct.pack_into(f"<{len(values)}H", words, at * 2, *values)

    own = default_geometry(disk)
    lba28 = min(disk.sectors, MOST_LBA28)
    current = min(made.total, 0xFFFFFFFF)
    put(0, 0x0040, own.cylinders, 0, own.heads, 0, 0, own.sectors)
    words[20:40] = text(10, f"KVMDBG-HD{number}")
    words[46:54] = text(4, "1.0")
    words[54:94] = text(20, f"kvmdbg disk hd{number}")
    put(47, 0x8000 | MOST_MULTIPLE, 0, 0x0A00 | (0x0100 if has_dma else 0))  # LBA, IORDY, DMA
    put(
        53,
        7 if has_dma else 3,
        made.cylinders,
        made.heads,
        made.sectors,
        current & 0xFFFF,
        current >> 16,
        0x100 | multiple if multiple else 0,
    )
    put(60, lba28 & 0xFFFF, lba28 >> 16)
    put(64, 3, 0, 0, 120, 120)  # PIO modes 3 and 4
    if has_dma:
        put(63, 0x0407)  # multiword DMA modes 0 to 2, 2 selected
        put(65, 120, 120)
        put(88, 0x003F)  # Ultra DMA modes 0 to 5
    put(80, 0x7E)
    put(82, 0x0020, 0x7400, 0x4000, 0x0020, 0x3400, 0x4000)  # write cache; flushing, 48-bit addresses
    put(100, *((disk.sectors >> shift) & 0xFFFF for shift in (0, 16, 32, 48)))
    return bytes(words)

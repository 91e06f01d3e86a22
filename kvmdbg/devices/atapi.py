"""A CD drive on an IDE channel (ATA/ATAPI-6, T13/1410D; SCSI commands: MMC-3, T10/1363D, and SPC-2)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from kvmdbg.devices.ata_drive import (
    ABORTED,
    BUSY,
    FAILED,
    FEATURES,
    HIGH,
    MIDDLE,
    READY,
    SECTORS,
    SEEK_DONE,
    Drive,
    Registers,
    text,
)
from kvmdbg.machine.disk import CD_SECTOR, SECTOR, Disk

PACKET_SIZE = 12
DMA = 1
"""Bit of Features at a packet: its data go by DMA."""
COMMAND, TO_HOST = 1, 2
"""Bits of Interrupt Reason, which is the sector count register: a packet is expected; data go to the host."""
NOT_READY, MEDIUM_ERROR, ILLEGAL_REQUEST = 2, 3, 5
"""Sense keys."""
INVALID_OPCODE, OUT_OF_RANGE, INVALID_FIELD, UNREADABLE = 0x20, 0x21, 0x24, 0x11
"""Additional sense codes."""
VITAL_DATA = 1
"""Bit of INQUIRY: it asks for one of the pages that a CD drive need not have."""
LEAD_OUT = 0xAA
LARGEST_CHUNK = 0xFFFE
AT_ONCE = 16
"""Sectors that are read from the file at once."""


class CheckCondition(Exception):
    """A command fails with a sense key and an additional sense code."""

    def __init__(self, key: int, code: int) -> None:
        super().__init__(key, code)
        self.key, self.code = key, code


class CdDrive(Drive):
    """``disk`` as a CD of one data track."""

    signature = (0x14, 0xEB)

    def __init__(self, disk: Disk, has_dma: Callable[[], bool] = lambda: False) -> None:
        super().__init__(disk)
        self.has_dma = has_dma
        self.by_dma = False
        """The data of the packet at hand go by the bus master."""
        self.sense = (0, 0)
        self.limit = LARGEST_CHUNK
        self.waiting = b""
        """What is still to be read of a command's data, behind the block that is offered."""
        self.next = 0
        self.left = 0
        """Sectors that come behind that."""
        self.answering = False
        """What is read is a packet's answer, whose end has an interrupt."""

    def reset(self, registers: Registers) -> None:
        super().reset(registers)
        self.waiting, self.left, self.answering, self.by_dma = b"", 0, False, False

    def command(self, registers: Registers, command: int) -> None:
        self.error = 0
        if command == 0xA0:
            self._expect_packet(registers)
        elif command == 0xA1:
            self.answering = False
            self.offer(identify_packet_device(self.disk, has_dma=self.has_dma()))
        elif command == 0x08:
            self.reset(registers)
            self.status = 0
        elif command == 0xEF or command in (0xE0, 0xE1, 0xE6, 0xE7):
            self.done()
        else:
            if command == 0xEC:
                self.put_signature(registers)
            self.abort()

    def abort(self, error: int = ABORTED) -> None:
        super().abort(error)
        self.waiting, self.left = b"", 0

    def _expect_packet(self, registers: Registers) -> None:
        self.by_dma = bool(registers.values[FEATURES] & DMA)
        if self.by_dma and not self.has_dma():
            self.abort()
            return
        limit = registers.values[MIDDLE] | registers.values[HIGH] << 8
        self.limit = min(limit or LARGEST_CHUNK, LARGEST_CHUNK) & ~1 or 2
        self.expect(PACKET_SIZE)
        registers.put(SECTORS, COMMAND)

    def block_written(self, registers: Registers) -> None:
        packet = bytes(self.block)
        try:
            self.waiting = self._execute(packet)
        except CheckCondition as failed:
            self._end(registers, failed)
            return
        if packet[0] != 0x03:
            self.sense = (0, 0)
        self.answering = True
        if self.by_dma and (self.waiting or self.left):
            self.waits_for = "read"
            self.status = BUSY
        else:
            self._offer_chunk(registers)

    def dma_size(self) -> int:
        return len(self.waiting) + self.left * CD_SECTOR

    def dma_read(self, registers: Registers) -> bytes | None:
        self.waits_for = ""
        try:
            data = self.waiting + (self.disk.read(self.next, self.left) if self.left else b"")
        except OSError:
            self._end(registers, CheckCondition(MEDIUM_ERROR, UNREADABLE))
            return None
        self.waiting, self.left = b"", 0
        registers.put(SECTORS, COMMAND | TO_HOST)
        return data

    def block_read(self, registers: Registers) -> None:
        if self.answering:
            self._offer_chunk(registers)
        else:
            self.done(quiet=True)

    def _offer_chunk(self, registers: Registers) -> None:
        """Go on with the command's data, or end it."""
        if not self.waiting and self.left:
            count = min(self.left, AT_ONCE)
            try:
                self.waiting = self.disk.read(self.next, count)
            except OSError:
                self._end(registers, CheckCondition(MEDIUM_ERROR, UNREADABLE))
                return
            self.next += count
            self.left -= count
        if not self.waiting:
            self._end(registers, None)
            return
        chunk, self.waiting = self.waiting[: self.limit], self.waiting[self.limit :]
        registers.put(SECTORS, TO_HOST)
        registers.put(MIDDLE, len(chunk))
        registers.put(HIGH, len(chunk) >> 8)
        self.offer(chunk)

    def _end(self, registers: Registers, failed: CheckCondition | None) -> None:
        registers.put(SECTORS, COMMAND | TO_HOST)
        self.waiting, self.left = b"", 0
        self.status = READY | SEEK_DONE
        if failed is not None:
            self.sense = failed.key, failed.code
            self.status |= FAILED
            self.error = failed.key << 4
        self.interrupt()

    # --- commands ----------------------------------------------------------------------------------

    def _execute(self, packet: bytes) -> bytes:
        """Do a command; what it answers, beside sectors. CheckCondition."""
        operation = packet[0]
        if operation in (0x00, 0x1B, 0x1E, 0x2B):  # TEST UNIT READY, START STOP UNIT, PREVENT …, SEEK
            return b""
        if operation == 0x03:
            return self._request_sense()[: packet[4]]
        if operation == 0x12:
            if packet[1] & VITAL_DATA:
                raise CheckCondition(ILLEGAL_REQUEST, INVALID_FIELD)
            return inquiry()[: packet[4] | packet[3] << 8]
        if operation == 0x25:
            return struct.pack(">II", self.disk.sectors - 1, CD_SECTOR)
        if operation in (0x28, 0xA8):
            first, short, long = (
                *struct.unpack_from(">I", packet, 2),
                *struct.unpack_from(">H", packet, 7),
                packet[6:10],
            )
            return self._read(first, short if operation == 0x28 else int.from_bytes(long, "big"))
        if operation == 0xBE:
            if packet[9] & 0xF8 not in (0, 0x10):
                raise CheckCondition(ILLEGAL_REQUEST, INVALID_FIELD)
            count = int.from_bytes(packet[6:9], "big") if packet[9] else 0
            return self._read(int.from_bytes(packet[2:6], "big"), count)
        if operation == 0x43:
            return self._table_of_contents(packet)
        if operation in (0x1A, 0x5A):
            return mode_sense(packet)
        if operation == 0x46:
            return struct.pack(">IHH", 4, 0, 8)[: int.from_bytes(packet[7:9], "big")]  # profile: CD-ROM
        raise CheckCondition(ILLEGAL_REQUEST, INVALID_OPCODE)

    def _request_sense(self) -> bytes:
        (key, code), self.sense = self.sense, (0, 0)
        return bytes((0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, code, 0, 0, 0, 0, 0))

    def _read(self, first: int, count: int) -> bytes:
        if first + count > self.disk.sectors:
            raise CheckCondition(ILLEGAL_REQUEST, OUT_OF_RANGE)
        self.next, self.left = first, count
        return b""

    def _table_of_contents(self, packet: bytes) -> bytes:
        """READ TOC: one data track, and the lead-out; the first session."""
        form = packet[2] & 15 or packet[9] >> 6
        in_time, most = bool(packet[1] & 2), int.from_bytes(packet[7:9], "big")
        if form == 1:
            return (struct.pack(">HBB", 10, 1, 1) + bytes((0, 0x14, 1, 0)) + place(0, in_time))[:most]
        if form or 1 < packet[6] != LEAD_OUT:
            raise CheckCondition(ILLEGAL_REQUEST, INVALID_FIELD)
        tracks = bytes((0, 0x14, 1, 0)) + place(0, in_time) if packet[6] <= 1 else b""
        tracks += bytes((0, 0x14, LEAD_OUT, 0)) + place(self.disk.sectors, in_time)
        return (struct.pack(">HBB", len(tracks) + 2, 1, 1) + tracks)[:most]

    def save(self) -> Any:
        own = [list(self.sense), self.limit, self.waiting, self.next, self.left, self.answering, self.by_dma]
        return [super().save(), *own]

    def load(self, state: Any) -> None:
        common, sense, self.limit, self.waiting, self.next, self.left, self.answering, self.by_dma = state
        super().load(common)
        self.sense = sense[0], sense[1]


def place(sector: int, in_time: bool) -> bytes:
    """A sector's address, by LBA or by minute, second and frame (150 frames lie before the first)."""
    if not in_time:
        return sector.to_bytes(4, "big")
    seconds, frame = divmod(sector + 150, 75)
    return bytes((0, seconds // 60 & 0xFF, seconds % 60, frame))


def inquiry() -> bytes:
    """A removable CD-ROM drive."""
    return bytes((5, 0x80, 0, 0x21, 31, 0, 0, 0)) + b"kvmdbg  " + b"CD drive        " + b"1.0 "


def mode_sense(packet: bytes) -> bytes:
    """Its header, and the page of the drive's capabilities where that is asked for."""
    page = packet[2] & 0x3F
    if page not in (0x2A, 0x3F, 0x01):
        raise CheckCondition(ILLEGAL_REQUEST, INVALID_FIELD)
    body = bytes((0x01, 6, 0, 5, 0, 0, 0, 0)) if page in (0x01, 0x3F) else b""
    body += bytes((0x2A, 18, 0, 0, 0x71, 0x60, 0x29, 0)) + bytes(12) if page in (0x2A, 0x3F) else b""
    if packet[0] == 0x1A:
        return (bytes((len(body) + 3, 1, 0, 0)) + body)[: packet[4]]
    return (struct.pack(">HB", len(body) + 6, 1) + bytes(5) + body)[: int.from_bytes(packet[7:9], "big")]


def identify_packet_device(disk: Disk, *, has_dma: bool) -> bytes:
    """The 512 bytes of IDENTIFY PACKET DEVICE (8.16)."""
    words = bytearray(SECTOR)
    struct.pack_into("<H", words, 0, 0x85C0)  # ATAPI, CD, removable, packets of 12 bytes
    words[20:40] = text(10, "KVMDBG-CD0")
    words[46:54] = text(4, "1.0")
    words[54:94] = text(20, "kvmdbg CD drive")
    struct.pack_into("<HH", words, 98, 0x0A00 | (0x0100 if has_dma else 0), 0)
    struct.pack_into("<H", words, 106, 6 if has_dma else 2)
    if has_dma:
        struct.pack_into("<H", words, 126, 0x0407)  # multiword DMA modes 0 to 2, 2 selected
        struct.pack_into("<H", words, 176, 0x003F)  # Ultra DMA modes 0 to 5
    dma_times = (120, 120) if has_dma else (0, 0)
    struct.pack_into("<5H", words, 128, 3, *dma_times, 120, 120)
    struct.pack_into("<H", words, 160, 0x7E)
    struct.pack_into("<6H", words, 164, 0x4210, 0x4000, 0x4000, 0x4210, 0, 0x4000)  # PACKET, DEVICE RESET, NOP
    return bytes(words)

"""int 13h: disks, by cylinder, head and sector, and by number (Phoenix Enhanced Disk Drive Specification 3.0)."""

from __future__ import annotations

import struct

from kvmdbg.devices.ata_drive import default_geometry
from kvmdbg.errors import MemoryFault
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware import rom
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service
from kvmdbg.machine.disk import FIRST_HARD_DISK, Disk

(
    OK, BAD_COMMAND, WRITE_PROTECTED, NOT_FOUND, CHANGED, DMA_BOUNDARY, NO_SUCH_MEDIA, CONTROLLER, TIMEOUT,
) = (0, 1, 3, 4, 6, 9, 0x0C, 0x20, 0x80)  # fmt: skip
HEADS, SECTORS = 16, 63
"""The usual geometry of small hard disks."""
DMA_PAGE = 0x10000
"""The DMA controller that moves a floppy's sectors does not leave one of these in a transfer."""
FLOPPY_TYPES = {(40, 9): 1, (80, 15): 2, (80, 9): 3, (80, 18): 4, (80, 36): 6}
"""What CMOS calls a drive, by cylinders and sectors of a track."""


def _finish(call: Call, status: int) -> None:
    call.set_byte(bda.DISK_STATUS if call.dl >= FIRST_HARD_DISK else bda.DISKETTE_STATUS, status)
    call.done(status)


def _disk(call: Call) -> Disk | None:
    """The drive in DL; None, and the caller told, where there is none."""
    disk = call.bios.disks.drive(call.dl)
    if disk is None:
        _finish(call, BAD_COMMAND if call.dl >= FIRST_HARD_DISK else TIMEOUT)
    return disk


def _place(call: Call, disk: Disk) -> int | None:
    """The sector that CX and DH name.

    A file that may be either is made as a floppy; as a hard disk it has those of the usual geometry, too, that a floppy
    has not: programs that are tried on a hard disk count the sectors of their first track beyond 18.
    """
    cylinder, head, sector = call.ch | (call.cl & 0xC0) << 2, call.dh, call.cl & 0x3F
    found = disk.lba(cylinder, head, sector)
    if found is None and sector and head < HEADS and disk.kind == "floppy" and call.dl >= FIRST_HARD_DISK:
        found = (cylinder * HEADS + head) * SECTORS + sector - 1
    return found


def transfer(call: Call, disk: Disk, first: int, count: int, address: int, what: str) -> int:
    """Read, write or verify sectors: the status."""
    if first + count > disk.sectors:
        return NOT_FOUND
    try:
        if what == "read":
            call.write(address, disk.read(first, count))
        elif what == "write":
            if disk.read_only:
                return WRITE_PROTECTED
            disk.write(first, call.read(address, count * disk.sector_size))
    except MemoryFault:
        return DMA_BOUNDARY
    except OSError as error:
        return _failure(call, disk, error)
    return OK


def _failure(call: Call, disk: Disk, error: OSError) -> int:
    """The status where the host cannot read or write."""
    call.bios.tell_failure(disk, error)
    return CONTROLLER


def _is_by_dma(call: Call, disk: Disk) -> bool:
    """Whether it is a floppy, and none that a CD stands for."""
    cd = call.bios.disks.cdrom
    return call.dl < FIRST_HARD_DISK and (cd is None or cd.path != disk.path)


def _by_place(call: Call, what: str) -> None:
    disk = _disk(call)
    if disk is None:
        call.al = 0
        return
    first, count = _place(call, disk), call.al
    status = NOT_FOUND
    if not count:
        status = BAD_COMMAND
    elif first is not None:
        address = call.far("es", call.bx)
        ends_behind_page = address % DMA_PAGE + count * disk.sector_size > DMA_PAGE
        if ends_behind_page and what != "verify" and _is_by_dma(call, disk):
            status = DMA_BOUNDARY
        else:
            status = transfer(call, disk, first, count, address, what)
    if status:
        call.al = 0
    _finish(call, status)


@service(0x13, 0x00, "dl")
def reset(call: Call) -> None:
    """Reset disk system."""
    there = call.dl < FIRST_HARD_DISK or call.bios.disks.drive(call.dl) is not None
    _finish(call, OK if there else BAD_COMMAND)


@service(0x13, 0x01, "dl")
def last_status(call: Call) -> None:
    """Get status of last operation."""
    status = call.byte(bda.DISK_STATUS if call.dl >= FIRST_HARD_DISK else bda.DISKETTE_STATUS)
    call.al = status
    call.done(status)


@service(0x13, 0x02, "al cx dh dl bx")
def read_sectors(call: Call) -> None:
    """Read sectors."""
    _by_place(call, "read")


@service(0x13, 0x03, "al cx dh dl bx")
def write_sectors(call: Call) -> None:
    """Write sectors."""
    _by_place(call, "write")


@service(0x13, 0x04, "al cx dh dl")
def verify_sectors(call: Call) -> None:
    """Verify sectors."""
    _by_place(call, "verify")


@service(0x13, 0x05, "al cx dh dl")
def format_track(call: Call) -> None:
    """Format track."""
    disk = _disk(call)
    if disk is None:
        return
    first = disk.lba(call.ch | (call.cl & 0xC0) << 2, call.dh, 1)
    if first is None or disk.geometry is None or disk.read_only:
        _finish(call, WRITE_PROTECTED if disk.read_only else NOT_FOUND)
        return
    try:
        disk.write(first, b"\xf6" * (disk.geometry.sectors * disk.sector_size))
    except OSError as error:
        _finish(call, _failure(call, disk, error))
        return
    _finish(call, OK)


@service(0x13, 0x08, "dl")
def parameters(call: Call) -> None:
    """Get drive parameters."""
    disks = call.bios.disks
    is_hard_disk = call.dl >= FIRST_HARD_DISK
    drives = len(disks.hard_disks if is_hard_disk else disks.floppies)
    disk = disks.drive(call.dl)
    if disk is None or disk.geometry is None:
        call.dl = drives
        call.set_byte(bda.DISK_STATUS if is_hard_disk else bda.DISKETTE_STATUS, 7)
        call.done(7)
        return
    cylinders, heads, sectors = disk.geometry
    most = cylinders - 1
    call.cx = (most & 0xFF) << 8 | most >> 2 & 0xC0 | sectors
    call.dh = heads - 1
    if not is_hard_disk:
        call.bx = FLOPPY_TYPES.get((cylinders, sectors), 4)
        call.di = rom.DISKETTE
        call.set_segment("es", rom.SEGMENT)
    _finish(call, OK)
    call.dl = drives
    call.al = 0


@service(0x13, 0x0C, "cx dh dl")
def seek(call: Call) -> None:
    """Seek to cylinder."""
    if _disk(call) is not None:
        _finish(call, OK)


for _number in (0x09, 0x0D, 0x10, 0x11, 0x14, 0x47):
    service(0x13, _number, "dl")(seek)


@service(0x13, 0x15, "dl")
def kind_of_drive(call: Call) -> None:
    """Get disk type."""
    disk = call.bios.disks.drive(call.dl)
    call.carry(False)
    if disk is None:
        call.ah = 0
    elif call.dl < FIRST_HARD_DISK:
        call.ah = 1
    else:
        call.ah = 3
        sectors = min(disk.sectors, 0xFFFFFFFF)
        call.cx, call.dx = sectors >> 16, sectors


@service(0x13, 0x16, "dl")
def change_line(call: Call) -> None:
    """Detect disk change."""
    if _disk(call) is not None:
        _finish(call, OK)


@service(0x13, 0x17, "al dl")
def set_disk_type(call: Call) -> None:
    """Set disk type for format."""
    if _disk(call) is not None:
        _finish(call, OK)


@service(0x13, 0x18, "cx dl")
def set_media_type(call: Call) -> None:
    """Set media type for format."""
    disk = _disk(call)
    if disk is None:
        return
    made = disk.geometry
    if made is None or made.sectors != call.cl & 0x3F or made.cylinders != (call.ch | (call.cl & 0xC0) << 2) + 1:
        _finish(call, NO_SUCH_MEDIA)
    else:
        call.di = rom.DISKETTE
        call.set_segment("es", rom.SEGMENT)
        _finish(call, OK)


# --- by number


def _extended(call: Call) -> Disk | None:
    """The drive in DL, as far as it has these services."""
    if call.dl < FIRST_HARD_DISK:
        _finish(call, BAD_COMMAND)
        return None
    return _disk(call)


@service(0x13, 0x41, "bx dl")
def extensions_present(call: Call) -> None:
    """Check extensions present."""
    if call.bx != 0x55AA:
        _finish(call, BAD_COMMAND)
    elif _extended(call) is not None:
        call.bx, call.cx = 0xAA55, 0x0005
        _finish(call, OK)
        call.ah = 0x30


def _by_number(call: Call, what: str) -> None:
    disk = _extended(call)
    if disk is None:
        return
    at = call.far("ds", call.si)
    size, _, count, offset, segment, first = struct.unpack("<BBHHHQ", call.read(at, 16))
    if size < 16:
        _finish(call, BAD_COMMAND)
        return
    address = (segment << 4) + offset
    if size >= 24 and (segment, offset) == (0xFFFF, 0xFFFF):
        address = int.from_bytes(call.read(at + 16, 8), "little")
    status = transfer(call, disk, first, count, address, what)
    if status:
        call.set_word(at + 2, 0)
    _finish(call, status)


@service(0x13, 0x42, "dl si")
def extended_read(call: Call) -> None:
    """Extended read."""
    _by_number(call, "read")


@service(0x13, 0x43, "al dl si")
def extended_write(call: Call) -> None:
    """Extended write."""
    _by_number(call, "write")


@service(0x13, 0x44, "dl si")
def extended_verify(call: Call) -> None:
    """Extended verify."""
    _by_number(call, "verify")


@service(0x13, 0x48, "dl si")
def extended_parameters(call: Call) -> None:
    """Get extended drive parameters."""
    disk = _extended(call)
    if disk is None:
        return
    at = call.far("ds", call.si)
    room = call.word(at)
    if room < 0x1A:
        _finish(call, BAD_COMMAND)
        return
    made = default_geometry(disk) if disk.geometry is not None else (0xFFFFFFFF,) * 3  # as the drive has it
    flags = 2 if disk.geometry is not None else 0x74  # removable, lockable, its change is told: a CD
    size = 0x1E if room >= 0x1E else 0x1A
    result = struct.pack("<HHIIIQH", size, flags, *made, disk.sectors, disk.sector_size)
    call.write(at, (result + b"\xff" * 4)[:size])
    _finish(call, OK)


@service(0x13, 0x49, "dl")
def extended_change(call: Call) -> None:
    """Extended media change."""
    if _extended(call) is not None:
        _finish(call, OK)


@service(0x13, 0x4E, "al dl")
def configure_hardware(call: Call) -> None:
    """Set hardware configuration."""
    if _extended(call) is not None:
        call.al = 0
        _finish(call, OK)


@service(0x13, 0x4B, "al dl si")
def emulation_status(call: Call) -> None:
    """Get or end disk emulation of a CD."""
    cd = call.bios.disks.cdrom
    if cd is None:
        _finish(call, BAD_COMMAND)
        return
    try:
        entry = call.bios.cd_entry()
    except OSError as error:
        _finish(call, _failure(call, cd, error))
        return
    if entry is None:
        _finish(call, BAD_COMMAND)
        return
    place = entry.first, 0, 0, entry.segment, entry.sectors, 0, 0, 0
    packet = struct.pack("<BBBBIHHHHBBB", 0x13, entry.media, entry.drive, 0, *place)
    call.write(call.far("ds", call.si), packet)
    _finish(call, OK)

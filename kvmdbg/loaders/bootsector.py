"""A boot sector or a whole disk, as a BIOS finds it, and a bootable CD.

Source: the IBM PC convention (BIOS Boot Specification 1.01, section 6.5.1): the first sector has 0x55, 0xAA at byte
510, is loaded at 0000:7C00 and entered there in real mode with the drive in DL (0x80 is the first hard disk).
"""

from __future__ import annotations

import os

from kvmdbg.errors import LoadError
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.disk import CD_SECTOR, FIRST_HARD_DISK, FLOPPIES, LARGEST_FLOPPY, SECTOR, Disk, partitions
from kvmdbg.machine.eltorito import BootEntry, boot_entry
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment

LOAD_ADDRESS = 0x7C00
SIGNATURE = b"\x55\xaa"
CD_DESCRIPTOR = 0x8001
CODE = 440
"""Bytes of a master boot record before the disk's number and its partitions."""


def drive_of(sector: bytes, size: int) -> str:
    """Which drive a disk image of ``size`` bytes is for: "floppy", "disk", or "both" where nothing says so."""
    if partitions(sector) or size > LARGEST_FLOPPY:
        return "disk"
    return "floppy" if size in FLOPPIES else "both"


@loader
class BootSector:
    """The first sector of a disk, where a BIOS is there to read the rest; else the whole file is loaded."""

    name = "bootsector"
    looks_for = "0x55 0xAA at byte 510"
    priority = 10
    takes_cmdline = False

    def recognise(self, data: bytes) -> bool:
        """True for the signature at byte 510."""
        return data[510:512] == SIGNATURE

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """One segment at 0x7c00 (or ``--load``)."""
        address = LOAD_ADDRESS if options.load is None else options.load
        mode = options.mode or "real"
        entry = chosen_entry(options, Entry(None, address), path, mode)
        drive = ""
        if options.by_bios and mode == "real" and options.load is None and os.path.isfile(path):
            if _is_file(path, data):
                drive = drive_of(data[:SECTOR], os.path.getsize(path))
            elif len(data) > SECTOR:
                raise LoadError(f"{path} is a disk that is packed: unpack it first")
        segments = [Segment(address, data[:SECTOR] if drive else data, name="boot sector")]
        registers = {"rdx": 0 if drive == "floppy" else FIRST_HARD_DISK}
        return Image(path, self.name, segments, mode, entry, registers, drive=drive, notes=_notes(data, path, drive))


def _notes(data: bytes, path: str, drive: str) -> list[str]:
    if drive != "disk" or any(data[:CODE]):
        return []
    return [
        f"{path} has no code in its first sector, which a BIOS would start all the same; a disk for UEFI wants "
        "firmware: --bios OVMF.fd"
    ]


def _is_file(path: str, data: bytes) -> bool:
    """Whether a disk can be made of the file, which begins with ``data``: it is no pipe, and not compressed."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(SECTOR) == data[:SECTOR]


@loader
class Cd:
    """A CD that can be booted (El Torito): what its boot catalog says is loaded, or is the disk that it stands for."""

    name = "cd"
    looks_for = "volume descriptor of a CD (ISO 9660) that can be booted"
    priority = 30
    takes_cmdline = False

    def recognise(self, data: bytes) -> bool:
        """True for an ISO 9660 volume with a boot catalog for a PC."""
        return data[CD_DESCRIPTOR : CD_DESCRIPTOR + 5] == b"CD001" and _entry(data) is not None

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """The code that a BIOS would load, at its place."""
        found = _entry(data)
        assert found is not None
        mode = options.mode or "real"
        if os.path.isfile(path) and not _is_file(path, data):
            raise LoadError(f"{path} is a CD that is packed: unpack it first")
        disk = Disk("cd0", path, "cdrom")
        try:
            if found.first >= disk.sectors:
                raise LoadError(f"{path} is truncated: what is to be booted begins at sector {found.first}")
            sectors = -(-found.loaded // CD_SECTOR)
            code = disk.read(found.first, min(sectors, disk.sectors - found.first))[: found.loaded]
        finally:
            disk.close()
        entry = chosen_entry(options, Entry(None, found.address), path, mode)
        registers = {"rdx": found.drive}
        return Image(
            path, self.name, [Segment(found.address, code, name="boot code")], mode, entry, registers, drive="cdrom"
        )


def _entry(data: bytes) -> BootEntry | None:
    return boot_entry(lambda number: data[number * CD_SECTOR : (number + 1) * CD_SECTOR])

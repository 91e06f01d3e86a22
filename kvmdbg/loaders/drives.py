"""Which of a machine's disks is booted where no image is given."""

from __future__ import annotations

from collections.abc import Sequence

from kvmdbg.errors import LoadError
from kvmdbg.loaders.registry import load
from kvmdbg.machine.disk import CD_DRIVE, FIRST_HARD_DISK, SECTOR, Disk, Disks
from kvmdbg.machine.eltorito import boot_entry
from kvmdbg.machine.image import Image, LoadOptions
from kvmdbg.record import replace


def _bootable(disk: Disk) -> bool:
    if disk.kind != "cdrom":
        return disk.read(0, 1)[SECTOR - 2 :] == b"\x55\xaa"
    sectors = disk.sectors
    return boot_entry(lambda number: disk.read(number, 1) if number < sectors else b"") is not None


def boot_image(options: LoadOptions, disks: Sequence[str], floppies: Sequence[str], cdrom: str | None) -> Image | None:
    """What a BIOS boots of these files: the first hard disk, floppy or CD that can be. None where there are none.

    LoadError where none can be booted, or one cannot be read.
    """
    there = Disks()
    try:
        for kind, files in (("disk", disks[:1]), ("floppy", floppies[:1]), ("cdrom", [cdrom] if cdrom else [])):
            for file in files:
                there.add(file, kind)
        tried = [(number, there.drive(number)) for number in (FIRST_HARD_DISK, 0, CD_DRIVE)]
        for number, disk in tried:
            if disk is None or not _bootable(disk):
                continue
            format = "cd" if number == CD_DRIVE else "bootsector"
            image = load(disk.path, replace(options, format=options.format or format))
            registers = image.registers if number == CD_DRIVE else {**image.registers, "rdx": number}
            return replace(image, drive="", registers=registers)
        names = [disk.path for _, disk in tried if disk is not None]
    finally:
        there.close()
    if not names:
        return None
    why = "a boot sector has 0x55 0xAA at byte 510, a CD a boot catalog (El Torito)"
    raise LoadError(f"nothing can be booted of {', '.join(names)}: {why}")

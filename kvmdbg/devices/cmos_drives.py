"""What CMOS memory says of drives, vCPUs and the order of booting, as firmware for QEMU's machine looks for it.

Floppy and disk types, disk tables and equipment: Ralf Brown's CMOS registers 10h to 2Ch; the rest: pc_cmos_init in
QEMU's hw/i386/pc.c. Old kernels (Linux 0.11) look for hard disks by their types.
"""

from __future__ import annotations

import struct

from kvmdbg.machine.board import Board
from kvmdbg.machine.disk import Disk

FLOPPY_TYPES, EQUIPMENT, BOOT_THIRD, TRANSLATION, BOOT_FIRST, MORE_CPUS = 0x10, 0x14, 0x38, 0x39, 0x3D, 0x5F
TYPES = ((40, 9, 1), (80, 9, 3), (80, 15, 2), (83, 21, 4), (80, 36, 5))
"""Most tracks and sectors of a track, and the drive's type: 360 KB, 720 KB, 1.2 MB, 1.44 MB, 2.88 MB."""
FROM_FLOPPY, FROM_DISK, FROM_CD = 1, 2, 3
BY_LBA = 1
"""Kind of translation."""
MOST_HEADS = 16
"""Up to how many no translation is needed."""
FPU, MOUSE = 2, 4
DISK_TYPES = 0x12
TYPE_ELSEWHERE, USER_TYPE = 15, 47
"""The type of a disk whose real one is in a register of its own, and the one that has a table of its own."""
EXTENDED_TYPES, DISK_TABLES = (0x19, 0x1A), (0x1B, 0x24)
MANY_HEADS, NO_RETRIES = 8, 0xC0


def drive_settings(board: Board) -> dict[int, int]:
    """Register and value of each."""
    disks, found = board.disks, {EQUIPMENT: FPU | MOUSE}
    if disks.floppies:
        first, second = (floppy_type(one) for one in [*disks.floppies, None][:2])
        found[FLOPPY_TYPES] = first << 4 | second
        found[EQUIPMENT] |= 1 | (len(disks.floppies) - 1) << 6
    for number, disk in enumerate(disks.hard_disks):
        found[DISK_TYPES] = found.get(DISK_TYPES, 0) | TYPE_ELSEWHERE << (4 - 4 * number)
        found[EXTENDED_TYPES[number]] = USER_TYPE
        found |= enumerate(disk_table(disk), DISK_TABLES[number])
    if not board.firmware:
        return found
    present = ((FROM_FLOPPY, disks.floppies), (FROM_DISK, disks.hard_disks), (FROM_CD, disks.cdrom))
    order = [number for number, there in present if there]
    order += [number for number, there in present if not there]
    found[BOOT_FIRST] = order[0] | order[1] << 4
    found[BOOT_THIRD] = order[2] << 4
    found[TRANSLATION] = sum(translation(disk) << 2 * number for number, disk in enumerate(disks.hard_disks))
    found[MORE_CPUS] = board.cpus - 1
    return found


def floppy_type(disk: Disk | None) -> int:
    """The type of the drive that takes such a floppy, 0 for no drive."""
    made = disk.geometry if disk is not None else None
    if made is None:
        return 0
    return next((kind for tracks, sectors, kind in TYPES if made.cylinders <= tracks and made.sectors <= sectors), 5)


def disk_table(disk: Disk) -> bytes:
    """Cylinders, heads, write precompensation (none), control byte, landing zone and sectors of a track."""
    made = disk.geometry
    if made is None:
        return b""
    cylinders = min(made.cylinders, 0xFFFF)
    control = NO_RETRIES | (MANY_HEADS if made.heads > MANY_HEADS else 0)
    return struct.pack("<HBHBHB", cylinders, made.heads & 0xFF, 0xFFFF, control, cylinders, made.sectors)


def translation(disk: Disk) -> int:
    """How firmware is to translate the drive's geometry."""
    return 0 if disk.geometry is not None and disk.geometry.heads <= MOST_HEADS else BY_LBA

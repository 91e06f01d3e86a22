"""What of a CD is booted (El Torito Bootable CD-ROM Format Specification 1.0)."""

from __future__ import annotations

from collections.abc import Callable

from kvmdbg.record import record

CD_SECTOR, SECTOR = 2048, 512
NO_EMULATION, HARD_DISK = 0, 4
FLOPPY_SIZES = {1: 1200 * 1024, 2: 1440 * 1024, 3: 2880 * 1024}
BOOT_RECORD = b"\0CD001\1EL TORITO SPECIFICATION"
LOAD_SEGMENT = 0x7C0


@record
class BootEntry:
    """The default entry of a boot catalog: ``media`` 0 is code to load, 1 to 3 a floppy, 4 a hard disk.

    ``sectors`` of 512 bytes from the CD's sector ``first`` go to ``segment``:0.
    """

    media: int
    segment: int
    sectors: int
    first: int

    @property
    def address(self) -> int:
        """Where what is loaded goes; a disk's boot sector goes to 0x7C00."""
        return self.segment << 4 if self.media == NO_EMULATION else LOAD_SEGMENT << 4

    @property
    def loaded(self) -> int:
        """Bytes."""
        return self.sectors * SECTOR if self.media == NO_EMULATION else SECTOR

    @property
    def drive(self) -> int:
        """As which the guest knows it."""
        return 0xE0 if self.media == NO_EMULATION else 0x80 if self.media == HARD_DISK else 0


def boot_entry(read: Callable[[int], bytes]) -> BootEntry | None:
    """What is booted for a PC; ``read`` gives a sector of the CD (fewer bytes, where it ends). None: nothing."""
    record = read(17)
    if not record.startswith(BOOT_RECORD):
        return None
    catalog = read(int.from_bytes(record[0x47:0x4B], "little"))
    if len(catalog) < 64 or catalog[0] != 1 or catalog[0x1E:0x20] != b"\x55\xaa" or catalog[1] != 0:
        return None
    words = (int.from_bytes(catalog[at : at + 2], "little") for at in range(0, 32, 2))
    if sum(words) & 0xFFFF:
        return None
    entry = catalog[32:64]
    if entry[0] != 0x88:
        return None
    segment, count, first = (int.from_bytes(entry[a:b], "little") for a, b in ((2, 4), (6, 8), (8, 12)))
    return BootEntry(entry[1] & 15, segment or LOAD_SEGMENT, max(count, 1), first)

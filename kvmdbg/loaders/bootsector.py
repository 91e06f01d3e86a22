"""A boot sector, as a BIOS finds it on a disk.

Source: the IBM PC convention (BIOS Boot Specification 1.01, section 6.5.1): the first sector has 0x55, 0xAA at byte
510, is loaded at 0000:7C00 and entered there in real mode with the drive in DL (0x80 is the first hard disk).
"""

from __future__ import annotations

from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment

LOAD_ADDRESS = 0x7C00
SIGNATURE = b"\x55\xaa"
FIRST_HARD_DISK = 0x80


@loader
class BootSector:
    """The whole file is loaded, not only its first 512 bytes: there is no BIOS here to read the rest."""

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
        segments = [Segment(address, data, name="boot sector")]
        return Image(path, self.name, segments, mode, entry, {"rdx": FIRST_HARD_DISK})

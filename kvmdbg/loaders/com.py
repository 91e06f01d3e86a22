"""A program for DOS without any header, known by its name (.com), as far as it asks the BIOS and the machine only.

Source: MS-DOS Programmer's Reference, program segment prefix: 256 bytes that begin with ``int 20h``, the program behind
them, all segment registers with their segment, and a zero on the stack, so that ``ret`` goes to the ``int 20h``.
"""

from __future__ import annotations

from kvmdbg.loaders.bootsector import BootSector
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment

SEGMENT, PREFIX, STACK = 0x1000, 0x100, 0xFFFE
END = b"\xcd\x20"
LARGEST = STACK - PREFIX


@loader
class Com:
    """Loaded at 1000:0100, or at ``--load`` behind a prefix; it starts as what a BIOS boots does, interrupts on."""

    name = "com"
    suffix = ".com"
    looks_for = f"length that fits a segment, which is up to {LARGEST} bytes"
    priority = -1
    takes_cmdline = False

    def recognise(self, data: bytes) -> bool:
        """Any bytes that fit may be one."""
        return len(data) <= LARGEST

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """One segment with the prefix and the program."""
        entry = chosen_entry(options, Entry(SEGMENT, PREFIX), path, "real")
        segments = [Segment(SEGMENT << 4, END.ljust(PREFIX, b"\0") + data, name="program")]
        note = (
            f"{path} is a program for DOS: it is loaded at {SEGMENT:04x}:{PREFIX:04x} and finds the BIOS, "
            "but of DOS only output of characters and its end (int 20h; int 21h, AH=00h, 02h, 09h, 4Ch)"
        )
        registers = {"rsp": STACK, "rdx": 0}
        return Image(path, BootSector.name, segments, "real", entry, registers, notes=[note])

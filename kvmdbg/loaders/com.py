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
END, MEMORY_END = b"\xcd\x20", b"\xff\x9f"
"""What the prefix begins with; the second is the segment behind memory, which programs take for the screen."""
STARTS_WITH = {"rcx": 0xFF, "rsi": PREFIX, "rdi": STACK, "rbp": 0x91C}
"""Registers as small programs take them for granted, beside zeros."""
TAIL, NO_WORDS = 0x80, b"\0\r".ljust(0x80, b"\0")
"""The command line in the prefix."""
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
        segments = [Segment(SEGMENT << 4, (END + MEMORY_END).ljust(TAIL, b"\0") + NO_WORDS + data, name="program")]
        note = (
            f"{path} is a program for DOS: it is loaded at {SEGMENT:04x}:{PREFIX:04x} and finds the BIOS, "
            "but of DOS only characters, keys, vectors, the time and its end (int 20h; int 21h, AH=00h to 02h, "
            "06h to 09h, 0Bh, 25h, 2Ch, 35h, 4Ch)"
        )
        registers = {"rsp": STACK, "rdx": 0, **STARTS_WITH}
        return Image(path, BootSector.name, segments, "real", entry, registers, notes=[note])

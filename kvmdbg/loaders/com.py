"""A program for DOS without any header, known by its name (.com), as far as it asks the BIOS and the machine only.

Source: MS-DOS Programmer's Reference, program segment prefix: 256 bytes that begin with ``int 20h``, the program behind
them, all segment registers with their segment, and a zero on the stack, so that ``ret`` goes to the ``int 20h``.
"""

from __future__ import annotations

from kvmdbg.errors import LoadError
from kvmdbg.loaders.bootsector import BootSector
from kvmdbg.loaders.entry import chosen_entry
from kvmdbg.loaders.registry import loader
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment

SEGMENT, PREFIX, STACK = 0x1000, 0x100, 0xFFFE
END, MEMORY_END = b"\xcd\x20", b"\xff\x9f"
"""What the prefix begins with; the second is the segment behind memory, which programs take for the screen."""
STARTS_WITH = {"rcx": 0xFF, "rsi": PREFIX, "rdi": STACK, "rbp": 0x91C}
"""Registers as small programs take them for granted, beside zeros."""
TAIL, LONGEST_TAIL = 0x80, 126
"""Where the command line is in the prefix, behind a byte with its length, and how long it is at most."""
LARGEST = STACK - PREFIX


@loader
class Com:
    """Loaded at 1000:0100, or at ``--load`` behind a prefix; it starts as what a BIOS boots does, interrupts on."""

    name = "com"
    suffix = ".com"
    looks_for = f"length that fits a segment, which is up to {LARGEST} bytes"
    priority = -1
    takes_cmdline = True

    def recognise(self, data: bytes) -> bool:
        """Any bytes that fit may be one."""
        return len(data) <= LARGEST

    def load(self, data: bytes, path: str, options: LoadOptions) -> Image:
        """One segment with the prefix and the program."""
        entry = chosen_entry(options, Entry(SEGMENT, PREFIX), path, "real")
        words = f" {options.cmdline}".encode("cp437", "replace") if options.cmdline else b""
        if len(words) > LONGEST_TAIL:
            raise LoadError(
                f"DOS has {LONGEST_TAIL - 1} bytes for a program's command line, this one has {len(words) - 1}"
            )
        prefix = (END + MEMORY_END).ljust(TAIL, b"\0") + bytes((len(words),)) + words + b"\r"
        segments = [Segment(SEGMENT << 4, prefix.ljust(PREFIX, b"\0") + data, name="program")]
        note = (
            f"{path} is a program for DOS: it is loaded at {SEGMENT:04x}:{PREFIX:04x} and finds the BIOS, "
            "but of DOS only keyboard and screen, vectors, time, memory and its end, and no files"
        )
        registers = {"rsp": STACK, "rdx": 0, **STARTS_WITH}
        return Image(path, BootSector.name, segments, "real", entry, registers, notes=[note])

"""What a Linux kernel is told on its command line, beyond what the user says."""

from __future__ import annotations

DEFAULT_CMDLINE = "console=ttyS0"
BANNER = b"Linux version "


def is_linux(data: bytes) -> bool:
    """Whether a kernel's bytes, not packed, are those of Linux: its banner is in them."""
    return BANNER in data


def command_line(given: str, moves: bool = True) -> tuple[str, list[str]]:
    """The kernel's command line for what the user has given, and sentences on what was added to it.

    Symbols of a file are right only while the kernel lies where it was linked, so that it is told to unless the user
    has said ``kaslr`` or ``nokaslr``, or nothing in the image ``moves``. An image without a packed kernel only looks
    like Linux to be started by boot loaders (iPXE, memtest86+, memdisk): it is told nothing more.
    """
    notes: list[str] = []
    if not moves:
        return given, notes
    if not given:
        given = DEFAULT_CMDLINE
        notes.append(f"No command line was given: the kernel gets {given}.")
    if {"kaslr", "nokaslr"} & set(given.split()):
        return given, notes
    notes.append(
        "The kernel stays where it was linked (nokaslr), so that its symbols are right; kaslr leaves it to it."
    )
    return f"{given} nokaslr", notes

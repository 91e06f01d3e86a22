"""The screen that a multiboot kernel asks for, and what it is told of the one that it gets."""

from __future__ import annotations

import struct

from kvmdbg.machine.image import Screen
from kvmdbg.machine.layout import PICTURE, PICTURE_SIZE
from kvmdbg.machine.vesa import LINEAR, NO_NUMBER, SIZES, VERSION, mode_information

DEFAULT = Screen(1024, 768, 32)
"""For a kernel that wants a picture of whatever size."""
MOST_WIDTH, MOST_HEIGHT = 2560, 1600
TEXT = struct.pack("<QIIIBB", 0xB8000, 160, 80, 25, 16, 2)
"""Address, pitch, width and height (in characters), bits and type: EGA text."""
DIRECT_COLOUR = 1
PARTS = {15: (10, 5, 5, 5, 0, 5), 16: (11, 5, 5, 6, 0, 5), 24: (16, 8, 8, 8, 0, 8), 32: (16, 8, 8, 8, 0, 8)}
"""Place and size of red, green and blue, by the bits of a pixel."""


def picture(width: int, height: int, bits: int) -> Screen:
    """What comes nearest to a wish; 0 is none."""
    fits = 0 < width <= MOST_WIDTH and 0 < height <= MOST_HEIGHT
    return Screen(
        width if fits else DEFAULT.width, height if fits else DEFAULT.height, bits if bits in PARTS else DEFAULT.bits
    )


def described(screen: Screen | None) -> bytes:
    """Address, pitch, width, height, bits and type, as both versions have them; without a picture of text."""
    if screen is None:
        return TEXT
    pitch = screen.width * ((screen.bits + 7) // 8)
    return struct.pack("<QIIIBB", PICTURE, pitch, screen.width, screen.height, screen.bits, DIRECT_COLOUR)


def colours(screen: Screen | None) -> bytes:
    """Where the colours are in a pixel; nothing for text."""
    return b"" if screen is None else bytes(PARTS[screen.bits])


CONTROL_SIZE, CONTROL_HEAD = 512, 0x22


def vesa(screen: Screen, at: int) -> tuple[bytes, bytes]:
    """What version 1 has of VESA's functions for a picture: fields from vbe_control_info to vbe_interface_len, and the
    two blocks for the address ``at`` to which they lead. There is no interface in protected mode.
    """
    number = SIZES.get((screen.width, screen.height), {}).get(screen.bits, NO_NUMBER)
    fields = struct.pack("<IIHHHH", at, at + CONTROL_SIZE, number | LINEAR, 0, 0, 0)
    modes = struct.pack("<HH", number, 0xFFFF)
    list_at = at + CONTROL_HEAD
    name_at = list_at + len(modes)
    control = struct.pack("<4sHIIIH", b"VESA", VERSION, _far(name_at), 0, _far(list_at), PICTURE_SIZE >> 16)
    control = control.ljust(CONTROL_HEAD, b"\0") + modes + b"kvmdbg"
    return fields, control.ljust(CONTROL_SIZE, b"\0") + mode_information(screen.width, screen.height, screen.bits, 0)


def _far(address: int) -> int:
    """Segment and offset of an address below 1 MiB."""
    return address >> 4 << 16 | address & 15

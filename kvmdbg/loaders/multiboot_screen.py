"""The screen that a multiboot kernel asks for, and what it is told of the one that it gets."""

from __future__ import annotations

import struct

from kvmdbg.machine.image import Screen
from kvmdbg.machine.layout import PICTURE

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

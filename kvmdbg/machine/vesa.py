"""What VESA says of pictures: the numbers of modes, and what a mode is (VESA BIOS Extension 3.0)."""

from __future__ import annotations

import struct

from kvmdbg.machine.layout import PICTURE, PICTURE_SIZE

SIZES = {
    (640, 400): {8: 0x100}, (640, 480): {8: 0x101, 15: 0x110, 16: 0x111, 24: 0x112, 32: 0x142},
    (800, 600): {8: 0x103, 15: 0x113, 16: 0x114, 24: 0x115, 32: 0x143},
    (1024, 768): {8: 0x105, 15: 0x116, 16: 0x117, 24: 0x118, 32: 0x144},
    (1280, 1024): {8: 0x107, 15: 0x119, 16: 0x11A, 24: 0x11B, 32: 0x145},
    (320, 200): {8: 0x146, 15: 0x10D, 16: 0x10E, 24: 0x10F, 32: 0x140},
    (1600, 1200): {32: 0x147}, (1152, 864): {8: 0x148, 32: 0x14C},
    (1280, 720): {16: 0x18D, 24: 0x18E, 32: 0x18F}, (1920, 1080): {16: 0x190, 24: 0x191, 32: 0x192},
}  # fmt: skip
"""The numbers of modes: VESA's own to 0x11b, those of QEMU's video BIOS beyond."""
VERSION, LINEAR, NO_NUMBER = 0x0300, 0x4000, 0x1FF
WINDOW = 0xA0000
MASKS = {15: (5, 10, 5, 5, 5, 0, 1, 15), 16: (5, 11, 6, 5, 5, 0, 0, 0), 24: (8, 16, 8, 8, 8, 0, 0, 0)}
"""Size and place of red, green, blue and what is reserved."""
MASKS[32] = (*MASKS[24][:6], 8, 24)
ATTRIBUTES = 0x9B
"""Of a mode: there, described, in colour, a picture, with linear memory."""
WINDOW_ATTRIBUTES = 7
"""It is there, to be read and written."""
PACKED, DIRECT = 4, 6
"""Ways in which a mode has its pixels in memory: a byte each, or their colours."""


def mode_information(width: int, height: int, bits: int, move_window: int) -> bytes:
    """The block that describes a mode; ``move_window`` is the far address of what moves the window, 0 for nothing."""
    pitch = width * ((bits + 7) // 8)
    pages = min(PICTURE_SIZE // (pitch * height) - 1, 255)
    masks = MASKS.get(bits, bytes(8))
    block = struct.pack("<HBBHHHHIH", ATTRIBUTES, WINDOW_ATTRIBUTES, 0, 64, 64, WINDOW >> 4, 0, move_window, pitch)
    block += struct.pack("<HHBBBBBBBBB", width, height, 8, 16, 1, bits, 1, PACKED if bits == 8 else DIRECT, 0, pages, 1)
    block += bytes((*masks, 0)) + struct.pack("<IIH", PICTURE, 0, 0)
    block += struct.pack("<HBB", pitch, pages, pages) + bytes(masks) + (0).to_bytes(4, "little")
    return block.ljust(256, b"\0")

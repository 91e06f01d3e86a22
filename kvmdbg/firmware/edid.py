"""What the screen says of itself: 128 bytes of EDID (VESA Enhanced EDID Standard, release A, revision 2)."""

from __future__ import annotations

HEADER = bytes.fromhex("00ffffffffffff00")
MAKER = bytes((0x2E, 0xC4))
"""Three letters of 5 bits: KVD."""
PRODUCT = bytes.fromhex("0100 01000000 01 23 0103")
"""Its number, its serial number, week 1 of 2025, EDID 1.3."""
SCREEN = bytes.fromhex("0e 24 1b 78 0a")
"""Analog with separate synchronization, 36 by 27 cm, gamma 2.2, in colour; the first timing is the preferred one."""
COLOURS = bytes.fromhex("ee91a3544c99260f5054")
"""Where sRGB has its primaries and its white."""
ESTABLISHED = bytes.fromhex("210800")
"""640 x 480, 800 x 600 and 1024 x 768 at 60 Hz."""
STANDARD = bytes.fromhex("0101") * 8
PREFERRED = bytes.fromhex("6419 004041 002630 1888 3600 680e11 0000 18")
"""1024 x 768 at 60 Hz (VESA's monitor timings): 65 MHz, 1344 by 806 dots with what is between the pictures."""
NAME = bytes.fromhex("000000fc00") + b"kvmdbg\n".ljust(13)
RANGES = bytes.fromhex("000000fd00 383d1e461000") + b"\n".ljust(7)
"""56 to 61 Hz, 30 to 70 kHz, up to 160 MHz."""
UNUSED = bytes.fromhex("0000001000").ljust(18, b"\0")


def edid() -> bytes:
    block = HEADER + MAKER + PRODUCT + SCREEN + COLOURS + ESTABLISHED + STANDARD
    block += PREFERRED + NAME + RANGES + UNUSED + b"\0"
    return block + bytes((-sum(block) & 0xFF,))

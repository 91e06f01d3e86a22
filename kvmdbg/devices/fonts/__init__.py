"""The characters of code page 437 as bitmaps of 8 columns, one byte a line, the leftmost pixel in bit 7.

The bitmaps are those of Unscii (viznut.fi/unscii, in the public domain); eight characters that it lacks were drawn for
kvmdbg, under its licence.
"""

from __future__ import annotations

import os
from functools import cache

HEIGHTS = (8, 14, 16)


@cache
def font(height: int) -> bytes:
    """``height`` bytes (one of HEIGHTS) for each of the 256 characters.

    The font of 14 lines is the one of 16 with the two outermost lines at the top and at the bottom made one.
    """
    if height == 14:
        tall = font(16)
        shapes = [tall[at : at + 16] for at in range(0, len(tall), 16)]
        return b"".join(bytes((one[0] or one[1], *one[2:14], one[15] or one[14])) for one in shapes)
    with open(os.path.join(os.path.dirname(__file__), f"cp437-8x{height}.bin"), "rb") as file:
        return file.read()

"""What a BIOS puts into a VGA adapter for each of its modes: registers and colours.

Source: IBM PS/2 Hardware Interface Technical Reference, video subsystem: registers by mode, and the default colours.
800 x 600 is VESA's mode 6Ah: 1056 dots by 628 lines with what is between the pictures (VESA's monitor timings, 60 Hz).
"""

from __future__ import annotations

from functools import cache

from kvmdbg.record import record

_EGA = "00 01 02 03 04 05 14 07 38 39 3a 3b 3c 3d 3e 3f"
_CGA = "00 01 02 03 04 05 06 07 10 11 12 13 14 15 16 17"
_TEXT_80 = "5f 4f 50 82 55 81 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 28 1f 96 b9 a3 ff"
_TEXT_40 = "2d 27 28 90 2b a0 bf 1f 00 4f 0d 0e 00 00 00 00 9c 8e 8f 14 1f 96 b9 a3 ff"
_WIDE_200 = "5f 4f 50 82 54 80 bf 1f 00 c0 00 00 00 00 00 00 9c 8e 8f 28 00 96 b9 e3 ff"
_NARROW_200 = "2d 27 28 90 2b 80 bf 1f 00 c0 00 00 00 00 00 00 9c 8e 8f 14 00 96 b9 e3 ff"
_VGA_480 = "5f 4f 50 82 54 80 0b 3e 00 40 00 00 00 00 00 00 ea 8c df 28 00 e7 04 e3 ff"
_PLANES = "00 00 00 00 00 00 05 0f ff"


@record
class Mode:
    """One mode's registers, and what a BIOS says of it: columns and rows of text, the height of its characters."""

    number: int
    misc: int
    sequencer: bytes
    crtc: bytes
    graphics: bytes
    attribute: bytes
    palette: str
    """The colours: "text", "cga" or "256"."""
    columns: int
    rows: int
    height: int
    width: int = 0
    """Pixels in a line, 0 in a text mode."""
    lines: int = 0
    colours: int = 16
    """How many a pixel or a character may have."""

    @property
    def is_text(self) -> bool:
        return not self.width


def _mode(
    number: int, misc: int, sequencer: str, crtc: str, graphics: str, attribute: str, palette: str, *sizes: int
) -> Mode:
    sequencer_, crtc_, graphics_, attribute_ = map(bytes.fromhex, (sequencer, crtc, graphics, attribute))
    return Mode(number, misc, sequencer_, crtc_, graphics_, attribute_, palette, *sizes)


def _modes() -> list[Mode]:
    text = "00 00 00 00 00 10 0e 0f ff"
    wide, narrow = (0x67, "03 00 03 00 02", _TEXT_80, text), (0x67, "03 08 03 00 02", _TEXT_40, text)
    ega, mono = f"{_EGA} 0c 00 0f 08 00", "00 08 08 08 08 08 08 08 10 18 18 18 18 18 18 18 0e 00 0f 08 00"
    cga4 = (0x63, "03 09 03 00 02", _NARROW_200.replace("c0", "c1").replace("e3", "a2"), "00 00 00 00 00 30 0f 0f ff")
    attribute4 = "00 13 15 17 02 04 06 07 10 11 12 13 14 15 16 17 01 00 03 00 00"
    cga2 = _WIDE_200.replace("c0", "c1").replace("e3", "c2")
    planar = f"{_CGA} 01 00 0f 00 00"
    return [
        *(_mode(number, *narrow, ega, "text", 40, 25, 16) for number in (0, 1)),
        *(_mode(number, *wide, ega, "text", 80, 25, 16) for number in (2, 3)),
        *(_mode(number, *cga4, attribute4, "cga", 40, 25, 8, 320, 200, 4) for number in (4, 5)),
        _mode(
            6, 0x63, "03 01 01 00 06", cga2, "00 00 00 00 00 00 0d 0f ff",
            f"00 {'17 ' * 15}01 00 01 00 00", "cga", 80, 25, 8, 640, 200, 2,
        ),
        _mode(
            7, 0x66, "03 00 03 00 02", _TEXT_80.replace("1f 96", "0f 96"), "00 00 00 00 00 10 0a 0f ff",
            mono, "mono", 80, 25, 16,
        ),
        _mode(0x0D, 0x63, "03 09 0f 00 06", _NARROW_200, _PLANES, planar, "cga", 40, 25, 8, 320, 200),
        _mode(0x0E, 0x63, "03 01 0f 00 06", _WIDE_200, _PLANES, planar, "cga", 80, 25, 8, 640, 200),
        _mode(
            0x10, 0xA3, "03 01 0f 00 06",
            "5f 4f 50 82 54 80 bf 1f 00 40 00 00 00 00 00 00 83 85 5d 28 0f 63 ba e3 ff",
            _PLANES, f"{_EGA} 01 00 0f 00 00", "text", 80, 25, 14, 640, 350,
        ),
        _mode(
            0x11, 0xE3, "03 01 0f 00 06", _VGA_480, _PLANES,
            f"{'00 3f ' * 8}01 00 0f 00 00", "text", 80, 30, 16, 640, 480, 2,
        ),
        _mode(
            0x12, 0xE3, "03 01 0f 00 06", _VGA_480, _PLANES, f"{_EGA} 01 00 0f 00 00",
            "text", 80, 30, 16, 640, 480,
        ),
        _mode(
            0x13, 0x63, "03 01 0f 00 0e",
            "5f 4f 50 82 54 80 bf 1f 00 41 00 00 00 00 00 00 9c 8e 8f 28 40 96 b9 a3 ff",
            "00 00 00 00 00 40 05 0f ff",
            "00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f 41 00 0f 00 00", "256", 40, 25, 8, 320, 200, 256,
        ),
        _mode(
            0x6A, 0xE3, "03 01 0f 00 06",
            "7f 63 63 83 6b 1b 72 f0 00 60 00 00 00 00 00 00 59 8d 57 32 00 57 73 e3 ff",
            _PLANES, f"{_EGA} 01 00 0f 00 00", "text", 100, 37, 16, 800, 600,
        ),
    ]  # fmt: skip


MODES = {mode.number: mode for mode in _modes()}
"""By the number that int 10h, AH=0 takes."""

_GREYS = (0, 5, 8, 11, 14, 17, 20, 24, 28, 32, 36, 40, 45, 50, 56, 63)
_SHADES = (
    (0, 16, 31, 47, 63), (31, 39, 47, 55, 63), (45, 49, 54, 58, 63), (0, 7, 14, 21, 28), (14, 17, 21, 24, 28),
    (20, 22, 24, 26, 28), (0, 4, 8, 12, 16), (8, 10, 12, 14, 16), (11, 12, 13, 15, 16),
)  # fmt: skip
"""The five levels of each group of 24 hues: three brightnesses, each in three saturations."""


def _hues(levels: tuple[int, ...]) -> bytes:
    """24 colours once round: blue, magenta, red, yellow, green, cyan, with three steps between two of them."""
    up, found = 4, bytearray()
    for number in range(24):
        leg, step = divmod(number, 4)
        rises, falls = levels[step], levels[up - step]
        low, high = levels[0], levels[up]
        found += bytes((
            (rises, low, high), (high, low, falls), (high, rises, low),
            (falls, high, low), (low, high, rises), (low, falls, high),
        )[leg])  # fmt: skip
    return bytes(found)


def _cga_colour(number: int) -> tuple[int, int, int]:
    """One of the 16 colours: intensity, red, green, blue from bit 3 on; 6 is brown."""
    bright = 21 if number & 8 else 0
    red, green, blue = (42 * (number >> bit & 1) + bright for bit in (2, 1, 0))
    return (red, 21, blue) if number == 6 else (red, green, blue)


@cache
def palette(kind: str) -> bytes:
    """The 256 colours of a kind of modes: red, green and blue, 6 bits each."""
    if kind == "256":
        greys = b"".join(bytes((level,)) * 3 for level in _GREYS)
        cga = b"".join(bytes(_cga_colour(number)) for number in range(16))
        return (cga + greys + b"".join(_hues(levels) for levels in _SHADES)).ljust(768, b"\0")
    if kind == "cga":
        part = b"".join(bytes(_cga_colour(n & 7 | (n & 0x10) >> 1)) for n in range(0x20))
        return (part * 2).ljust(768, b"\0")
    if kind == "mono":
        levels = (0, 42, 21, 63)
        return b"".join(bytes((levels[number >> 3 & 3],)) * 3 for number in range(64)).ljust(768, b"\0")
    colours = bytearray()
    for number in range(64):  # bits 2 to 0 are red, green and blue at two thirds, 5 to 3 at one third
        for bit in (2, 1, 0):
            colours.append(42 * (number >> bit & 1) + 21 * (number >> bit + 3 & 1))
    return bytes(colours).ljust(768, b"\0")

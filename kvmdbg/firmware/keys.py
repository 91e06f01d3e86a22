"""What keys become in the buffer of int 16h: scan code << 8 | character (US layout, 101 keys).

Source: IBM PS/2 Hardware Interface Technical Reference, keyboard; Ralf Brown's Interrupt List, table 00006.
"""

from __future__ import annotations

RIGHT_SHIFT, LEFT_SHIFT, CTRL, ALT, SCROLL, NUM, CAPS = 1, 2, 4, 8, 0x10, 0x20, 0x40
"""Bits of the shift flags at 40:17."""
EXTENDED = 2
"""In 40:96: the last code was 0xE0."""

_PLAIN = {
    0x02: "1234567890-=", 0x10: "qwertyuiop[]", 0x1E: "asdfghjkl;'`", 0x2B: "\\zxcvbnm,./", 0x39: " ",
}  # fmt: skip
_SHIFTED = {0x02: "!@#$%^&*()_+", 0x10: "QWERTYUIOP{}", 0x1E: 'ASDFGHJKL:"~', 0x2B: "|ZXCVBNM<>?", 0x39: " "}
PLAIN = {first + n: ord(char) for first, row in _PLAIN.items() for n, char in enumerate(row)}
SHIFTED = {first + n: ord(char) for first, row in _SHIFTED.items() for n, char in enumerate(row)}
PLAIN |= {0x01: 0x1B, 0x0E: 0x08, 0x0F: 0x09, 0x1C: 0x0D}
SHIFTED |= {0x01: 0x1B, 0x0E: 0x08, 0x1C: 0x0D}
CONTROL = {0x01: 0x1B, 0x0E: 0x7F, 0x1C: 0x0A, 0x1A: 0x1B, 0x2B: 0x1C, 0x1B: 0x1D, 0x07: 0x1E, 0x0C: 0x1F, 0x39: 0x20}
CONTROL |= {code: char & 0x1F for code, char in PLAIN.items() if chr(char).isalpha()}
KEYPAD = {
    0x47: "7", 0x48: "8", 0x49: "9", 0x4A: "-", 0x4B: "4", 0x4C: "5", 0x4D: "6", 0x4E: "+", 0x4F: "1", 0x50: "2",
    0x51: "3", 0x52: "0", 0x53: ".",
}  # fmt: skip
CONTROL_KEYPAD = {
    0x47: 0x77, 0x48: 0x8D, 0x49: 0x84, 0x4A: 0x8E, 0x4B: 0x73, 0x4C: 0x8F, 0x4D: 0x74, 0x4E: 0x90, 0x4F: 0x75,
    0x50: 0x91, 0x51: 0x76, 0x52: 0x92, 0x53: 0x93,
}  # fmt: skip
"""The scan code with Ctrl."""
FUNCTION = {code: n for n, code in enumerate((*range(0x3B, 0x45), 0x57, 0x58))}


def key_of(code: int, flags: int, *, extended: bool = False) -> int | None:
    """The word for a make code with these shift flags; None where there is none."""
    shift, ctrl, alt = bool(flags & (LEFT_SHIFT | RIGHT_SHIFT)), bool(flags & CTRL), bool(flags & ALT)
    if code in FUNCTION:
        return _function(FUNCTION[code], shift, ctrl, alt) << 8
    if extended:
        return _extended(code, ctrl, alt)
    if code in KEYPAD:
        return _keypad(code, flags, shift, ctrl, alt)
    if code == 0x37:
        return 0x3700 if alt else 0x9600 if ctrl else 0x372A
    if code == 0x0F:
        return 0xA500 if alt else 0x9400 if ctrl else 0x0F00 if shift else 0x0F09
    if code not in PLAIN:
        return None
    if alt:
        return _with_alt(code)
    if ctrl:
        if code == 0x03:
            return 0x0300
        return code << 8 | CONTROL[code] if code in CONTROL else None
    char = PLAIN[code]
    if flags & CAPS and chr(char).isalpha():
        shift = not shift
    return code << 8 | (SHIFTED[code] if shift else char)


def _with_alt(code: int) -> int:
    if 0x02 <= code <= 0x0D:
        return code + 0x76 << 8
    if code == 0x39:
        return 0x3920
    if code == 0x1C:
        return 0xA600
    return code << 8 if chr(PLAIN[code]).isalpha() else code << 8 | 0xF0


def _function(number: int, shift: bool, ctrl: bool, alt: bool) -> int:
    if number >= 10:
        return 0x85 + number - 10 + (6 if alt else 4 if ctrl else 2 if shift else 0)
    return number + (0x68 if alt else 0x5E if ctrl else 0x54 if shift else 0x3B)


def _extended(code: int, ctrl: bool, alt: bool) -> int | None:
    if code == 0x1C:
        return 0xA600 if alt else 0xE00A if ctrl else 0xE00D
    if code == 0x35:
        return 0xA400 if alt else 0x9500 if ctrl else 0xE02F
    if code not in KEYPAD or code in (0x4A, 0x4C, 0x4E):
        return None
    if alt:
        return code + 0x50 << 8
    return (CONTROL_KEYPAD[code] if ctrl else code) << 8 | 0xE0


def _keypad(code: int, flags: int, shift: bool, ctrl: bool, alt: bool) -> int | None:
    char = KEYPAD[code]
    if alt:
        return code << 8 | 0xF0 if char in "+-" else None
    if ctrl:
        return CONTROL_KEYPAD[code] << 8
    if char in "+-" or bool(flags & NUM) != shift:
        return code << 8 | ord(char)
    return 0x4CF0 if char == "5" else code << 8

"""The formats of ``print`` and ``x``: "/4xw" taken apart, and one number as a format letter shows it.

Source: gdb manual, "Output Formats" and "Examining Memory"; what both do was compared with gdb 13.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from kvmdbg.errors import UsageError
from kvmdbg.record import record

LETTERS = "xduotacfsiz"
SIZES = {"b": 1, "h": 2, "w": 4, "g": 8}
_SIZE_LETTERS = {size: letter for letter, size in SIZES.items()}
_SUFFIX = re.compile(r"/?\s*(-?\d*)(.*?)\s*$", re.DOTALL)
_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 27: "\\033", 92: "\\\\"}


@record
class Format:
    """``count`` units (negative: backwards), each of ``size`` bytes and shown as ``letter`` says.

    For ``s`` the size is that of a character; for ``i`` it means nothing but is kept for the next ``x``.
    """

    count: int = 1
    letter: str = "x"
    size: int = 4

    def __str__(self) -> str:
        count = str(self.count) if self.count != 1 else ""
        return f"/{count}{self.letter}{'' if self.letter == 'i' else _SIZE_LETTERS[self.size]}"


FIRST = Format()
"""What ``x`` shows when nothing was asked for before."""


def _parts(text: str) -> tuple[int, str, int]:
    """Count, letter ("" for none) and size (0 for none) of "/4xw", the slash being optional. Raises UsageError."""
    match = _SUFFIX.match(text)
    assert match is not None
    digits, rest = match[1], match[2]
    count = -1 if digits == "-" else int(digits or 1)
    letter, size = "", 0
    shown = text if text.startswith("/") else f"/{text}"
    for char in rest:
        if char in SIZES and not size:
            size = SIZES[char]
        elif char in LETTERS and not letter:
            letter = char
        elif char in SIZES or char in LETTERS:
            kind, before = ("size", _SIZE_LETTERS[size]) if char in SIZES else ("format", letter)
            raise UsageError(f"{shown}: '{char}' is a second {kind} after '{before}'")
        else:
            raise UsageError(
                f"{shown}: '{char}' is no format letter (x d u o t a c f s i z) or size (b h w g); a count comes first"
            )
    return count, letter, size


def parse_format(text: str, last: Format = FIRST, *, pointer_size: int = 8) -> Format:
    """What "/4xw" asks of ``x``; what it leaves out is as in ``last`` (the count is 1).

    As in gdb, a letter without a size takes the last size, except that ``a`` takes ``pointer_size``,
    ``c`` and ``s`` one byte, and ``f`` eight bytes unless the last size was four; a size without a letter
    after ``i`` means ``x``. A letter or size that is
    none, or one too many, is a UsageError that names it.
    """
    count, letter, size = _parts(text)
    if size:  # goes with any letter but i
        return Format(count, letter or ("x" if last.letter == "i" else last.letter), size)
    if not letter:
        return Format(count, last.letter, last.size)
    if letter == "a":
        return Format(count, letter, pointer_size)
    if letter in ("c", "s"):
        return Format(count, letter, 1)
    if letter == "f":
        return Format(count, letter, 4 if last.size == 4 else 8)
    return Format(count, letter, last.size)


def parse_print_format(text: str, command: str = "print") -> str:
    """The letter of a ``print/x`` ("" for none). Counts, sizes, and s and i, which need memory, are a UsageError."""
    count, letter, size = _parts(text)
    if count != 1:
        raise UsageError(f"{command} takes no count ({count}); x/{count}{letter or 'x'} shows several units of memory")
    if size:
        raise UsageError(f"{command} takes no size ('{_SIZE_LETTERS[size]}'); a cast such as (u{8 * size}) sets it")
    if letter in ("s", "i"):
        raise UsageError(f"{command} has no format '{letter}': it shows memory, as x/{letter} ADDRESS does")
    return letter


def format_scalar(
    value: int,
    letter: str,
    size: int,
    symbolize: Callable[[int], str] | None = None,
    *,
    padded: bool = False,
) -> str:
    """``value``, of which ``size`` bytes count, as ``letter`` shows it: one of x d u o t c a f z.

    ``padded`` gives x and t all their digits, as ``x`` does and ``print`` does not. ``symbolize``
    names an address ("main+0x4", or "") for ``a``. ``d``, ``c``, and ``f`` of a size that no floating
    point format has, are signed. UsageError for any other letter.
    """
    if letter not in LETTERS or letter in ("s", "i") or len(letter) != 1:
        raise UsageError(f"'{letter}' is no format of a number; there are x d u o t c a f z")
    raw = value & ((1 << 8 * size) - 1)
    if letter == "z" or (letter == "x" and padded):
        return f"{raw:#0{2 * size + 2}x}"
    if letter == "x":
        return f"{raw:#x}"
    if letter == "t":
        return f"{raw:0{8 * size}b}" if padded else f"{raw:b}"
    if letter == "o":
        return f"0{raw:o}" if raw else "0"
    if letter == "u":
        return str(raw)
    if letter == "c":
        return f"{signed(raw, 1)} '{character(raw & 0xFF)}'"
    if letter == "a":
        name = symbolize(raw) if symbolize is not None else ""
        return f"{raw:#x} <{name}>" if name else f"{raw:#x}"
    if letter == "f":
        return _floating(raw, size)
    return str(signed(raw, size))


def signed(value: int, size: int) -> int:
    """The lower ``size`` bytes of ``value`` as two's complement."""
    half = 1 << (8 * size - 1)
    return (value & (2 * half - 1) ^ half) - half


def character(byte: int, quote: str = "'") -> str:
    """One byte as it stands in C between two ``quote``: escaped where it must be, octal where it cannot be shown."""
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    if chr(byte) == quote:
        return "\\" + quote
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def _floating(raw: int, size: int) -> str:
    """The bits as IEEE 754 single or double; a number of another size as an integer."""
    if size not in (4, 8):
        return str(signed(raw, size))
    number = struct.unpack("<f" if size == 4 else "<d", raw.to_bytes(size, "little"))[0]
    if number != number:
        fraction = raw & ((1 << (23 if size == 4 else 52)) - 1)
        return f"{'-' if raw >> (8 * size - 1) else ''}nan({fraction:#x})"
    return f"{number:.{9 if size == 4 else 17}g}"

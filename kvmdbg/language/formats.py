"""One number as a format letter of ``print`` and ``x`` shows it.

Source: gdb manual, "Output Formats" and "Examining Memory"; what both do was compared with gdb 13.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from itertools import groupby

from kvmdbg.errors import UsageError
from kvmdbg.language.ctype import CType
from kvmdbg.masks import LOW64

LETTERS = "xduotacfsiz"
_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 27: "\\033", 92: "\\\\"}


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
        return floating(raw, size)
    return str(signed(raw, size))


def signed(value: int, size: int) -> int:
    """The lower ``size`` bytes of ``value`` as two's complement."""
    half = 1 << (8 * size - 1)
    return (value & (2 * half - 1) ^ half) - half


def character(code: int, quote: str = "'", *, wide: bool = False) -> str:
    """A character as it stands in C between two ``quote``: escaped where it must be, octal where it cannot be shown.

    It is a byte, or, ``wide``, one of Unicode's; below 0 a byte that is none.
    """
    if code in _ESCAPES:
        return _ESCAPES[code]
    if wide and 0x7F < code < 0x110000:
        return chr(code) if chr(code).isprintable() else f"\\x{code:x}"
    if chr(code & 0xFF) == quote:
        return "\\" + quote
    if 0x20 <= code < 0x7F:
        return chr(code)
    return f"\\{code & 0xFF if code < 0 else code:03o}" if code <= 0o777 else f"\\x{code:x}"


def of_utf8(data: bytes) -> list[int]:
    """The characters of a text as Unicode has them; bytes that are no UTF-8 are below 0."""
    return [
        ord(char) - 0xDD00 if 0xDC80 <= ord(char) <= 0xDCFF else ord(char)
        for char in data.decode("utf-8", "surrogateescape")
    ]


MOST_ELEMENTS = 200
"""So many characters of a text are shown."""
MOST_ALIKE = 10
"""So many of the same in a row are shown one by one."""


def quoted(
    data: Sequence[int],
    *,
    ended: bool = False,
    most: int = MOST_ELEMENTS,
    alike: int = MOST_ALIKE,
    prefix: str = "",
    wide: bool = False,
) -> str:
    """Characters as gdb shows an array of them: one zero at the end is left out, runs of the same are counted.

    ``ended``: what followed was a zero, so that there is none to leave out. So many as ``most`` are shown, and so many
    as ``alike`` of the same one by one; 0: all. With a ``prefix`` ("L"), or ``wide``, they are Unicode's.
    """
    wide = wide or bool(prefix)
    if not ended and data and not data[-1]:
        data = data[:-1]
    parts: list[str] = []
    most = most or len(data) + 1
    open_, left = False, most
    for byte, group in groupby(data):
        count = len(list(group))
        if left <= 0:
            return prefix + ", ".join(parts) + "..."
        if alike and count > alike:
            parts.append(f"'{character(byte, wide=wide)}' <repeats {count} times>")
            open_, left = False, left - count
            continue
        shown = character(byte, '"', wide=wide) * count  # those alike are shown together, also at the end
        parts[-1:] = [f'{parts[-1][:-1]}{shown}"'] if open_ else [*parts[-1:], f'"{shown}"']
        open_, left = True, left - count
    return prefix + (", ".join(parts) if parts else '""')


def number_in_radix(value: int, radix: int) -> str:
    """A number as ``print`` shows it with no format: decimal, or as `set radix` says."""
    sign = "-" if value < 0 else ""
    if radix == 16:
        return f"{sign}{abs(value):#x}"
    if radix == 8:
        return f"{sign}0{abs(value):o}"
    return f"{sign}{abs(value):b}" if radix == 2 else str(value)


def number_of(raw: int, size: int) -> float:
    """The number that the bits are as IEEE 754 single or double; of another size as an integer."""
    if size not in (4, 8):
        return signed(raw, size)
    number: float = struct.unpack("<f" if size == 4 else "<d", raw.to_bytes(size, "little"))[0]
    return number


def extended(raw: int) -> str:
    """The 80 bits of an x87 number (long double) with 21 digits, as gdb shows it. Source: SDM volume 1, 4.2.2."""
    fraction, exponent, sign = raw & LOW64, raw >> 64 & 0x7FFF, "-" if raw >> 79 & 1 else ""
    if bool(exponent) != bool(fraction >> 63):
        return "<invalid float value>"
    if exponent == 0x7FFF:
        return f"{sign}inf" if fraction in (0, 1 << 63) else f"{sign}nan({fraction:#x})"
    return sign + _with_digits(fraction, max(exponent, 1) - 16383 - 63, 21)


def quad(raw: int) -> str:
    """The 128 bits of a _Float128 (IEEE 754 binary128) with 36 digits, as gdb shows it."""
    fraction, exponent, sign = raw & (1 << 112) - 1, raw >> 112 & 0x7FFF, "-" if raw >> 127 & 1 else ""
    if exponent == 0x7FFF:
        return f"{sign}nan({fraction:#x})" if fraction else f"{sign}inf"
    return sign + _with_digits(fraction | (1 << 112 if exponent else 0), max(exponent, 1) - 16383 - 112, 36)


def _with_digits(fraction: int, power: int, digits: int) -> str:
    """``fraction`` times a power of two with so many digits, as C's %g writes it."""
    from decimal import Decimal, localcontext

    if not fraction:
        return "0"
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = digits + 40, 999_999, -999_999
        exact = Decimal(fraction) * Decimal(2) ** power
        context.prec = digits
        rounded = (+exact).normalize()
    at = rounded.adjusted()
    if -5 < at < digits:
        return f"{rounded:f}"
    figures = "".join(map(str, rounded.as_tuple().digits))
    point = f".{figures[1:]}" if len(figures) > 1 else ""
    return f"{figures[0]}{point}e{at:+03d}"


def floating(raw: int, size: int, *, of_type: CType | None = None) -> str:
    """The bits as IEEE 754 single or double, or as an x87 number in 10, 12 or 16 bytes; of another size an integer.

    Where ``of_type`` says so, as a _Float16 or a _Float128.
    """
    if of_type is not None and of_type.is_quad:
        return quad(raw)
    if of_type is not None and size == 2:
        number = float(struct.unpack("<e", raw.to_bytes(2, "little"))[0])
        return f"{number:.5g}" if number == number else f"{'-' if raw >> 15 else ''}nan({raw & 0x3FF:#x})"
    if size in (10, 12, 16):
        return extended(raw)
    if size not in (4, 8):
        return str(signed(raw, size))
    number = number_of(raw, size)
    if number != number:
        fraction = raw & ((1 << (23 if size == 4 else 52)) - 1)
        return f"{'-' if raw >> (8 * size - 1) else ''}nan({fraction:#x})"
    return f"{number:.{9 if size == 4 else 17}g}"

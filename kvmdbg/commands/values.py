"""Numbers as gdb's format letters show them.

Source: gdb manual, "Output Formats" and "Examining Memory".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kvmdbg.errors import UsageError

if TYPE_CHECKING:
    from kvmdbg.commands.interpreter import Interpreter

_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 27: "\\033", 92: "\\\\"}


def signed(value: int, size: int) -> int:
    """``value`` of ``size`` bytes read as two's complement."""
    value &= (1 << 8 * size) - 1
    return value - (1 << 8 * size) if value >> (8 * size - 1) else value


def character(byte: int, quote: str = "'") -> str:
    """One byte inside quotes, escaped as in C."""
    if byte in _ESCAPES:
        return _ESCAPES[byte]
    if chr(byte) == quote:
        return "\\" + quote
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def format_value(dbg: Interpreter, value: int, letter: str, size: int, *, pad: bool = False) -> str:
    """One number of ``size`` bytes in the format ``letter``. ``pad``: hexadecimal with all its digits, as ``x`` shows.

    Raises UsageError for a letter that shows no single number (s, i).
    """
    raw = value & ((1 << 8 * size) - 1)
    if letter == "x":
        return f"{raw:#0{2 * size + 2}x}" if pad else f"{raw:#x}"
    if letter == "z":
        return f"{raw:#0{2 * size + 2}x}"
    if letter == "d":
        return str(signed(value, size))
    if letter == "u":
        return str(raw)
    if letter == "o":
        return f"0{raw:o}" if raw else "0"
    if letter == "t":
        return f"{raw:0{8 * size}b}" if pad else f"{raw:b}"
    if letter == "c":
        return f"{signed(raw, 1)} '{character(raw & 0xFF)}'"
    if letter == "a":
        label = address_label(dbg, raw)
        return f"{raw:#x} {label}" if label else f"{raw:#x}"
    if letter == "f":
        return float_text(raw, size)
    raise UsageError(f"/{letter} does not show a number; use x/{letter} with an address")


def float_text(raw: int, size: int) -> str:
    """The bits read as an IEEE 754 number of 2, 4 or 8 bytes; other sizes as an integer."""
    code = {2: "<e", 4: "<f", 8: "<d"}.get(size)
    if code is None:
        return str(signed(raw, size))
    return f"{struct.unpack(code, raw.to_bytes(size, 'little'))[0]:.{9 if size == 4 else 17}g}"


def number_in_radix(value: int, radix: int) -> str:
    """A number as ``print`` shows it with no format: decimal, or as `set radix` says."""
    sign = "-" if value < 0 else ""
    if radix == 16:
        return f"{sign}{abs(value):#x}"
    if radix == 8:
        return f"{sign}0{abs(value):o}"
    return f"{sign}{abs(value):b}" if radix == 2 else str(value)


def address_label(dbg: Interpreter, address: int) -> str:
    """``<loop+3>`` or ""."""
    name = dbg.session.symbols.format(address)
    return f"<{name}>" if name else ""

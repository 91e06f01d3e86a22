"""Floating point numbers of the guest: float, double, and the 80 bits of an x87 register (long double).

Source: IEEE 754; Intel SDM volume 1, 4.2.2 (formats), 8.5 (what operations give for infinities and NaNs).
"""

from __future__ import annotations

import math
import struct
from fractions import Fraction

from kvmdbg.masks import LOW64

BIAS, DIGITS = 16383, 64
NOTHING = math.copysign(math.nan, -1.0)
"""What an operation gives that has no result (the default NaN of x86: SDM volume 1, table 4-3)."""


class Extended:
    """A number of 80 bits: an exact fraction, or a float that is an infinity, a NaN or a zero with its sign."""

    __slots__ = ("value",)
    digits = DIGITS

    def __init__(self, value: Fraction | float | int | Extended) -> None:
        if isinstance(value, Extended):
            value = value.value
        if isinstance(value, float):
            value = Fraction(value) if value and math.isfinite(value) else value
        self.value: Fraction | float = value if isinstance(value, float) else _rounded(Fraction(value), self.digits)

    def _with(self, other: Extended, work: str) -> Extended:
        left, right = self.value, other.value
        if isinstance(left, float) or isinstance(right, float):
            one, two = _small(left), _small(right)
            if work == "/":
                return type(self)(divided(one, two))
            if work in "+-" and (math.isfinite(one) and math.isfinite(two)):  # a zero is among them
                exact = Fraction(left) + Fraction(right) * (1 if work == "+" else -1)
                return type(self)(exact) if exact else type(self)(one + two if work == "+" else one - two)
            return type(self)({"+": one + two, "-": one - two, "*": one * two}[work])
        if work == "/":
            return type(self)(left / right)
        found = {"+": left + right, "-": left - right, "*": left * right}[work]
        return type(self)(found) if found else type(self)(0.0)

    def __add__(self, other: Extended) -> Extended:
        return self._with(other, "+")

    def __sub__(self, other: Extended) -> Extended:
        return self._with(other, "-")

    def __mul__(self, other: Extended) -> Extended:
        return self._with(other, "*")

    def __truediv__(self, other: Extended) -> Extended:
        return self._with(other, "/")

    def __neg__(self) -> Extended:
        return type(self)(-self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        if isinstance(self.value, float):
            return self.value
        try:
            return float(self.value)
        except OverflowError:
            return -math.inf if self.value < 0 else math.inf

    def _comparable(self, other: object) -> Fraction | float:
        return other.value if isinstance(other, Extended) else other  # type: ignore[return-value]

    def __eq__(self, other: object) -> bool:
        return self.value == self._comparable(other)

    def __hash__(self) -> int:
        return hash(self.value)

    def __lt__(self, other: object) -> bool:
        return self.value < self._comparable(other)

    def __le__(self, other: object) -> bool:
        return self.value <= self._comparable(other)

    def __gt__(self, other: object) -> bool:
        return self.value > self._comparable(other)

    def __ge__(self, other: object) -> bool:
        return self.value >= self._comparable(other)

    def __repr__(self) -> str:
        return f"Extended({self.value!r})"


class Quad(Extended):
    """A number of 128 bits (_Float128)."""

    __slots__ = ()
    digits = 113


def _small(value: Fraction | float) -> float:
    """A float that behaves like it beside infinities, NaNs and zeros."""
    return value if isinstance(value, float) else -1.0 if value < 0 else 1.0


def _exponent(value: Fraction) -> int:
    """The greatest power of two that is no greater than a number above 0."""
    at = value.numerator.bit_length() - value.denominator.bit_length()
    return at if (value >= Fraction(2) ** at) else at - 1


def _rounded(value: Fraction, digits: int) -> Fraction | float:
    """To so many bits, to the nearest, ties to even."""
    if not value:
        return 0.0
    unit = Fraction(2) ** (max(_exponent(abs(value)), 1 - BIAS) - digits + 1)
    found = round(value / unit) * unit
    if abs(found) > (1 << digits) - 1 << BIAS - digits + 1:
        return -math.inf if value < 0 else math.inf
    return found or (-0.0 if value < 0 else 0.0)


def extended_of(raw: int) -> Extended:
    """The number that 80 bits are."""
    fraction, exponent, sign = raw & LOW64, raw >> 64 & 0x7FFF, -1 if raw >> 79 & 1 else 1
    if exponent == 0x7FFF:
        return Extended(sign * math.inf if fraction in (0, 1 << 63) else math.copysign(math.nan, sign))
    if not fraction:
        return Extended(sign * 0.0)
    return Extended(sign * fraction * Fraction(2) ** (max(exponent, 1) - BIAS - DIGITS + 1))


def bits_of_extended(number: Extended) -> int:
    """The 80 bits of a number."""
    value = number.value
    if isinstance(value, float):
        sign = 1 << 79 if math.copysign(1.0, value) < 0 else 0
        if not value:
            return sign
        return sign | 0x7FFF << 64 | 1 << 63 | (0 if math.isinf(value) else 1 << 62)
    power = max(_exponent(abs(value)), 1 - BIAS)
    fraction = int(abs(value) / Fraction(2) ** (power - DIGITS + 1))
    exponent = power + BIAS if fraction >> 63 else 0
    return (1 << 79 if value < 0 else 0) | exponent << 64 | fraction


def quad_of(raw: int) -> Quad:
    """The number that 128 bits are."""
    fraction, exponent, sign = raw & (1 << 112) - 1, raw >> 112 & 0x7FFF, -1 if raw >> 127 & 1 else 1
    if exponent == 0x7FFF:
        return Quad(math.copysign(math.nan if fraction else math.inf, sign))
    whole = fraction | (1 << 112 if exponent else 0)
    return Quad(sign * whole * Fraction(2) ** (max(exponent, 1) - BIAS - 112) if whole else sign * 0.0)


def bits_of_quad(number: Quad) -> int:
    """The 128 bits of a number."""
    value = number.value
    if isinstance(value, float):
        sign = 1 << 127 if math.copysign(1.0, value) < 0 else 0
        return sign | (0 if not value else 0x7FFF << 112 | (0 if math.isinf(value) else 1 << 111))
    power = max(_exponent(abs(value)), 1 - BIAS)
    fraction = int(abs(value) / Fraction(2) ** (power - 112))
    exponent = power + BIAS if fraction >> 112 else 0
    return (1 << 127 if value < 0 else 0) | exponent << 112 | fraction & (1 << 112) - 1


def number_of(data: bytes, is_quad: bool = False) -> float | Extended:
    """The number that 2, 4, 8, or 10 and more bytes are; 16 are a long double unless they are a _Float128."""
    if is_quad:
        return quad_of(int.from_bytes(data, "little"))
    if len(data) == 2:
        short: float = struct.unpack("<e", data)[0]
        return short
    if len(data) == 4:
        found: float = struct.unpack("<f", data)[0]
        return found
    if len(data) == 8:
        found = struct.unpack("<d", data)[0]
        return found
    return extended_of(int.from_bytes(data[:10], "little"))


def bytes_of(number: float | Extended, size: int, is_quad: bool = False) -> bytes:
    """The bytes of a number in memory."""
    if is_quad:
        return bits_of_quad(Quad(number)).to_bytes(16, "little")
    if size == 2:
        return _two(float(number))
    if size == 8:
        return struct.pack("<d", float(number))
    if size == 4:
        return _four(float(number))
    return bits_of_extended(Extended(number)).to_bytes(10, "little").ljust(size, b"\0")


def _four(number: float) -> bytes:
    try:
        return struct.pack("<f", number)
    except OverflowError:
        return struct.pack("<f", math.copysign(math.inf, number))


def _two(number: float) -> bytes:
    try:
        return struct.pack("<e", number)
    except OverflowError:
        return struct.pack("<e", math.copysign(math.inf, number))


def half(number: float | int | Extended) -> float:
    """Rounded to a _Float16."""
    found: float = struct.unpack("<e", _two(float(number)))[0]
    return found


def single(number: float | int | Extended) -> float:
    """Rounded to a float."""
    found: float = struct.unpack("<f", _four(float(number)))[0]
    return found


def divided(left: float, right: float) -> float:
    """As IEEE 754 divides: no error for 0."""
    if right:
        return left / right
    if left != left or right != right:
        return left + right
    if not left:
        return NOTHING
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def truncated(number: float | Extended) -> int:
    """Towards zero; what 64 signed bits do not hold is the least or the greatest that they hold, as in gdb."""
    value = number.value if isinstance(number, Extended) else number
    if not -(1 << 63) <= value < 1 << 63:  # a NaN, too
        return -(1 << 63) if value < 0 else (1 << 63) - 1
    return int(value)

"""Numbers at the ends of what their types hold: IEEE 754, x87's 80 bits (SDM 1, 4.2.2), and C's conversions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from kvmdbg.language.expressions import parse
from kvmdbg.language.floats import (
    Extended,
    Quad,
    bits_of_extended,
    bits_of_quad,
    bytes_of,
    divided,
    extended_of,
    half,
    number_of,
    quad_of,
    single,
    truncated,
)

from .machine import filled

TOP, SIGN = 1 << 63, 1 << 79


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("bits", "value"),
    [
        (0x3FFF << 64 | TOP, Fraction(1)), (0x4000 << 64 | TOP, Fraction(2)), (0x3FFE << 64 | TOP, Fraction(1, 2)),
        (0x4000 << 64 | TOP | TOP >> 1, Fraction(3)), (0x3FFF << 64 | TOP | 1, 1 + Fraction(1, 1 << 63)),
        (0x7FFE << 64 | (1 << 64) - 1, (2 - Fraction(1, 1 << 63)) * 2**16383), (1 << 64 | TOP, Fraction(1, 2**16382)),
        (TOP - 1, (1 - Fraction(1, 1 << 63)) / 2**16382), (1, Fraction(1, 2**16445)),
    ],
)  # fmt: skip
def test_80_bits(bits: int, value: Fraction, sign: int) -> None:
    raw = bits | (SIGN if sign < 0 else 0)
    assert extended_of(raw).value == sign * value and bits_of_extended(Extended(sign * value)) == raw


def test_ends_of_80_bits() -> None:
    infinite, nothing = 0x7FFF << 64 | TOP, 0x7FFF << 64 | TOP | TOP >> 1
    assert [extended_of(one).value for one in (infinite, infinite | SIGN, 0x7FFF << 64)] == [
        math.inf,
        -math.inf,
        math.inf,
    ]
    assert [bits_of_extended(Extended(one)) for one in (math.inf, -math.inf)] == [infinite, infinite | SIGN]
    assert [bits_of_extended(Extended(one)) for one in (math.nan, -math.nan)] == [nothing, nothing | SIGN]
    assert [bits_of_extended(Extended(one)) for one in (0.0, -0.0)] == [0, SIGN]
    assert [math.copysign(1, extended_of(one).value) for one in (0, SIGN, nothing, nothing | SIGN)] == [1, -1, 1, -1]
    least = Fraction(1, 2**16445)
    assert [bits_of_extended(Extended(one)) for one in (least / 2, -least / 2, least * 3 / 4)] == [0, SIGN, 1]
    half_way = Fraction(1, 1 << 64)  # ties to even
    assert [Extended(1 + one * half_way).value - 1 for one in (1, 2, 3, 5)] == [
        0, 2 * half_way, 4 * half_way, 4 * half_way,
    ]  # fmt: skip


def test_128_bits_of_both_signs() -> None:
    for sign, bit in ((1, 0), (-1, 1 << 127)):
        for raw, value in (
            (0x3FFF << 112, Fraction(1)), (0x4000 << 112 | 1 << 111, Fraction(3)), (1, Fraction(1, 2**16494)),
            (1 << 112, Fraction(1, 2**16382)), (0x3FFF << 112 | 1, 1 + Fraction(1, 1 << 112)),
        ):  # fmt: skip
            assert quad_of(raw | bit).value == sign * value and bits_of_quad(Quad(sign * value)) == raw | bit
        assert bits_of_quad(Quad(sign * 0.0)) == bit and bits_of_quad(Quad(sign * math.inf)) == bit | 0x7FFF << 112
        assert bits_of_quad(Quad(math.copysign(math.nan, sign))) == bit | 0x7FFF << 112 | 1 << 111
        assert quad_of(bit | 0x7FFF << 112).value == sign * math.inf and math.copysign(1, quad_of(bit).value) == sign
        assert math.isnan(quad_of(bit | 0x7FFF << 112 | 1).value)


def test_rounding_to_less() -> None:
    assert [half(one) for one in (65504, 65519, 65520, -65520, 1e-8, 2049)] == [
        65504,
        65504,
        math.inf,
        -math.inf,
        0,
        2048,
    ]
    assert [single(one) for one in (16777217, 3.5e38, -3.5e38)] == [16777216, math.inf, -math.inf]
    assert bytes_of(1.5, 2).hex() == "003e" and bytes_of(-1.5, 4).hex() == "0000c0bf"
    assert bytes_of(1.5, 8).hex() == "000000000000f83f" and bytes_of(-1.5, 10).hex() == "00000000000000c0ffbf"
    assert bytes_of(-1.5, 12).hex() == "00000000000000c0ffbf0000" and len(bytes_of(1.5, 16)) == 16
    assert bytes_of(1e6, 2).hex() == "007c" and bytes_of(-1e300, 4).hex() == "000080ff"
    for size in (2, 4, 8, 10, 12, 16):
        assert [float(number_of(bytes_of(one, size))) for one in (1.5, -0.25, 0.0)] == [1.5, -0.25, 0.0]
    assert number_of(bytes_of(-2.5, 16, True), True).value == Fraction(-5, 2)  # type: ignore[union-attr]


def test_division() -> None:
    assert [divided(*one) for one in ((1.0, 0.0), (-1.0, 0.0), (1.0, -0.0), (-1.0, -0.0), (3.0, 2.0))] == [
        math.inf, -math.inf, -math.inf, math.inf, 1.5,
    ]  # fmt: skip
    assert all(math.isnan(divided(*one)) for one in ((0.0, 0.0), (math.nan, 0.0), (0.0, math.nan)))
    assert [math.copysign(1, one) for one in (divided(0.0, 0.0), divided(math.nan, 0.0))] == [-1, 1]


def test_towards_zero() -> None:
    ends = (2.5, -2.5, 2.0**63, -(2.0**63), 2.0**63 - 1024, math.inf, -math.inf, math.nan)
    wanted = [2, -2, 2**63 - 1, -(2**63), 2**63 - 1024, 2**63 - 1, -(2**63), 2**63 - 1]
    assert [truncated(one) for one in ends] == [truncated(Extended(one)) for one in ends] == wanted
    assert truncated(Extended(2**63 - 1)) == 2**63 - 1 and truncated(Extended(Fraction(-7, 2))) == -3


def test_comparisons_of_80_bits() -> None:
    one, two, nothing = Extended(1), Extended(2), Extended(math.nan)
    assert (one < two, two < one, one < one, one <= one, two <= one, one > two, two > one, one >= one, one >= two) == (
        True, False, False, True, False, False, True, True, False,
    )  # fmt: skip
    assert not (nothing == nothing or nothing < one or nothing >= one) and (one == 1, one != two, one == two) == (
        True,
        True,
        False,
    )
    assert float(Extended(-(Fraction(10) ** 400))) == -math.inf and not Extended(0) and bool(nothing)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(char)127.9", 127), ("(signed char)-128.9", -128), ("(short)-32768.5", -32768),
        ("(int)2147483647.5", 2**31 - 1),
        ("(unsigned char)255.5", 255), ("(unsigned short)65535.5", 65535), ("(_Bool)0.0", 0), ("(_Bool)-0.0", 0),
        ("(_Bool)256", 1), ("(_Bool)2", 1), ("(_Bool)0", 0), ("(_Bool)1e-300", 1), ("(char)128", -128),
        ("(char)255", -1),
        ("(unsigned char)-1", 255), ("(short)32768", -32768), ("(unsigned short)65536", 0),
        ("(int)0x80000000", -(2**31)),
        ("(unsigned)-1", 2**32 - 1), ("(long)0x8000000000000000", -(2**63)), ("(unsigned long)-1", 2**64 - 1),
        ("(int)4294967295", -1), ("(int)4294967297", 1), ("(unsigned)4294967296", 0), ("(char)$mine", 40),
        ("(char)($mine + 88)", -128), ("(unsigned char)($less)", 253), ("(_Bool)$mine", 1), ("(_Bool)$less", 1),
        ("(int)$big", -1), ("(short)($less * 20000)", 5536), ("-(_Bool)1", -1), ("(_Bool)1 + (_Bool)1", 2),
        ("*(_Bool *)0x500 + 2", 256), ("(char)*(_Bool *)0x500", -2), ("(_Bool)*(char *)0x500", 1),
    ],
)  # fmt: skip
def test_conversions_of_c(text: str, value: int) -> None:
    found = parse(text).evaluate(filled()).value
    assert found == value and parse(text).bind(filled())() == value

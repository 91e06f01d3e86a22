"""Floating point numbers of 16 and 128 bits: their bits, their words, what is worked out of them."""

from __future__ import annotations

import math
import time

import pytest

from kvmdbg.errors import ExpressionError
from kvmdbg.language.ctype import CType
from kvmdbg.language.expressions import parse
from kvmdbg.language.floats import Quad, bytes_of, half, number_of
from kvmdbg.language.shown import Printer

from .machine import Machine

HALF = CType("float", "_Float16", 2)
QUAD = CType("float", "_Float128", 16)
QUAD.is_quad = True


def shown(type: CType, data: bytes) -> str:
    return Printer(lambda address, size: bytes(size), lambda address: "").show(type, data)


@pytest.mark.parametrize(
    ("bits", "number", "text"),
    [
        (0x4100, 2.5, "2.5"),
        (0x2E66, 0.0999755859375, "0.099976"),
        (0xC500, -5.0, "-5"),
        (0x7C00, math.inf, "inf"),
        (0x0001, 2.0**-24, "5.9605e-08"),
        (0x8000, -0.0, "-0"),
    ],
)
def test_sixteen_bits(bits: int, number: float, text: str) -> None:
    data = bits.to_bytes(2, "little")
    assert number_of(data) == number and bytes_of(number, 2) == data
    assert shown(HALF, data) == text


def test_what_sixteen_bits_do_not_hold() -> None:
    assert half(1e6) == math.inf and half(-1e6) == -math.inf
    assert half(2049.0) == 2048.0
    assert shown(HALF, b"\x01\xfe") == "-nan(0x201)"


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0x3FFF << 112, "1"),
        (0x3FFB_9999_9999_9999_9999_9999_9999_999A, "0.100000000000000000000000000000000005"),
        (0xC000_8000_0000_0000_0000_0000_0000_0000, "-3"),
        (0x7FFF << 112, "inf"),
        (0xFFFF << 112 | 1, "-nan(0x1)"),
        (1, "6.47517511943802511092443895822764655e-4966"),
        (0, "0"),
    ],
)
def test_128_bits(bits: int, text: str) -> None:
    data = bits.to_bytes(16, "little")
    assert shown(QUAD, data) == text
    number = number_of(data, is_quad=True)
    assert isinstance(number, Quad)
    if "nan" not in text:
        assert bytes_of(number, 16, is_quad=True) == data


def test_128_bits_keep_what_long_double_would_lose() -> None:
    tenth = number_of(bytes.fromhex("9a99999999999999999999999999fb3f"), is_quad=True)
    assert isinstance(tenth, Quad)
    assert type(tenth * Quad(3)) is Quad and type(-tenth) is Quad
    assert (tenth * Quad(3) - tenth - tenth) / tenth != Quad(0)
    assert bytes_of(tenth + Quad(0), 16, is_quad=True) == bytes.fromhex("9a99999999999999999999999999fb3f")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e6000", math.inf), ("1.5e99999", math.inf), ("1e-99999", 0), ("0e99999", 0), ("1e-10", 1e-10)],
)
def test_exponents_of_any_size(text: str, number: float) -> None:
    """Compared with gdb 13: what is too great is infinite."""
    assert parse(text).evaluate(Machine()).raw == number
    long_double = parse(f"{text}l").evaluate(Machine()).raw
    assert float(long_double) == number  # type: ignore[arg-type]


def test_more_digits_than_can_be_read() -> None:
    with pytest.raises(ExpressionError, match="a number with more than 4000 digits"):
        parse("1." + "1" * 5000)


def test_a_long_hexadecimal_number_is_read_at_once() -> None:
    began = time.perf_counter()
    with pytest.raises(ExpressionError, match="does not fit 64 bits"):
        parse("0x" + "1" * 20_000)
    assert time.perf_counter() - began < 1

"""Formats: what is expected here was printed by gdb 13, unless a test says otherwise."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.errors import UsageError
from kvmdbg.language.formats import format_scalar


@pytest.mark.parametrize(
    ("value", "letter", "size", "print_shows", "x_shows"),
    [
        (5, "x", 1, "0x5", "0x05"),
        (0x1C8, "x", 4, "0x1c8", "0x000001c8"),
        (-1, "x", 4, "0xffffffff", "0xffffffff"),
        (0xFFFF, "x", 1, "0xff", "0xff"),
        (5, "z", 2, "0x0005", "0x0005"),
        (255, "d", 1, "-1", "-1"),
        (456, "d", 4, "456", "456"),
        (-1, "u", 1, "255", "255"),
        (8, "o", 4, "010", "010"),
        (0o310, "o", 1, "0310", "0310"),
        (0, "o", 1, "0", "0"),
        (5, "t", 1, "101", "00000101"),
        (0, "t", 4, "0", "0" * 32),
        (65, "c", 1, "65 'A'", "65 'A'"),
        (321, "c", 4, "65 'A'", "65 'A'"),
        (200, "c", 1, "-56 '\\310'", "-56 '\\310'"),
        (-1, "c", 4, "-1 '\\377'", "-1 '\\377'"),
        (10, "c", 1, "10 '\\n'", "10 '\\n'"),
        (0, "c", 1, "0 '\\000'", "0 '\\000'"),
        (39, "c", 1, "39 '\\''", "39 '\\''"),
        (92, "c", 1, "92 '\\\\'", "92 '\\\\'"),
        (127, "c", 1, "127 '\\177'", "127 '\\177'"),
        (5, "a", 8, "0x5", "0x5"),
        (1065353216, "f", 4, "1", "1"),
        (5, "f", 4, "7.00649232e-45", "7.00649232e-45"),
        (0x3FF8000000000000, "f", 8, "1.5", "1.5"),
        (0x3FB999999999999A, "f", 8, "0.10000000000000001", "0.10000000000000001"),
        (0x7FF0000000000000, "f", 8, "inf", "inf"),
        (1 << 63, "f", 8, "-0", "-0"),
        (0x7FC00000, "f", 4, "nan(0x400000)", "nan(0x400000)"),
        (0xFFC00000, "f", 4, "-nan(0x400000)", "-nan(0x400000)"),
        (15360, "f", 2, "15360", "15360"),
        (253, "f", 1, "-3", "-3"),
    ],
)
def test_a_number(value: int, letter: str, size: int, print_shows: str, x_shows: str) -> None:
    assert format_scalar(value, letter, size) == print_shows
    assert format_scalar(value, letter, size, padded=True) == x_shows


def test_an_address_with_its_name() -> None:
    names = {0x1004: "main+0x4"}
    assert format_scalar(0x1004, "a", 8, lambda address: names.get(address, "")) == "0x1004 <main+0x4>"
    assert format_scalar(0x2000, "a", 8, lambda address: names.get(address, "")) == "0x2000"
    assert format_scalar(0x51004, "a", 2, lambda address: names.get(address, "")) == "0x1004 <main+0x4>"


@pytest.mark.parametrize("letter", ["s", "i", "q", "", "xd", "X"])
def test_a_letter_that_shows_no_number_is_named(letter: str) -> None:
    with pytest.raises(UsageError, match=f"'{letter}' is no format of a number"):
        format_scalar(1, letter, 4)


@given(st.integers(-(1 << 70), 1 << 70), st.sampled_from([1, 2, 4, 8]))
def test_every_number_reads_back(value: int, size: int) -> None:
    mask = (1 << 8 * size) - 1
    for letter, base in (("x", 16), ("z", 16), ("o", 8), ("t", 2), ("d", 10), ("u", 10)):
        for padded in (False, True):
            assert int(format_scalar(value, letter, size, padded=padded), base) & mask == value & mask
    assert len(format_scalar(value, "x", size, padded=True)) == 2 + 2 * size
    assert len(format_scalar(value, "t", size, padded=True)) == 8 * size
    assert int(format_scalar(value, "c", size).split()[0]) & 0xFF == value & 0xFF


@given(st.floats(width=32), st.floats())
def test_every_float_reads_back(single: float, double: float) -> None:
    for number, size, code in ((single, 4, "<f"), (double, 8, "<d")):
        raw = struct.pack(code, number)
        text = format_scalar(int.from_bytes(raw, "little"), "f", size)
        if number != number:
            assert "nan(0x" in text
        else:
            assert struct.pack(code, float(text)) == raw

"""Characters as gdb shows them. The right sides are what gdb 13 printed of the same bytes."""

from __future__ import annotations

import struct

import pytest

from kvmdbg.language.formats import floating, number_of, quoted


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"k\0\310!", r'"k\000\310!"'),
        (b"abc\0\0\0\0\0", r'"abc\000\000\000\000"'),
        (b"abc".ljust(32, b"\0"), r""""abc", '\000' <repeats 28 times>"""),
        (b"abc", '"abc"'),
        (bytes(4), r'"\000\000\000"'),
        (bytes(40), r"'\000' <repeats 39 times>"),
        (bytes(1), '""'),
        (b"", '""'),
        (b"\xff\x02\x80", r'"\377\002\200"'),
        (b"\x01\x02\x03\x04\x05", r'"\001\002\003\004\005"'),
        (b"\x0012\3109a\"'", r'''"\00012\3109a\"'"'''),
        (b'a\tb\nc\033d\a\b\f\v\r\\"\0', r'"a\tb\nc\033d\a\b\f\v\r\\\""'),
        (
            (b"a" * 20 + b"b" + bytes(13) + b"cc").ljust(64, b"\0"),
            r"""'a' <repeats 20 times>, "b", '\000' <repeats 13 times>, "cc", '\000' <repeats 27 times>""",
        ),
        (b"a" * 11 + b"\0", "'a' <repeats 11 times>"),
        (b"a" * 10 + b"\0", '"aaaaaaaaaa"'),
        (b"\1" * 12 + b"\2" + bytes(17), r"""'\001' <repeats 12 times>, "\002", '\000' <repeats 16 times>"""),
        (b"x" * 299 + b"\0", "'x' <repeats 299 times>"),
    ],
)
def test_arrays_of_characters(data: bytes, shown: str) -> None:
    assert quoted(data) == shown


def test_long_texts_are_cut() -> None:
    data = b"0123456789" * 30
    assert quoted(data) == '"' + "0123456789" * 20 + '"...'
    assert quoted(data[:200]) == '"' + "0123456789" * 20 + '"'
    assert quoted(data[:201]) == '"' + "0123456789" * 20 + '"...'


@pytest.mark.parametrize(
    ("raw", "size", "shown"),
    [
        (0x7FC00000, 4, "nan(0x400000)"), (0xFFC00000, 4, "-nan(0x400000)"), (0x7F800000, 4, "inf"),
        (0xFF800000, 4, "-inf"), (0x7F800001, 4, "nan(0x1)"), (0x7FF0 << 48, 8, "inf"), (0xFFF0 << 48, 8, "-inf"),
        (0x7FF8 << 48, 8, "nan(0x8000000000000)"), (0x3DCCCCCD, 4, "0.100000001"),
        (0x3FB999999999999A, 8, "0.10000000000000001"), (0xFFFF, 2, "-1"),
    ],
)  # fmt: skip
def test_floating_point(raw: int, size: int, shown: str) -> None:
    assert floating(raw, size) == shown
    assert struct.pack("<d", number_of(raw, size)) and isinstance(number_of(raw, size), int | float)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("cdcccccccccccccc fb3f", "0.100000000000000000001"),
        ("abaaaaaaaaaaaaaa fd3f", "0.333333333333333333342"),
        ("00000000000000a0 00c0", "-2.5"),
        ("0000000000000000 0000", "0"),
        ("0000000000000000 0080", "-0"),
        ("2384471b47acc5a7 ee3f", "9.99999999999999999995e-06"),
        ("2c6519e25817b7d1 f13f", "0.000100000000000000000001"),
        ("00807a17b726d7d8 4440", "1e+21"),
        ("000040763a6b0bde 3a40", "1000000000000000000"),
        ("00000000000000c0 ff7f", "nan(0xc000000000000000)"),
        ("0000000000000080 ffff", "-inf"),
        ("0000000000000080 ff7f", "inf"),
    ],
)
def test_long_double(data: str, shown: str) -> None:
    raw = int.from_bytes(bytes.fromhex(data), "little")
    for size in (10, 12, 16):
        assert floating(raw, size) == shown

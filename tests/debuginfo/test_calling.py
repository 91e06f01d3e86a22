"""Where arguments and results of C functions are, as the two supplements of the System V ABI have it."""

from __future__ import annotations

import struct

import pytest

from kvmdbg.debuginfo.calling import (
    INTEGER,
    MEMORY,
    SSE,
    SSE_UP,
    X87,
    Registers,
    classes,
    is_by_options,
    passing,
    result,
)  # fmt: skip
from kvmdbg.language.ctype import CType, Member, array_of, complex_of

INT, LONG, CHAR = CType("int", "int", 4), CType("int", "long", 8), CType("char", "char", 1)
FLOAT, DOUBLE, LONG_DOUBLE = CType("float", "float", 4), CType("float", "double", 8), CType("float", "long double", 16)


def compound(*types: CType, kind: str = "struct") -> CType:
    made = CType(kind, f"{kind} s", 0)
    for number, one in enumerate(types):
        if kind == "union":
            made.members.append(Member(f"m{number}", one, 0))
            made.size = max(made.size, one.size)
            continue
        align = min(one.size, 16)
        offset = -(-made.size // align) * align
        made.members.append(Member(f"m{number}", one, offset))
        made.size = offset + one.size
    return made


@pytest.mark.parametrize(
    ("type", "wanted"),
    [
        (INT, [INTEGER]),
        (DOUBLE, [SSE]),
        (LONG_DOUBLE, [X87, X87]),
        (compound(INT, INT), [INTEGER]),
        (compound(FLOAT, FLOAT), [SSE]),
        (compound(FLOAT, INT), [INTEGER]),
        (compound(DOUBLE, LONG), [SSE, INTEGER]),
        (compound(LONG, FLOAT), [INTEGER, SSE]),
        (compound(LONG, LONG, CHAR), [MEMORY]),
        (compound(INT, DOUBLE, kind="union"), [INTEGER]),
        (compound(FLOAT, DOUBLE, kind="union"), [SSE]),
    ],
)
def test_classes(type: CType, wanted: list[str]) -> None:
    assert classes(type) == wanted


X87_2_5 = bytes(7) + b"\xa0" + struct.pack("<H", 0x4000)
REGISTERS = Registers(
    0x1122334455667788, 0x99AABBCCDDEEFF00, X87_2_5, (struct.pack("<dd", 1.5, 9), struct.pack("<dd", -2, 9))
)


@pytest.mark.parametrize(
    ("type", "bits", "wanted"),
    [
        (INT, 32, b"\x88\x77\x66\x55"),
        (LONG, 32, b"\x88\x77\x66\x55\x00\xff\xee\xdd"),
        (LONG, 64, b"\x88\x77\x66\x55\x44\x33\x22\x11"),
        (CHAR, 16, b"\x88"),
        (FLOAT, 32, struct.pack("<f", 2.5)),
        (DOUBLE, 32, struct.pack("<d", 2.5)),
        (DOUBLE, 64, struct.pack("<d", 1.5)),
        (LONG_DOUBLE, 64, X87_2_5 + bytes(6)),
        (compound(DOUBLE, LONG), 64, struct.pack("<d", 1.5) + b"\x88\x77\x66\x55\x44\x33\x22\x11"),
        (compound(DOUBLE, DOUBLE), 64, struct.pack("<dd", 1.5, -2)),
        (compound(INT, INT), 32, 0x55667788),
        (compound(LONG, LONG, LONG), 64, 0x1122334455667788),
    ],
)
def test_results(type: CType, bits: int, wanted: bytes | int) -> None:
    assert result(type, bits, REGISTERS) == wanted


@pytest.mark.parametrize(
    ("top", "fraction", "wanted"),
    [
        (0x7FFF, 1 << 63, float("inf")),
        (0xFFFF, 1 << 63, float("-inf")),
        (0x7FFE, 1 << 63, float("inf")),
        (0, 0, 0.0),
        (0xBFFF, 1 << 63, -1.0),
    ],
)
def test_numbers_of_the_x87(top: int, fraction: int, wanted: float) -> None:
    st0 = struct.pack("<QH", fraction, top)
    registers = Registers(0, 0, st0, (b"", b""))
    assert result(FLOAT, 32, registers) == struct.pack("<f", wanted)
    assert result(DOUBLE, 32, registers) == struct.pack("<d", wanted)


def test_arguments_in_64_bits() -> None:
    number = struct.pack("<d", 2)
    large = compound(LONG, LONG, LONG)
    passed = passing(
        [(INT, b"\1\0\0\0"), (DOUBLE, number), (large, bytes(range(24))), *[(LONG, bytes([n] * 8)) for n in range(5)]],
        64, 0x5000,
    )  # fmt: skip
    assert passed.registers == {
        "rdi": 0x5000, "rsi": 1, "xmm0": number + bytes(8), "rdx": 0, "rcx": 0x0101010101010101,
        "r8": 0x0202020202020202, "r9": 0x0303030303030303, "rax": 1,
    }  # fmt: skip
    assert passed.stack == bytes(range(24)) + bytes([4] * 8)


def test_arguments_in_32_bits() -> None:
    passed = passing([(CHAR, b"a"), (LONG, bytes(range(8)))], 32, 0x5000)
    assert passed.registers == {}
    assert passed.stack == b"\0\x50\0\0a\0\0\0" + bytes(range(8))


def test_complex_numbers_and_vectors() -> None:
    assert classes(complex_of(FLOAT)) == [SSE]
    assert classes(complex_of(DOUBLE)) == [SSE, SSE]
    assert result(complex_of(DOUBLE), 64, REGISTERS) == struct.pack("<dd", 1.5, -2)
    assert result(complex_of(DOUBLE), 32, REGISTERS) == 0x55667788
    assert result(complex_of(FLOAT), 32, REGISTERS) == b"\x88\x77\x66\x55\x00\xff\xee\xdd"
    both = Registers(0, 0, X87_2_5, (b"", b""), X87_2_5)
    assert result(complex_of(LONG_DOUBLE), 64, both) == (X87_2_5 + bytes(6)) * 2
    vector = array_of(FLOAT, 4)
    vector.is_vector = True
    assert result(vector, 64, REGISTERS) == REGISTERS.xmm[0]


def vector(element: CType, count: int) -> CType:
    made = array_of(element, count)
    made.is_vector = True
    return made


def test_vectors_in_registers() -> None:
    four, small = vector(INT, 4), vector(CHAR, 8)
    assert classes(four) == classes(compound(four)) == [SSE, SSE_UP]
    assert classes(small) == [SSE]
    assert classes(compound(small, INT)) == [SSE, INTEGER]
    assert classes(compound(four, vector(LONG, 2), kind="union")) == [SSE, SSE_UP]
    assert result(four, 64, REGISTERS) == result(compound(four), 64, REGISTERS) == REGISTERS.xmm[0]
    assert result(small, 64, REGISTERS) == REGISTERS.xmm[0][:8]
    data = bytes(range(16))
    passed = passing([(four, data), (small, data[:8]), *[(four, data)] * 7, (INT, bytes(4))], 64, None)
    assert passed.registers["xmm0"] == passed.registers["xmm7"] == data
    assert passed.registers["xmm1"] == data[:8] + bytes(8)
    assert passed.stack == data
    assert passed.registers["rdi"] == 0


def test_what_is_aligned_to_16_on_the_stack() -> None:
    """__int128 came right behind an eightbyte, and so did structures with long doubles."""
    wide, data = CType("int", "__int128", 16), bytes(range(16))
    six = [(LONG, bytes(8))] * 6
    for one in (
        wide,
        compound(LONG_DOUBLE),
        compound(LONG_DOUBLE, LONG_DOUBLE),
        compound(wide),
        complex_of(LONG_DOUBLE),
    ):
        content = data.ljust(one.size, b"\7")
        padded = content.ljust(-(-len(content) // 8) * 8, b"\0")
        assert passing([*six, (LONG, b"\1" * 8), (one, content)], 64, None).stack == b"\1" * 8 + bytes(8) + padded
    packed = compound(LONG_DOUBLE, CHAR)  # as gcc passes it
    for one, content in ((compound(LONG, LONG), data), (packed, data + b"c" + bytes(7))):
        assert passing([*six, (LONG, b"\1" * 8), (one, content)], 64, None).stack == b"\1" * 8 + content


def test_structures_that_no_compiler_makes() -> None:
    """A damaged file's members lie outside of their structure, or have no end of elements without a size."""
    outside = CType("struct", "struct s", 16)
    outside.members.append(Member("far", LONG, 64))
    before = CType("struct", "struct s", 16)
    before.members.append(Member("before", LONG, -8))
    assert classes(outside) == classes(before) == [MEMORY]
    nothing = CType("struct", "struct nothing", 0)
    many = CType("struct", "struct s", 8)
    many.members += [Member("none", array_of(nothing, 1 << 60), 0), Member("one", LONG, 0)]
    assert classes(many) == [INTEGER]


def test_vectors_on_the_stack() -> None:
    """Without -msse 32-bit code has them in memory, aligned as they are wide; so has 64-bit code the wide ones."""
    four, eight, data = vector(INT, 4), vector(INT, 8), bytes(range(32))
    assert passing([(INT, bytes(4)), (four, data[:16])], 32, None).stack == bytes(16) + data[:16]
    assert passing([(INT, bytes(4)), (compound(eight), data)], 32, None).stack == bytes(32) + data
    assert passing([(INT, bytes(4)), (vector(INT, 2), data[:8])], 32, None).stack == bytes(4) + data[:8]
    six = [(LONG, bytes(8))] * 6
    assert passing([*six, (LONG, b"\1" * 8), (eight, data)], 64, None).stack == b"\1" * 8 + bytes(24) + data


def test_what_is_up_to_the_options_of_the_compiler() -> None:
    four, eight = vector(INT, 4), vector(INT, 8)
    assert [is_by_options(one, 32) for one in (four, compound(INT, four), vector(INT, 2), INT)] == [True] * 3 + [False]
    assert [is_by_options(one, 64) for one in (eight, compound(eight), four, INT)] == [True] * 2 + [False] * 2

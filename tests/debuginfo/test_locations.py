"""DWARF expressions over a small frame that the test makes up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.debuginfo.backtrace import Frame as CallFrame
from kvmdbg.debuginfo.declarations import Function
from kvmdbg.debuginfo.locations import NotThere, Place, evaluate
from kvmdbg.debuginfo.surroundings import Surroundings
from kvmdbg.errors import MemoryFault
from kvmdbg.language.ctype import CType
from kvmdbg.language.partial import Lost, Partial


class Frame:
    """Register n holds 0x1000 + n; memory from 0x1000 to 0x10ff holds the low byte of its address."""

    def word_size(self) -> int:
        return 8

    def moved(self, address: int) -> int:
        return address + 0x100000

    def read(self, address: int, size: int) -> bytes:
        if not 0x1000 <= address <= address + size <= 0x1100:
            raise MemoryFault(address, "not there")
        return bytes(address - 0x1000 + at for at in range(size))

    def register(self, number: int) -> int:
        if number > 16:
            raise NotThere("no such register")
        return 0x1000 + number

    def register_name(self, number: int) -> str:
        return f"r{number}"

    def frame_base(self) -> int:
        return 0x1080

    def call_frame(self) -> int:
        return 0x1090

    def base_type(self, offset: int) -> CType:
        made = CType("int", "", offset & 0xF)
        made.signed = bool(offset & 0x40)
        return made

    def value_on_entry(self, code: bytes, size: int) -> int:
        return evaluate(code, size, self).data[0]


@pytest.mark.parametrize(
    ("code", "address"),
    [
        ("03 0020000000000000", 0x102000),  # addr
        ("91 70", 0x1070),  # fbreg -16
        ("75 08", 0x100D),  # breg5 8
        ("92 05 08", 0x100D),  # bregx
        ("9c 23 10", 0x10A0),  # call_frame_cfa, plus_uconst
        ("30 41 22", 17),  # lit0, lit17, plus
        ("0b feff 0a 0200 1b", (1 << 64) - 1),  # const2s -2, const2u 2, div
        ("09 f8 31 26", (1 << 64) - 4),  # const1s -8, lit1, shra
        ("33 32 1c 12 21 96", 1),  # 3 - 2, dup, or, nop
        ("31 32 16 1c", 1),  # 1, 2, swap, minus: 2 - 1
        ("31 32 33 17 13 1c", 3 - 1),  # rot, drop: 3 1, minus
        ("31 32 15 01 22", 3),  # pick
        ("31 32 14 22", 3),  # over
        ("31 1f 19 20", (1 << 64) - 2),  # neg, abs, not
        ("09 ff 30 2d", 1),  # -1 < 0
        ("31 28 0100 37 33", 3),  # bra over lit7
        ("2f 0100 37 33", 3),  # skip
        ("77 00 94 02", 0x0807),  # deref_size
        ("77 00 06", 0x0E0D0C0B0A090807),  # deref
        ("a3 01 57", 0x07),  # entry_value(reg7)
        ("08 ff a8 41 a8 48", (1 << 64) - 1),  # const1u 255, convert to s8, to s64
        ("08 ff a8 01 a8 08", 255),  # to u8, to u64
        ("a5 07 01", 7),  # regval_type: one byte of it
        ("77 00 a6 02 42", 0x0807),  # deref_type
        ("a4 41 01 ff", (1 << 64) - 1),  # const_type
    ],
)
def test_an_address(code: str, address: int) -> None:
    assert evaluate(bytes.fromhex(code), 4, Frame()) == Place(address)


@pytest.mark.parametrize(
    ("code", "size", "data", "register"),
    [
        ("55", 2, "0510", "r5"),
        ("90 05", 4, "05100000", "r5"),
        ("37 9f", 4, "07000000", ""),
        ("9e 02 aabb", 4, "aabb0000", ""),
        ("55 93 04 77 00 93 04", 8, "05100000 0708090a", ""),  # a piece in a register, one in memory
    ],
)
def test_a_value(code: str, size: int, data: str, register: str) -> None:
    assert evaluate(bytes.fromhex(code), size, Frame()) == Place(None, bytes.fromhex(data), register)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("93 04", "^optimized out$"),
        ("f2 0000", "it points to something"),
        ("31 30 1b", "division by 0"),
        ("2f fdff", "endless"),
        ("22", "damaged"),
        ("03 00", "damaged"),
        ("ff", "not understood"),
        ("08 01 a8 0f", "floating point"),
        ("50 93 04 50 93 01", "damaged"),  # pieces of more than it has
    ],
)
def test_why_there_is_none(code: str, why: str) -> None:
    with pytest.raises(NotThere, match=why):
        evaluate(bytes.fromhex(code), 4, Frame())


@given(st.binary(max_size=40), st.integers(0, 64))
def test_any_bytes_are_survived(code: bytes, size: int) -> None:
    try:
        place = evaluate(code, size, Frame())
    except (NotThere, MemoryFault):
        return
    assert place.address is not None or len(place.data) == max(size, 1)


def test_memory_that_is_not_there() -> None:
    with pytest.raises(MemoryFault):
        evaluate(bytes.fromhex("3006"), 4, Frame())


def test_a_frame_that_is_described_by_itself() -> None:
    function = Function("f", 0x100, 0x200, bytes.fromhex("91 00"), (), 0, 0)
    around = Surroundings(None, None, CallFrame(0, 0x150, 0, "here"), (function, 0))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(NotThere, match="its frame is described by itself"):
            around.frame_base()


@pytest.mark.parametrize(
    ("expression", "known"),
    [
        ("55 93 04 93 04", "0f"),  # the upper half is said to be nowhere
        ("55 93 04", "0f"),  # it is not said at all
        ("93 02 55 93 02 93 04", "0c"),
    ],
)
def test_parts_that_are_nowhere(expression: str, known: str) -> None:
    data = evaluate(bytes.fromhex(expression), 8, Frame()).data
    mask = int(known, 16)
    assert isinstance(data, Partial)
    assert data.known == bytes(mask >> at & 1 for at in range(8))
    there = data[2:4] if known == "0c" else data[:4]
    assert type(there) is bytes and there[:2] == b"\x05\x10"
    with pytest.raises(Lost):
        int.from_bytes(data, "little")
    assert data[4:6] == data[6:8] != bytes(2)

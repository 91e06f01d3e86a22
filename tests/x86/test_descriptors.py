"""Descriptors and gates taken apart, hand-made ones and any bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.x86 import descriptors


def test_a_flat_code_segment() -> None:
    one = descriptors.segment(0x00CF9A000000FFFF)
    assert (one.base, one.limit, one.type, one.dpl, one.present) == (0, 0xFFFFFFFF, 10, 0, True)
    assert one.describe() == "32-bit code, execute/read, DPL 0"
    assert descriptors.problems(one, ia32e=False) == []


def test_every_part_lies_where_it_should() -> None:
    one = descriptors.segment(0x12_4_F_F2_345678_9ABC)
    assert (one.base, one.limit, one.g, one.db, one.l) == (0x12345678, 0xF9ABC, False, True, False)
    assert one.describe() == "data, read/write, DPL 3"
    wide = descriptors.segment(0x11223344 << 64 | 0x0000_8B00_0000_0067)
    assert (wide.base, wide.describe()) == (0x1122334400000000, "TSS (busy), DPL 0")


def test_malformed_ones() -> None:
    def wrong(raw: int, ia32e: bool = True) -> list[str]:
        return descriptors.problems(descriptors.segment(raw), ia32e=ia32e)

    assert wrong(0) == []
    assert wrong(0x00EF9A000000FFFF) == ["L and D are both set"]
    assert wrong(0x00AF9A000000FFFF, ia32e=False) == ["64-bit code outside of long mode"]
    assert wrong(0x00CF1A000000FFFF) == ["not present"]
    assert wrong(0x0000890000000010) == ["limit 0x10 is too small for a TSS"]
    assert wrong(0x0000880000000010) == ["reserved type"]


def test_a_gate_of_each_size() -> None:
    small = descriptors.gate(0x1234_8E00_0008_5678, 8)
    assert (small.offset, small.selector, small.describe()) == (
        0x12345678, 8, "interrupt gate to 0x8:0x12345678, DPL 0",
    )  # fmt: skip
    large = descriptors.gate(0xFFFFFFFF << 64 | 0x8123_EF03_0010_5678, 16)
    assert (large.offset, large.ist) == (0xFFFFFFFF81235678, 3)
    assert large.describe() == "trap gate to 0x10:0xffffffff81235678, DPL 3, IST 3"
    assert descriptors.gate(0x1234_9E00_0008_5678, 8).is_malformed


@given(st.integers(0, (1 << 128) - 1), st.booleans())
def test_any_bytes(raw: int, ia32e: bool) -> None:
    one = descriptors.segment(raw)
    assert one.describe()
    assert 0 <= one.limit < 1 << 32
    assert all(isinstance(text, str) for text in descriptors.problems(one, ia32e=ia32e))
    for size in (8, 16):
        gate = descriptors.gate(raw & (1 << size * 8) - 1, size)
        assert gate.describe()
        assert 0 <= gate.offset < 1 << (64 if size == 16 else 32)

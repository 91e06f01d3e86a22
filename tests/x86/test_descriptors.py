"""Descriptors and gates taken apart, hand-made ones and any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmdbg.x86 import descriptors
from tests.x86.states import descriptor, gate


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
    assert descriptors.segment(0xDEADBEEF_80000001 << 64 | 0x0000_8B00_0000_0067).base == 0x8000000100000000
    assert descriptors.segment(1 << 64 | 0x00CF_9A00_0000_FFFF).base == 0, "code has 8 bytes: the next entry follows"


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


KINDS = {  # type, S: SDM volume 3A, tables 3-1 and 3-2
    (0, 1): "data, read-only", (1, 1): "data, read-only", (2, 1): "data, read/write", (3, 1): "data, read/write",
    (4, 1): "data, read-only, expand-down", (6, 1): "data, read/write, expand-down",
    (7, 1): "data, read/write, expand-down", (8, 1): "16-bit code, execute-only", (10, 1): "16-bit code, execute/read",
    (12, 1): "16-bit code, execute-only, conforming", (14, 1): "16-bit code, execute/read, conforming",
    (0, 0): "reserved", (1, 0): "16-bit TSS (available)", (2, 0): "LDT", (3, 0): "16-bit TSS (busy)",
    (4, 0): "16-bit call gate", (5, 0): "task gate", (6, 0): "16-bit interrupt gate", (7, 0): "16-bit trap gate",
    (8, 0): "reserved", (9, 0): "TSS (available)", (10, 0): "reserved", (11, 0): "TSS (busy)", (12, 0): "call gate",
    (13, 0): "reserved", (14, 0): "interrupt gate", (15, 0): "trap gate",
}  # fmt: skip


@pytest.mark.parametrize(("kind", "s"), KINDS)
def test_types(kind: int, s: int) -> None:
    one = descriptors.segment(descriptor(kind, s=s, dpl=2, flags=0))
    assert one.describe() == f"{KINDS[kind, s]}, DPL 2"
    assert one.is_code == bool(s and kind & 8)
    assert one.is_writable == (bool(s) and kind in (2, 3, 6, 7))
    assert descriptors.segment(descriptor(kind, s=s, present=0, flags=0)).describe().endswith("DPL 0, not present")


def test_widths_of_code() -> None:
    texts = {0b0100: "32-bit", 0b0010: "64-bit", 0b0000: "16-bit", 0b0001: "16-bit"}
    for flags, text in texts.items():
        assert descriptors.segment(descriptor(10, flags=flags)).describe() == f"{text} code, execute/read, DPL 0"


def test_limits() -> None:
    assert descriptors.segment(descriptor(3, limit=0, flags=0b1000)).limit == 0xFFF
    assert descriptors.segment(descriptor(3, limit=0x12345, flags=0b1000)).limit == 0x12345FFF
    assert descriptors.segment(descriptor(3, limit=0x12345, flags=0b0111)).limit == 0x12345
    assert descriptors.segment(descriptor(3, base=0xFEDCBA98)).base == 0xFEDCBA98
    assert descriptors.segment(1 << 127 | descriptor(3, base=0x10)).base == 0x10  # no system descriptor: it has 8 bytes
    assert descriptors.segment(1 << 96 | descriptor(9, s=0, base=0x10)).base == 0x10


@pytest.mark.parametrize(
    ("raw", "ia32e", "wrong"),
    [
        *((descriptor(kind, s=0, flags=0), True, ["16-bit system type in long mode"]) for kind in (4,)),
        *((descriptor(kind, s=0, flags=0), True, ["16-bit system type in long mode", "belongs into an IDT"])
          for kind in (5, 6, 7)),
        *((descriptor(kind, s=0, flags=0), ia32e, ["belongs into an IDT"])
          for kind in (14, 15) for ia32e in (False, True)),
        *((descriptor(kind, s=0, flags=0), False, []) for kind in (1, 2, 3, 4, 9, 11, 12)),
        *((descriptor(kind, s=0, flags=0), True, []) for kind in (2, 9, 11, 12)),
        *((descriptor(kind, s=0, flags=0), ia32e, ["reserved type"])
          for kind in (8, 10, 13) for ia32e in (False, True)),
        (descriptor(1, s=0, flags=0), True, ["16-bit system type in long mode"]),
        (descriptor(3, s=0, flags=0, limit=0x2B), False, []),
        (descriptor(3, s=0, flags=0, limit=0x2A), False, ["limit 0x2a is too small for a TSS"]),
        (descriptor(1, s=0, flags=0, limit=0), False, ["limit 0x0 is too small for a TSS"]),
        (descriptor(9, s=0, flags=0, limit=0x67), True, []),
        (descriptor(9, s=0, flags=0, limit=0x66), True, ["limit 0x66 is too small for a TSS"]),
        (descriptor(11, s=0, flags=0, limit=0x66), False, ["limit 0x66 is too small for a TSS"]),
        (descriptor(2, s=0, flags=0, limit=0), True, []),
        (descriptor(10, flags=0b0010), True, []),
        (descriptor(10, flags=0b0010), False, ["64-bit code outside of long mode"]),
        (descriptor(10, flags=0b0110), False, ["L and D are both set", "64-bit code outside of long mode"]),
        (descriptor(2, flags=0b0110), False, []),
        (descriptor(10, flags=0b0100), True, []), (descriptor(3, present=0), False, ["not present"]),
        (1 << 64, True, []), (1, True, ["reserved type", "not present"]),
    ],
)  # fmt: skip
def test_problems(raw: int, ia32e: bool, wrong: list[str]) -> None:
    assert descriptors.problems(descriptors.segment(raw), ia32e=ia32e) == wrong


@pytest.mark.parametrize("kind", range(16))
def test_types_of_gates(kind: int) -> None:
    one = descriptors.gate(int.from_bytes(gate(8, 0x1234, kind, dpl=1, present=0), "little"), 8)
    assert one.is_malformed == (kind not in (5, 6, 7, 14, 15))
    assert one.describe() == f"{descriptors.SYSTEM_TYPES[kind]} to 0x8:0x1234, DPL 1, not present"


def test_slots_that_a_gate_pushes() -> None:
    assert descriptors.GATE_TYPES == {5: 0, 6: 2, 7: 2, 14: 4, 15: 4} and descriptors.TASK_GATE == 5


def test_gates_of_both_sizes() -> None:
    raw = int.from_bytes(gate(0xFEDC, 0x8877665544332211, ist=5, dpl=3, wide=True), "little")
    wide, narrow = descriptors.gate(raw, 16), descriptors.gate(raw, 8)
    assert (wide.selector, wide.offset, wide.ist, wide.dpl, wide.present) == (0xFEDC, 0x8877665544332211, 5, 3, True)
    assert (narrow.offset, narrow.ist) == (0x44332211, 0)


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

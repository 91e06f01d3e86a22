"""The state of a CPU as what explains faults reads it."""

from __future__ import annotations

import pytest

from kvmdbg.errors import MemoryFault
from kvmdbg.x86 import faults
from kvmdbg.x86.faults import Fault
from tests.x86.cpu import Cpu


def test_privilege_level() -> None:
    assert Cpu("real").set(ss_dpl=3).state.cpl == 0
    assert Cpu("prot").set(ss_dpl=2).state.cpl == 2
    assert Cpu("prot").set(rflags=2 | 1 << 17).state.cpl == 3
    assert Cpu("long").state.cpl == 0


def test_pc_is_linear() -> None:
    assert Cpu("prot").set(cs_base=0x500, rip=0x1_0000_0010).state.pc == 0x510
    assert Cpu("long").set(cs_base=0x500, rip=0xFFFFFFFF80000000).state.pc == 0xFFFFFFFF80000000
    assert Cpu("real").set(cs_base=0xF0000, rip=0xFFF0).state.pc == 0xFFFF0


def test_stack_mask() -> None:
    assert Cpu("long").set(ss_db=0).state.stack_mask() == (1 << 64) - 1
    assert Cpu("prot").state.stack_mask() == 0xFFFFFFFF
    assert Cpu("prot").set(ss_db=0).state.stack_mask() == 0xFFFF


def test_gates_are_wide_while_ia32e_mode_is_active() -> None:
    assert Cpu("long").state.ia32e and Cpu("long").set(cs_l=0).state.ia32e
    assert not Cpu("prot").set(efer=1 << 8).state.ia32e


def test_reading_across_pages() -> None:
    cpu = Cpu("long")
    cpu.page(0x2000, 0x5000 | 7)
    cpu.ram.put(0x1FFE, b"ab")
    cpu.ram.put(0x5000, b"cd")
    assert cpu.state.read(0x1FFE, 4) == b"abcd"
    assert cpu.state.read(0x1FFF, 1) == b"b"
    cpu.page(0x3000, 0)
    with pytest.raises(MemoryFault, match=r"cannot read linear address 0x3000: the PTE at 0x13018 is not present"):
        cpu.state.read(0x2FFF, 2)


def test_code_ends_where_its_page_does() -> None:
    cpu = Cpu("long").set(rip=0x1FFD)
    cpu.ram.put(0x1FFD, b"\x90\x91\x92")
    assert cpu.state.code()[:3] == b"\x90\x91\x92" and len(cpu.state.code()) == 15
    cpu.page(0x2000, 0)
    assert cpu.state.code() == b"\x90\x91\x92"
    cpu.page(0x1000, 0)
    assert cpu.state.code() == b""


def test_registers_by_name() -> None:
    state = Cpu("prot").set(rax=5, fs_base=0x77, ds_selector=0x13, cr3=9, rflags=0x202).state
    assert [state.register(name) for name in ("rax", "fs_base", "ds", "cr3", "rflags")] == [5, 0x77, 0x13, 9, 0x202]


@pytest.mark.parametrize(
    ("address", "four", "five"),
    [
        (0, True, True), (0x7FFFFFFFFFFF, True, True), (0x800000000000, False, True),
        (0xFFFF7FFFFFFFFFFF, False, True), (0xFFFF800000000000, True, True), (0xFFFFFFFFFFFFFFFF, True, True),
        (0x00FFFFFFFFFFFFFF, False, True), (0x0100000000000000, False, False), (0xFF00000000000000, False, True),
        (0xFEFFFFFFFFFFFFFF, False, False), (1 << 63, False, False),
    ],
)  # fmt: skip
def test_canonical(address: int, four: bool, five: bool) -> None:
    assert faults.canonical(address, 1 << 5) == four
    assert faults.canonical(address, 1 << 5 | 1 << 12) == five


def test_names() -> None:
    assert [Fault(vector, "").name for vector in (0, 3, 13, 14, 17, 32, 255)] == [
        "#DE", "#BP", "#GP", "#PF", "#AC", "interrupt 0x20", "interrupt 0xff",
    ]  # fmt: skip

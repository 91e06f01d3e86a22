"""Conditions of VM entry, each broken by itself (Intel SDM volume 3C, 26.3.1.1 to 26.3.1.4)."""

from __future__ import annotations

from typing import Any

import pytest

from kvmdbg.kvm import abi
from kvmdbg.x86.entry_checks import violations
from tests.x86.states import registers, segment, special


def changed(mode: str, **changes: int) -> list[str]:
    """The violations of a good state with these changes: ``cs_type`` is a field of CS, ``rip`` a register, …"""
    regs, sregs = registers(), special("prot" if mode == "v86" else mode)
    if mode == "v86":
        regs.rflags |= 1 << 17
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            setattr(sregs, name, segment(0x1234, 3, base=0x12340, limit=0xFFFF, dpl=3, db=0))
    for name, value in changes.items():
        where, _, field = name.partition("_")
        if field:
            setattr(getattr(sregs, where), field, value)
        else:
            target: Any = regs if hasattr(regs, name) else sregs
            setattr(target, name, value)
    return violations(regs, sregs)


@pytest.mark.parametrize("mode", ["real", "prot", "long", "v86"])
def test_good_states(mode: str) -> None:
    assert changed(mode) == []


GOOD: list[tuple[str, dict[str, int]]] = [
    *(("prot", {"cs_type": kind}) for kind in (9, 11, 13, 15, 3)),
    *(("prot", {"ss_type": kind}) for kind in (3, 7)),
    *((mode, {f"{name}_type": kind}) for mode in ("prot", "long") for name in ("ds", "es", "fs", "gs")
      for kind in (1, 3, 5, 7, 11, 15)),
    ("prot", {"cs_limit": 0xFFFFF, "cs_g": 0}), ("prot", {"cs_limit": 0xFFF}), ("prot", {"ds_limit": 0, "ds_g": 0}),
    ("prot", {"cs_limit": 0x1FFFFF, "cs_g": 1}), ("prot", {"ds_limit": 0xFFFF, "ds_g": 1}),
    *(("prot", {f"{name}_unusable": 1, f"{name}_type": 0, f"{name}_present": 0})
      for name in ("ss", "ds", "es", "fs", "gs")),
    ("prot", {"ss_dpl": 3, "ss_selector": 0x13}), ("real", {"ss_selector": 3}), ("prot", {"cs_base": 0xFFFFFFFF}),
    ("long", {"fs_base": 0x7FFFFFFFFFFF}), ("long", {"gs_base": 0xFFFF800000000000}),
    ("long", {"fs_base": 0x00FFFFFFFFFFFFFF, "cr4": 1 << 5 | 1 << 12}),
    ("long", {"rip": 0xFFFFFFFF80000000}), ("long", {"rip": 0x7FFFFFFFFFFF}), ("prot", {"rip": 0xFFFFFFFF}),
    ("long", {"cs_l": 0, "cs_db": 1, "rip": 0xFFFFFFFF}), ("long", {"cr4": 1 << 5 | 1 << 17}),
    ("prot", {"cr0": 0x60000011}), ("prot", {"cr0": 0x40000011}),
    ("real", {"efer": 1 << 8}), ("prot", {"efer": 1 << 8}),
    ("prot", {"rflags": 0x3F7FD7 & ~(1 << 17)}), ("prot", {"tr_type": 3}), ("prot", {"tr_limit": 0xFFFFF}),
    ("prot", {"ldt_unusable": 0, "ldt_type": 2, "ldt_present": 1}),
    ("long", {"gdt_base": 0xFFFF800000000000, "idt_base": 0x7FFFFFFFF000}),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "changes"), GOOD)
def test_allowed(mode: str, changes: dict[str, int]) -> None:
    assert changed(mode, **changes) == []


BAD: list[tuple[str, dict[str, int], list[str]]] = [
    # control registers
    ("prot", {"cr0": 0x80000010}, ["CR0.PG is set without CR0.PE"]),
    ("prot", {"cr0": 0x20000011}, ["CR0.NW is set without CR0.CD"]),
    ("prot", {"cr0": 0x1_00000011}, ["CR0 has bits above 31 set (0x100000011)"]),
    ("long", {"efer": 1 << 10}, ["EFER.LMA is 1, while EFER.LME is 0 and CR0.PG 1"]),
    ("long", {"cr0": 0x11}, ["EFER.LMA is 1, while EFER.LME is 1 and CR0.PG 0"]),
    ("prot", {"cr0": 0x80000011, "efer": 1 << 8}, ["EFER.LMA is 0, while EFER.LME is 1 and CR0.PG 1"]),
    ("long", {"cr4": 0}, ["long mode is active without CR4.PAE"]),
    ("long", {"cs_db": 1}, ["CS has both L and D set"]),
    ("prot", {"cr4": 1 << 17}, ["CR4.PCIDE is set outside of long mode"]),
    # RFLAGS and RIP
    ("prot", {"rflags": 0}, ["bit 1 of RFLAGS is clear, which is always set"]),
    *(("prot", {"rflags": 2 | 1 << bit}, [f"reserved bits of RFLAGS are set ({2 | 1 << bit:#x})"])
      for bit in (3, 5, 15, 22, 31, 32, 63)),
    ("prot", {"rip": 1 << 32}, ["rip 0x100000000 has bits above 31 set outside of 64-bit mode"]),
    ("long", {"cs_l": 0, "cs_db": 1, "rip": 1 << 36},
     ["rip 0x1000000000 has bits above 31 set outside of 64-bit mode"]),
    ("long", {"rip": 1 << 47}, ["rip 0x800000000000 is not canonical"]),
    ("long", {"rip": 0xFFFF7FFFFFFFFFFF}, ["rip 0xffff7fffffffffff is not canonical"]),
    # segment registers
    *(("prot", {"cs_type": kind}, [f"CS has type {kind:#x}, which is no accessed code segment"])
      for kind in (0, 1, 2, 7, 8, 10, 12, 14)),
    ("prot", {"cs_type": 3, "cs_dpl": 1}, ["CS has type 0x3, which is no accessed code segment"]),
    *(("prot", {"ss_type": kind}, [f"SS has type {kind:#x}, which is no accessed writable data segment"])
      for kind in (0, 1, 2, 4, 5, 6, 8, 11)),
    ("prot", {"ss_dpl": 3}, ["SS has DPL 3 and RPL 0"]),
    ("prot", {"ss_selector": 0x12}, ["SS has DPL 0 and RPL 2"]),
    *(("prot", {f"{name}_type": kind}, [f"{name.upper()} has type {kind:#x}, which is no accessed readable segment"])
      for name in ("ds", "es", "fs", "gs") for kind in (0, 2, 4, 8, 9, 10, 13)),
    *(("prot", {f"{name}_s": 0}, [f"{name.upper()} holds a system descriptor (S is 0)"])
      for name in ("cs", "ss", "ds", "es", "fs", "gs")),
    *(("prot", {f"{name}_present": 0}, [f"{name.upper()} is not present"])
      for name in ("cs", "ss", "ds", "es", "fs", "gs")),
    *(("prot", {f"{name}_limit": 0xFFFFE},
       [f"{name.upper()} has limit 0xffffe with G set, whose low 12 bits are always ones"]) for name in ("cs", "ds")),
    ("prot", {"ds_limit": 0x7FF}, ["DS has limit 0x7ff with G set, whose low 12 bits are always ones"]),
    ("prot", {"es_limit": 0x100000, "es_g": 0}, ["ES has limit 0x100000 with G clear, which allows 20 bits"]),
    *(("long", {f"{name}_base": 1 << 32}, [f"{name.upper()} has a base above 4 GiB (0x100000000)"])
      for name in ("cs", "ss", "ds", "es")),
    *(("long", {f"{name}_base": 1 << 47}, [f"the base of {name.upper()} is not canonical (0x800000000000)"])
      for name in ("fs", "gs")),
    ("long", {"fs_base": 1 << 56, "cr4": 1 << 5 | 1 << 12}, ["the base of FS is not canonical (0x100000000000000)"]),
    ("prot", {"cs_unusable": 1, "cs_present": 0}, ["CS is not present"]),
    # virtual-8086 mode
    ("v86", {"ds_base": 0x12350}, ["DS in virtual-8086 mode has base 0x12350 and limit 0xffff"]),
    ("v86", {"cs_limit": 0xFFFFF}, ["CS in virtual-8086 mode has base 0x12340 and limit 0xfffff"]),
    ("v86", {"gs_selector": 0}, ["GS in virtual-8086 mode has base 0x12340 and limit 0xffff"]),
    # TR, LDTR, GDTR, IDTR
    ("prot", {"tr_unusable": 1}, ["TR is unusable"]),
    *(("prot", {"tr_type": kind}, [f"TR has type {kind:#x}, which is no busy TSS"]) for kind in (1, 2, 9, 10)),
    ("long", {"tr_type": 3}, ["TR has type 0x3, which is no busy TSS"]),
    ("prot", {"tr_s": 1}, ["TR holds no present system segment"]),
    ("prot", {"tr_present": 0}, ["TR holds no present system segment"]),
    ("prot", {"tr_limit": 0x100000}, ["TR has limit 0x100000 with G clear, which allows 20 bits"]),
    ("prot", {"ldt_unusable": 0, "ldt_type": 3, "ldt_present": 1}, ["LDTR holds no LDT (type 0x3)"]),
    ("prot", {"ldt_unusable": 0, "ldt_type": 2, "ldt_present": 0}, ["LDTR holds no LDT (type 0x2)"]),
    ("prot", {"ldt_unusable": 0, "ldt_type": 2, "ldt_present": 1, "ldt_s": 1}, ["LDTR holds no LDT (type 0x2)"]),
    ("long", {"gdt_base": 1 << 47}, ["the base of GDTR is not canonical (0x800000000000)"]),
    ("long", {"idt_base": 1 << 63}, ["the base of IDTR is not canonical (0x8000000000000000)"]),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "changes", "told"), BAD)
def test_violations(mode: str, changes: dict[str, int], told: list[str]) -> None:
    assert changed(mode, **changes) == told


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("real", ["RFLAGS.VM is set in long mode or in real mode"]),
        ("long", ["RFLAGS.VM is set in long mode or in real mode"]),
        ("prot", []),
    ],
)
def test_virtual_8086_belongs_to_protected_mode(mode: str, told: list[str]) -> None:
    regs, sregs = registers(rflags=2 | 1 << 17), special(mode)
    for name in ("cs", "ds", "es", "fs", "gs", "ss"):
        l = int(mode == "long" and name == "cs")  # noqa: E741
        setattr(sregs, name, segment(0, 3, limit=0xFFFF, dpl=3, db=0, l=l))
    assert violations(regs, sregs) == told


def test_state_of_zeros_breaks_what_it_breaks() -> None:
    told = violations(abi.kvm_regs(), abi.kvm_sregs())
    assert told[0] == "bit 1 of RFLAGS is clear, which is always set"
    assert "TR has type 0x0, which is no busy TSS" in told and "CS is not present" in told

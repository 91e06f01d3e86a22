"""What makes the hardware refuse to enter a guest: the state that KVM was given, against the manual's conditions.

Source: Intel SDM volume 3C, section 26.3.1 (checks on the guest state area).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kvmdbg.x86.faults import canonical
from kvmdbg.x86.modes import CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME, EFLAGS_VM

CR0_NW, CR0_CD = 1 << 29, 1 << 30
CODE_TYPES = frozenset((9, 11, 13, 15))
NAMES = ("cs", "ss", "ds", "es", "fs", "gs")


def violations(regs: Any, sregs: Any) -> list[str]:
    """The conditions that this state breaks, in words."""
    return [*_control(regs, sregs), *_segments(regs, sregs), *_tables(sregs)]


def _control(regs: Any, sregs: Any) -> Iterator[str]:
    cr0, cr4, efer = sregs.cr0, sregs.cr4, sregs.efer
    if cr0 & CR0_PG and not cr0 & CR0_PE:
        yield "CR0.PG is set without CR0.PE"
    if cr0 & CR0_NW and not cr0 & CR0_CD:
        yield "CR0.NW is set without CR0.CD"
    if cr0 >> 32:
        yield f"CR0 has bits above 31 set ({cr0:#x})"
    long = bool(efer & EFER_LMA)
    if long != bool(efer & EFER_LME and cr0 & CR0_PG):
        lme, paging = int(bool(efer & EFER_LME)), int(bool(cr0 & CR0_PG))
        yield f"EFER.LMA is {int(long)}, while EFER.LME is {lme} and CR0.PG {paging}"
    if long and not cr4 & CR4_PAE:
        yield "long mode is active without CR4.PAE"
    if long and sregs.cs.l and sregs.cs.db:
        yield "CS has both L and D set"
    if not long and cr4 & 1 << 17:
        yield "CR4.PCIDE is set outside of long mode"
    if not regs.rflags & 2:
        yield "bit 1 of RFLAGS is clear, which is always set"
    if regs.rflags & (1 << 3 | 1 << 5 | 1 << 15) or regs.rflags >> 22:
        yield f"reserved bits of RFLAGS are set ({regs.rflags:#x})"
    if regs.rflags & EFLAGS_VM and (long or not cr0 & CR0_PE):
        yield "RFLAGS.VM is set in long mode or in real mode"
    if not (long and sregs.cs.l) and regs.rip >> 32:
        yield f"rip {regs.rip:#x} has bits above 31 set outside of 64-bit mode"
    if long and sregs.cs.l and not canonical(regs.rip, cr4):
        yield f"rip {regs.rip:#x} is not canonical"


def _segments(regs: Any, sregs: Any) -> Iterator[str]:
    real = not sregs.cr0 & CR0_PE
    for name in NAMES:
        one = getattr(sregs, name)
        if one.unusable and name != "cs":
            continue
        word = name.upper()
        if regs.rflags & EFLAGS_VM:
            if (one.base, one.limit) != (one.selector << 4, 0xFFFF):
                yield f"{word} in virtual-8086 mode has base {one.base:#x} and limit {one.limit:#x}"
            continue
        if name == "cs":
            if one.type not in CODE_TYPES and not (one.type == 3 and one.dpl == 0):
                yield f"CS has type {one.type:#x}, which is no accessed code segment"
        elif name == "ss":
            if one.type not in (3, 7):
                yield f"SS has type {one.type:#x}, which is no accessed writable data segment"
            if not real and one.dpl != one.selector & 3:
                yield f"SS has DPL {one.dpl} and RPL {one.selector & 3}"
        elif not one.type & 1 or (one.type & 8 and not one.type & 2):
            yield f"{word} has type {one.type:#x}, which is no accessed readable segment"
        if not one.s:
            yield f"{word} holds a system descriptor (S is 0)"
        if not one.present:
            yield f"{word} is not present"
        yield from _granularity(word, one)
        if name in ("cs", "ss", "ds", "es") and one.base >> 32:
            yield f"{word} has a base above 4 GiB ({one.base:#x})"
        elif not canonical(one.base, sregs.cr4):
            yield f"the base of {word} is not canonical ({one.base:#x})"


def _granularity(word: str, one: Any) -> Iterator[str]:
    if one.limit & 0xFFF != 0xFFF and one.g:
        yield f"{word} has limit {one.limit:#x} with G set, whose low 12 bits are always ones"
    if one.limit >> 20 and not one.g:
        yield f"{word} has limit {one.limit:#x} with G clear, which allows 20 bits"


def _tables(sregs: Any) -> Iterator[str]:
    tr = sregs.tr
    busy = (11,) if sregs.efer & EFER_LMA else (3, 11)
    if tr.unusable or tr.type not in busy:
        yield f"TR has type {tr.type:#x}, which is no busy TSS" if not tr.unusable else "TR is unusable"
    else:
        if tr.s or not tr.present:
            yield "TR holds no present system segment"
        yield from _granularity("TR", tr)
    if not sregs.ldt.unusable and (sregs.ldt.type != 2 or sregs.ldt.s or not sregs.ldt.present):
        yield f"LDTR holds no LDT (type {sregs.ldt.type:#x})"
    for name, table in (("GDTR", sregs.gdt), ("IDTR", sregs.idt)):
        if not canonical(table.base, sregs.cr4):
            yield f"the base of {name} is not canonical ({table.base:#x})"

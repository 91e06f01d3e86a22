"""Frames of a Linux kernel built without frame pointers: by ORC, the tables for that in its own memory.

Sources: the kernel's arch/x86/include/asm/orc_types.h (an entry's layout, which changed in 6.3 and 6.4) and
arch/x86/kernel/unwind_orc.c (what each kind means); Documentation/arch/x86/orc-unwinder.rst.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple, Protocol

from kvmdbg.debuginfo.symbols import SymbolTable
from kvmdbg.errors import MemoryFault
from kvmdbg.masks import LOW64

PLACE_SIZE, ENTRY_SIZE = 4, 6
BANNER = re.compile(rb"Linux version (\d+)\.(\d+)")
WORD = 8

UNDEFINED, PREVIOUS_SP, DX, DI, BP, SP, R10, R13, BP_INDIRECT, SP_INDIRECT = range(10)
"""ORC_REG_*: what the caller's stack pointer is counted from."""
NAMED = {DX: "rdx", DI: "rdi", R10: "r10", R13: "r13"}
CALL, REGS, REGS_PARTIAL, END = "call", "regs", "partial", "end"
BEFORE_6_4 = (CALL, REGS, REGS_PARTIAL)
SINCE_6_4 = (END, END, CALL, REGS, REGS_PARTIAL)

PT_REGS = (
    *("r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi"),
    *("orig_rax", "rip", "cs", "rflags", "rsp", "ss"),
)
IRET_FRAME = PT_REGS[-5:]
Found = tuple[int, dict[str, int], bool]
"""The caller's pc and registers, and whether it was interrupted there."""


class Memory(Protocol):
    def read(self, address: int, size: int) -> bytes: ...


class Entry(NamedTuple):
    """What is known of a place: SP is ``sp_offset`` from ``sp_reg``, what was pushed is of this ``kind``."""

    sp_offset: int
    bp_offset: int
    sp_reg: int
    bp_reg: int
    kind: str


def frame_by_orc(memory: Memory, symbols: SymbolTable, pc: int, regs: dict[str, int]) -> Found | str | None:
    """Of code at ``pc`` with these registers: None where no table covers it, a text at the outermost frame.

    MemoryFault where the stack cannot be read.
    """
    entry = _entry(memory, symbols, pc)
    if entry is None:
        return None
    if entry.kind == END:
        return "this is the outermost frame"
    sp = _stack_pointer(memory, entry, regs)
    if sp is None:
        return None
    return _caller(memory, entry, sp, regs)


def _entry(memory: Memory, symbols: SymbolTable, pc: int) -> Entry | None:
    names = ("__start_orc_unwind_ip", "__stop_orc_unwind_ip", "__start_orc_unwind", "linux_banner")
    found = [symbols.lookup(name) for name in names]
    start, stop, entries, banner = (one.address if one is not None else 0 for one in found)
    if not (start and entries and start < stop):
        return None
    try:
        low, high = 0, (stop - start) // PLACE_SIZE
        while low < high:  # the first place behind pc
            middle = (low + high) // 2
            if _place(memory, start + middle * PLACE_SIZE) <= pc:
                low = middle + 1
            else:
                high = middle
        if not low or pc - _place(memory, start) > stop - start << 8:
            return None
        data = memory.read(entries + (low - 1) * ENTRY_SIZE, ENTRY_SIZE)
        return _decoded(data, _version(memory, banner))
    except MemoryFault:  # the kernel has not mapped itself yet
        return None


def _place(memory: Memory, at: int) -> int:
    return at + int.from_bytes(memory.read(at, PLACE_SIZE), "little", signed=True)


def _version(memory: Memory, banner: int) -> tuple[int, int]:
    match = BANNER.match(memory.read(banner, 32)) if banner else None
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _decoded(data: bytes, version: tuple[int, int]) -> Entry | None:
    sp_offset, bp_offset, flags = struct.unpack("<hhH", data)
    sp_reg, bp_reg, rest = flags & 15, flags >> 4 & 15, flags >> 8
    kinds: tuple[str, ...]
    if version >= (6, 4):
        kinds, number = SINCE_6_4, rest & 7
    else:
        kinds, number = BEFORE_6_4, rest & 3
        if rest & (8 if version >= (6, 3) else 4):
            return Entry(sp_offset, bp_offset, sp_reg, bp_reg, END)
    return Entry(sp_offset, bp_offset, sp_reg, bp_reg, kinds[number]) if number < len(kinds) else None


def _stack_pointer(memory: Memory, entry: Entry, regs: dict[str, int]) -> int | None:
    """What the stack pointer was before this call, or where what was pushed lies."""
    if entry.sp_reg in NAMED:
        return regs.get(NAMED[entry.sp_reg])
    if entry.sp_reg == SP:
        return regs["rsp"] + entry.sp_offset
    if entry.sp_reg == SP_INDIRECT:
        return _word(memory, regs["rsp"]) + entry.sp_offset
    if entry.sp_reg not in (BP, BP_INDIRECT) or "rbp" not in regs:
        return None
    at = regs["rbp"] + entry.sp_offset
    return _word(memory, at) if entry.sp_reg == BP_INDIRECT else at


def _caller(memory: Memory, entry: Entry, sp: int, regs: dict[str, int]) -> Found | str:
    caller = dict(regs)
    if entry.kind == CALL:
        back = _word(memory, sp - WORD)
        caller["rsp"] = sp
    else:
        names = PT_REGS if entry.kind == REGS else IRET_FRAME
        pushed = dict(zip(names, struct.unpack(f"<{len(names)}Q", memory.read(sp, WORD * len(names))), strict=True))
        caller |= {name: value for name, value in pushed.items() if name in regs}
        back = pushed["rip"]
        if pushed["cs"] & 3:
            return f"the kernel was entered from user code at {back:#x}"
    if entry.bp_reg == PREVIOUS_SP:
        caller["rbp"] = _word(memory, sp + entry.bp_offset)
    elif entry.bp_reg == BP and "rbp" in regs:
        caller["rbp"] = _word(memory, regs["rbp"] + entry.bp_offset)
    return back, caller, entry.kind != CALL


def _word(memory: Memory, address: int) -> int:
    return int.from_bytes(memory.read(address & LOW64, WORD), "little")

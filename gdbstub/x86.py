"""Registers of x86 as gdb and lldb know them: the least that they want to be told of, for a target to begin with.

Names: gdb manual, node "i386 Features". DWARF's numbers: System V psABI for i386 (table 2.14) and x86-64 (figure 3.36).
"""

from __future__ import annotations

from gdbstub.registers import Description, Feature, Flags, Register

_BITS = {"CF": 0, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "TF": 8, "IF": 9, "DF": 10, "OF": 11, "NT": 14, "RF": 16}
_BITS |= {"VM": 17, "AC": 18, "VIF": 19, "VIP": 20, "ID": 21}
EFLAGS = Flags("i386_eflags", 4, (*((name, bit, bit) for name, bit in _BITS.items()), ("IOPL", 12, 13)))
SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
X87 = tuple(Register(f"st{n}", 80, "i387_ext", "float") for n in range(8)) + tuple(
    Register(name, 32, "int", "float") for name in ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop")
)
ORDER32 = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
ORDER64 = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
GENERIC = {"esp": "sp", "rsp": "sp", "ebp": "fp", "rbp": "fp"}
DWARF32 = {name: n for n, name in enumerate(ORDER32)}
DWARF64 = {name: n for n, name in enumerate(("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"))}
DWARF64 |= {f"r{n}": n for n in range(8, 16)}


def core(bits: int) -> Feature:
    """General registers of 32 or 64 bits, pc, flags, segments and x87: gdb takes no description without all these."""
    order, dwarf = (ORDER64, DWARF64) if bits == 64 else (ORDER32, DWARF32)
    general = tuple(
        Register(
            name, bits, "data_ptr" if name in GENERIC else f"int{bits}", generic=GENERIC.get(name), dwarf=dwarf[name]
        )
        for name in order
    )
    pc = Register("rip" if bits == 64 else "eip", bits, "code_ptr", generic="pc", dwarf=16 if bits == 64 else 8)
    flags = Register("eflags", 32, "i386_eflags", generic="flags", dwarf=49 if bits == 64 else 9)
    segments = tuple(Register(name, 32, "int32") for name in SEGMENTS)
    return Feature("org.gnu.gdb.i386.core", (*general, pc, flags, *segments, *X87), (EFLAGS,))


I386 = Description("i386", (core(32),), "i386", triple="i386-unknown-unknown", pointer_size=4)
X86_64 = Description("i386:x86-64", (core(64),), "i386:x86-64", triple="x86_64-unknown-unknown")

"""x86 registers by name: which storage register a name lives in, where in it, and how wide.

Source: Intel SDM volume 1, sections 3.4 (general-purpose, segment, EFLAGS) and 3.7.2; volume 3A, section 2.
"""

from __future__ import annotations

from kvmdbg.record import record

GENERAL = (
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
    "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
)  # fmt: skip
"""Storage registers in the order of struct kvm_regs."""

EFLAGS_CF, EFLAGS_ZF = 1, 1 << 6
EFLAGS_IF = 1 << 9
EFLAGS_TF = 1 << 8
"""The CPU raises #DB after each instruction (SDM volume 3B, section 17.3.1.4)."""
EFLAGS_RF = 1 << 16
"""The next instruction meets no breakpoint; set in the frame of a fault (SDM volume 3B, section 17.3.1.1)."""
NO_FAULTS = frozenset((1, 2, 3, 4, 8, 18))
"""Exceptions that are traps (here #DB, too) or aborts (SDM volume 3A, table 6-1)."""
BY_INSTRUCTION = frozenset((3, 4))
"""#BP and #OF, which INT3 and INTO are for."""
DR6_HITS, DR6_BS = 0xF, 1 << 14
"""EFLAGS.TF was the reason of a #DB."""
DR7_ENABLED = 0xFF
"""The bits of DR7 that switch breakpoints on."""

SEGMENTS = ("cs", "ds", "es", "fs", "gs", "ss", "tr", "ldtr")


@record
class Register:
    """One name: ``bits`` wide, at bit ``shift`` of the storage register ``parent``."""

    name: str
    bits: int
    group: str
    parent: str
    shift: int
    writable: bool = True


def _table() -> dict[str, Register]:
    table: dict[str, Register] = {}

    def add(name: str, bits: int, group: str, parent: str | None = None, shift: int = 0) -> None:
        table[name] = Register(name, bits, group, parent or name, shift)

    for letter in "abcd":
        storage = f"r{letter}x"
        add(storage, 64, "general")
        add(f"e{letter}x", 32, "general", storage)
        add(f"{letter}x", 16, "general", storage)
        add(f"{letter}l", 8, "general", storage)
        add(f"{letter}h", 8, "general", storage, 8)
    for stem in ("si", "di", "sp", "bp"):
        add(f"r{stem}", 64, "general")
        add(f"e{stem}", 32, "general", f"r{stem}")
        add(stem, 16, "general", f"r{stem}")
        add(f"{stem}l", 8, "general", f"r{stem}")
    for number in range(8, 16):
        storage = f"r{number}"
        add(storage, 64, "general")
        for suffix, bits in (("d", 32), ("w", 16), ("b", 8), ("l", 8)):
            add(storage + suffix, bits, "general", storage)
    for name, bits in (("rip", 64), ("eip", 32), ("ip", 16)):
        add(name, bits, "ip", "rip")
    for name, bits in (("rflags", 64), ("eflags", 32), ("flags", 16)):
        add(name, bits, "flags", "rflags")
    for name in SEGMENTS:
        add(name, 16, "segment")
        add(f"{name}_base", 64, "base")
        add(f"{name}_limit", 32, "base")
    for name in ("gdtr", "idtr"):
        add(f"{name}_base", 64, "table")
        add(f"{name}_limit", 16, "table")
        add(name, 64, "table", f"{name}_base")
    for name in ("cr0", "cr2", "cr3", "cr4", "cr8"):
        add(name, 64, "control")
    for name in ("efer", "apic_base"):
        add(name, 64, "msr")
    for number in (0, 1, 2, 3, 6, 7):
        add(f"dr{number}", 64, "debug")
    return table


_REGISTERS = _table()


def lookup(name: str) -> Register | None:
    """The register of that name (upper or lower case), or None."""
    return _REGISTERS.get(name.lower())


def names() -> list[str]:
    """All names."""
    return list(_REGISTERS)


def extract(register: Register, parent_value: int) -> int:
    """The register's value in its storage register's."""
    return parent_value >> register.shift & (1 << register.bits) - 1


def insert(register: Register, parent_value: int, value: int) -> int:
    """The storage register's value with this part replaced.

    A debugger's write: the upper half of a 64-bit register stays when its lower half is written.
    """
    mask = (1 << register.bits) - 1 << register.shift
    return parent_value & ~mask | value << register.shift & mask


def general_names(bits: int) -> tuple[str, ...]:
    """What a display of general registers shows in a mode of 16, 32 or 64 bits.

    In real mode too the 32-bit registers are there, so those are shown.
    """
    if bits == 64:
        return GENERAL
    return ("eax", "ebx", "ecx", "edx", "esi", "edi", "esp", "ebp", "eip", "eflags")

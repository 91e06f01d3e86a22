"""Disassembly through capstone, and what kind of instruction it is.

capstone is imported at the first use: a batch run that shows no code does not pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from kvmdbg.record import record, replace
from kvmdbg.x86 import conditions

MAX_INSTRUCTION = 15


@record
class Insn:
    """One instruction at linear ``address``: its bytes, mnemonic and operands as text."""

    address: int
    data: bytes
    mnemonic: str
    operands: str

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def text(self) -> str:
        return f"{self.mnemonic} {self.operands}".rstrip()


@record
class InsnInfo:
    """What an instruction does to the flow of control.

    ``target`` is a direct branch's, linear; ``far_target`` that of a direct far one, selector and offset.
    """

    size: int
    mnemonic: str
    is_call: bool = False
    is_ret: bool = False
    is_iret: bool = False
    is_jump: bool = False
    is_conditional: bool = False
    is_rep: bool = False
    is_int: bool = False
    is_hlt: bool = False
    is_pushf: bool = False
    is_syscall: bool = False
    is_io: bool = False
    target: int | None = None
    far_target: tuple[int, int] | None = None

    @property
    def is_stepped_over(self) -> bool:
        """Whether ``next`` runs it to its end instead of stepping into it."""
        return self.is_call or self.is_int or self.is_rep


@lru_cache(maxsize=12)
def engine(bits: int, syntax: str = "intel", detail: bool = False) -> Any:
    """The capstone disassembler for code of 16, 32 or 64 bits."""
    import capstone

    mode = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[bits]
    found = capstone.Cs(capstone.CS_ARCH_X86, mode)
    if syntax == "att":
        found.syntax = capstone.CS_OPT_SYNTAX_ATT
    found.detail = detail
    return found


def disassemble(
    code: bytes, address: int, bits: int, count: int | None = None, syntax: str = "intel", base: int | None = None
) -> list[Insn]:
    """Up to ``count`` instructions of ``code``, which lies at linear ``address``.

    A byte that starts no instruction becomes ``.byte`` and decoding goes on behind it. ``base`` is the code segment's,
    where it is known: branches lead to an offset in it.
    """
    return list(one_by_one(code, address, bits, count, syntax, base))


def one_by_one(
    code: bytes, address: int, bits: int, count: int | None = None, syntax: str = "intel", base: int | None = None
) -> Iterator[Insn]:
    """The same, each when it is asked for."""
    at = done = 0
    while at < len(code) and (count is None or done < count):
        left = 0 if count is None else count - done
        for start, size, mnemonic, operands in engine(bits, syntax).disasm_lite(code[at:], address + at, left):
            data = code[start - address : start - address + size]
            if (
                bits != 64
                and operands[:2] == "0x"
                and (info := classify(data, start, bits, base))
                and info.target is not None
            ):
                operands = f"{info.target:#x}"  # capstone takes it for an offset of 16 bits here, and not there
            yield Insn(start, data, mnemonic, operands)
            at, done = start - address + size, done + 1
        if at < len(code) and (count is None or done < count):
            prefix = "$" if syntax == "att" else ""
            yield Insn(address + at, code[at : at + 1], ".byte", f"{prefix}0x{code[at]:02x}")
            at, done = at + 1, done + 1


@lru_cache(maxsize=8192)
def decode(code: bytes, bits: int) -> Any:
    """capstone's own instruction, with details, of the first instruction of ``code`` taken to lie at 0; or None."""
    return next(engine(bits, "intel", True).disasm(code[:MAX_INSTRUCTION], 0, 1), None)


RETURNS = frozenset(
    ["ret", "retf", "retfq", "iret", "iretd", "iretq", "sysret", "sysretq", "sysexit", "sysexitq", "rsm", "uiret"]
)
SYSCALLS = frozenset(("syscall", "sysenter", "vmcall", "vmmcall"))
INTERRUPTS = frozenset(("int", "int3", "int1", "into"))
SHORT_BRANCHES = frozenset((*range(0x70, 0x80), *range(0xE0, 0xE4), 0xEB))
PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0, 0xF2, 0xF3))
LOOPS = frozenset(("loop", "loope", "loopne", "loopz", "loopnz"))
PORTS = frozenset(["in", "out", "insb", "insw", "insd", "outsb", "outsw", "outsd"])
STRINGS = frozenset(["movs", "stos", "lods", "cmps", "scas", "ins", "outs"])


@lru_cache(maxsize=8192)
def _classify(code: bytes, bits: int) -> InsnInfo | None:
    insn = decode(code, bits)
    if insn is None:
        return None
    name = insn.mnemonic.split()[-1]
    raw = bytes(insn.bytes)
    is_call = name in ("call", "lcall")
    loop = name in LOOPS or (name.startswith("j") and name.endswith("cxz"))
    conditional = loop or (name.startswith("j") and name not in ("jmp", "ljmp", "jmpe"))
    target = None
    if (conditional or name in ("call", "jmp", "xbegin")) and insn.operands and insn.operands[0].type == 2:
        width = 1 if insn.opcode[0] in SHORT_BRANCHES else min(offset_bits(raw, bits), 32) // 8
        target = insn.size + int.from_bytes(raw[-width:], "little", signed=True)
    far = name == "ljmp" and len(insn.operands) == 2
    rep = insn.mnemonic.startswith("rep") and name.rstrip("bwdq") in STRINGS
    return InsnInfo(
        size=insn.size,
        mnemonic=name,
        is_call=is_call,
        is_ret=name in RETURNS,
        is_iret=name.startswith("iret"),
        is_jump=name in ("jmp", "ljmp") or conditional,
        is_conditional=conditional,
        is_rep=rep,
        is_int=name in INTERRUPTS,
        is_hlt=name == "hlt",
        is_pushf=name.startswith("pushf") or (raw[-1] == 0x9C and insn.size <= 3),
        is_syscall=name in SYSCALLS,
        is_io=name in PORTS,
        target=target,
        far_target=(insn.operands[0].imm, insn.operands[1].imm) if far else None,
    )


def offset_bits(code: bytes, bits: int) -> int:
    """How many bits a near branch leaves of its target's offset: a prefix chooses 16 or 32, but in 64-bit code."""
    return bits if bits == 64 or 0x66 not in code[: prefixes_of(code, bits)] else 48 - bits


def prefixes_of(code: bytes, bits: int) -> int:
    """How many bytes of prefixes an instruction has."""
    at = 0
    while at < len(code) and (code[at] in PREFIXES or (bits == 64 and code[at] >> 4 == 4)):
        at += 1
    return at


def classify(code: bytes, address: int, bits: int, base: int | None = None) -> InsnInfo | None:
    """What kind the first instruction of ``code`` (at linear ``address``) is; None when it is none.

    ``base`` is the code segment's, where it is known: a branch leads to an offset in it, which it may wrap. 16-bit code
    that is not in its 64 KiB is another segment's, whose base nobody knows.
    """
    info = _classify(bytes(code[:MAX_INSTRUCTION]), bits)
    if info is None or info.target is None:
        return info
    target = address + info.target
    if base is not None and (bits != 16 or 0 <= address - base < 1 << 16):
        target = base + (target - base & (1 << offset_bits(code, bits)) - 1)
    return replace(info, target=target & (1 << max(bits, 32)) - 1)


def branch_taken(code: bytes, address: int, bits: int, registers: Callable[[str], int]) -> bool | None:
    """Whether the conditional branch at ``address`` will be taken; None for any other instruction.

    ``registers("rflags")`` and ``registers("rcx")`` give the state before it.
    """
    info = _classify(bytes(code[:MAX_INSTRUCTION]), bits)
    if info is None or not info.is_conditional:
        return None
    width = bits
    if b"\x67" in code[: info.size - 2]:
        width = {16: 32, 32: 16, 64: 32}[bits]
    return conditions.taken(info.mnemonic, registers("rflags"), registers("rcx"), width)

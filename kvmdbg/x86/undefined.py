"""What an instruction leaves undefined: flags, and the register it writes.

Two CPUs may do either without one of them being wrong. Source: Intel SDM volume 2, "Flags Affected" and the text of
each instruction; volume 1, appendix A (EFLAGS cross-reference).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kvmdbg.record import record
from kvmdbg.x86 import disasm
from kvmdbg.x86.operands import IMM, REG

CF, PF, AF, ZF, SF, OF = 1, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 11
ALWAYS = {
    **dict.fromkeys(("aaa", "aas"), OF | SF | ZF | PF),
    **dict.fromkeys(("aam", "aad"), OF | AF | CF),
    **dict.fromkeys(("daa", "das"), OF),
    **dict.fromkeys(("and", "or", "xor", "test"), AF),
    **dict.fromkeys(("andn", "blsi", "blsmsk", "blsr", "bzhi"), AF | PF),
    "bextr": AF | SF | PF,
    **dict.fromkeys(("tzcnt", "lzcnt"), OF | SF | PF | AF),
    **dict.fromkeys(("bsf", "bsr"), CF | OF | SF | AF | PF),
    **dict.fromkeys(("bt", "btc", "btr", "bts"), OF | SF | AF | PF),
    **dict.fromkeys(("mul", "imul"), SF | ZF | AF | PF),
    **dict.fromkeys(("div", "idiv"), CF | OF | SF | ZF | AF | PF),
}
SHIFTS = frozenset(("shl", "sal", "shr", "sar"))
ROTATES = frozenset(("rol", "ror", "rcl", "rcr"))
DOUBLE_SHIFTS = frozenset(("shld", "shrd"))
SETS_CONDITIONS = frozenset(
    "fcom fcomp fcompp fucom fucomp fucompp ficom ficomp ftst fxam fprem fprem1 fptan fsin fcos fsincos "
    "fninit fnsave frstor fldenv fnstenv fxrstor fxsave fnclex fnstsw fnstcw fldcw".split()
)
"""Instructions whose name begins with f that set C0, C2 and C3, or leave them alone (SDM volume 1, 8.1.3.3)."""
SEGMENTS = frozenset(("cs", "ds", "es", "fs", "gs", "ss"))
ANSWERED = {
    "rdtsc": ("rax", "rdx"), "rdtscp": ("rax", "rcx", "rdx"), "rdpmc": ("rax", "rdx"), "rdmsr": ("rax", "rdx"),
    "cpuid": ("rax", "rbx", "rcx", "rdx"), "xgetbv": ("rax", "rdx"),
}  # fmt: skip
"""What reads the clock or asks which CPU it is, and where the answer goes."""
RANDOM = frozenset(("rdrand", "rdseed", "rdpid"))
"""The same, with the answer in the operand."""


@record
class Undefined:
    """``flags`` of RFLAGS, general ``registers`` (their 64-bit names), whether ``memory`` that it writes is."""

    flags: int = 0
    registers: frozenset[str] = frozenset()
    memory: bool = False
    conditions: bool = False
    """C0, C2 and C3 of x87."""


NOTHING = Undefined()


def undefined(code: bytes, bits: int, read: Callable[[str], int]) -> Undefined:
    """What the instruction that ``code`` begins with leaves undefined.

    ``read`` gives the registers before it ("rcx" and so on), ``read("rflags")`` those behind it: BSF and BSR tell by ZF
    whether their source was 0.
    """
    insn = disasm.decode(code, bits)
    if insn is None:
        return NOTHING
    name = insn.mnemonic.split()[-1]
    if name in SHIFTS or name in ROTATES or name in DOUBLE_SHIFTS:
        return _of_shift(insn, name, read)
    flags = ALWAYS.get(name, 0)
    if name in ("bsf", "bsr") and read("rflags") & ZF:
        return Undefined(flags, _written(insn))
    if name == "push" and insn.operands[0].type == REG and insn.reg_name(insn.operands[0].reg) in SEGMENTS:
        return Undefined(memory=True)  # in a slot of 32 bits the upper half may stay as it is
    if name.startswith("f") and name not in SETS_CONDITIONS:
        return Undefined(flags, conditions=True)
    if name == "bswap" and insn.operands[0].size == 2:
        return Undefined(flags, _written(insn))
    return Undefined(flags) if flags else NOTHING


def defined(code: bytes, bits: int) -> int:
    """The flags that the instruction sets or clears in a way that the manual says, as far as capstone knows."""
    insn = disasm.decode(code, bits)
    return 0 if insn is None or insn.mnemonic.startswith("f") else _named_by_capstone(int(insn.eflags))


@lru_cache(maxsize=512)
def _named_by_capstone(eflags: int) -> int:
    from capstone import x86_const

    found = 0
    for name, flag in (("CF", CF), ("PF", PF), ("AF", AF), ("ZF", ZF), ("SF", SF), ("OF", OF)):
        ways = (getattr(x86_const, f"X86_EFLAGS_{way}_{name}", 0) for way in ("MODIFY", "RESET", "SET"))
        found |= flag if any(eflags & way for way in ways) else 0
    return found


def answered(code: bytes, bits: int) -> frozenset[str]:
    """The general registers that get an answer of the CPU or its clock, which another CPU gives otherwise."""
    insn = disasm.decode(code, bits)
    if insn is None:
        return frozenset()
    if insn.mnemonic in RANDOM:
        return _written(insn)
    return frozenset(ANSWERED.get(insn.mnemonic, ()))


def _written(insn: Any) -> frozenset[str]:
    from kvmdbg.x86.registers import lookup

    operand = insn.operands[0]
    found = lookup(insn.reg_name(operand.reg)) if operand.type == REG else None
    return frozenset() if found is None else frozenset((found.parent,))


def _of_shift(insn: Any, name: str, read: Callable[[str], int]) -> Undefined:
    size = int(insn.operands[0].size) * 8
    last = insn.operands[-1]
    one = len(insn.operands) == 1
    count = 1 if one else int(last.imm) if last.type == IMM else read("rcx")
    count &= 0x3F if size == 64 else 0x1F
    if not count:
        return NOTHING
    several = OF if count != 1 else 0
    if name in ROTATES:
        return Undefined(several) if several else NOTHING
    if name in DOUBLE_SHIFTS:
        if count > size:
            written = _written(insn)
            return Undefined(CF | OF | SF | ZF | AF | PF, written, not written)
        return Undefined(AF | several)
    return Undefined(AF | several | (CF if count >= size and name != "sar" else 0))

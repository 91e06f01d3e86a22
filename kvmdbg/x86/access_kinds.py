"""What an instruction does at its memory operand, where capstone does not know: no access, how many bytes, which kind.

From the SDM, volume 2. Where a mask or a bitmap says which bytes are accessed, all that it may name are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

READ, WRITE = 1, 2
REX_W = 8
NO_ACCESS = frozenset(
    "lea nop prefetch prefetchnta prefetcht0 prefetcht1 prefetcht2 prefetchw prefetchwt1 cldemote invlpg "
    "clflush clflushopt clwb bndmk bndcl bndcu bndcn bndldx bndstx".split()
)
"""Instructions whose memory operand is an address only."""
SIZES = {
    "fxsave": 512, "fxrstor": 512, "fxsave64": 512, "fxrstor64": 512,
    "fnstenv": 28, "fldenv": 28, "fnsave": 108, "frstor": 108,
    "comisd": 8,
}  # fmt: skip
X87_AREAS = frozenset("fnstenv fldenv fnsave frstor".split())
LESS_IN_16_BITS = 14
"""Bytes that an environment has less where the operand size is 16 bits."""
XSAVE_AREA, AVX_STATE, AVX = 576, 256, 4
"""Bytes of the legacy area with the header, and of AVX's state behind it; its bit in the bitmap in EAX."""
FAR_POINTERS = frozenset("lds les lss lfs lgs".split())
READ_WRITES = frozenset("arpl rol ror rcl rcr cmpxchg cmpxchg8b cmpxchg16b".split())
"""Where capstone has forgotten the write."""
WRITES = frozenset(
    "sgdt sidt fxsave fxsave64 fnstenv fnsave fnstcw fnstsw stmxcsr vstmxcsr fst fstp fist fistp fisttp".split()
)
READS = frozenset(
    "lgdt lidt fxrstor fxrstor64 cmp test push call jmp lcall ljmp ldmxcsr fldcw frstor bound bt "
    "roundss roundsd".split()
)


def name_of(insn: Any) -> str:
    """Its mnemonic without prefixes; capstone takes some far jumps and calls by memory for near ones."""
    if insn.opcode[0] == 0xFF and (far := {3: "lcall", 5: "ljmp"}.get(insn.modrm >> 3 & 7)):
        return far
    return str(insn.mnemonic.split()[-1])


def size_of(insn: Any, operand: Any, name: str, operand_bits: int, reg: Callable[[str], int]) -> int:
    """Bytes that the instruction ``name`` accesses at its memory operand."""
    if name in FAR_POINTERS:
        return int(insn.operands[0].size) + 2
    if name in ("ljmp", "lcall"):
        return (8 if insn.rex & REX_W else operand_bits // 8) + 2
    if name.startswith(("xsave", "xrstor")):
        return XSAVE_AREA + (AVX_STATE if reg("rax") & AVX else 0)
    if name in X87_AREAS and operand_bits == 16:
        return SIZES[name] - LESS_IN_16_BITS
    return SIZES.get(name) or int(operand.size) or 8


def kind_of(insn: Any, operand: Any, name: str) -> int:
    """READ, WRITE or both, of a memory operand."""
    access = int(operand.access) or (READ | WRITE)
    if name in WRITES or name.startswith(("set", "xsave")):
        return WRITE
    if name in READ_WRITES:
        return READ | WRITE
    if name in READS or name.startswith("xrstor"):
        return READ
    if access == READ and len(insn.operands) > 1 and operand.type == insn.operands[0].type:
        return WRITE  # a destination, as of movups, movq, movntdq, vextractf128
    return access

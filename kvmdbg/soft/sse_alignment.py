"""Operands of SSE that have to be aligned to 16 bytes (SDM volume 2A, table 2-21): unicorn takes them anywhere.

Only those are looked at whose address the code itself has ([rip + x] and [x]): one in registers would have to be at
each time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from kvmdbg.soft.alignment import SSE, accesses
from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.state import CR0, CR4
from kvmdbg.x86 import disasm, operands
from kvmdbg.x86.faults import GP, Fault

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

FIXED = re.compile(rb"\x0f(?:[\x38\x3a].|[\x10-\x7f\xc2-\xfe])[\x05\x0d\x15\x1d\x25\x2d\x35\x3d]", re.DOTALL)
"""Two bytes or three of opcode, and ModR/M for an address that the code has."""
PACKED = "add sub mul div max min and andn or xor sqrt unpckl unpckh shuf".split()
ALIGNED = frozenset(f"{name}{kind}" for name in (*PACKED, "mova", "movnt") for kind in ("ps", "pd"))
ALIGNED |= frozenset("movdqa movntdq movntdqa pand pandn por pxor pshufd pshufb pcmpeqb pcmpeqw pcmpeqd".split())
ALIGNED |= frozenset(f"{name}{kind}" for name in ("padd", "psub") for kind in "bwdq")
CR0_EM, CR0_TS, CR4_OSFXSR = 1 << 2, 1 << 3, 1 << 9


def places(code: bytes, start: int, lengths: Mapping[int, int], bits: int) -> Iterator[int]:
    """Where instructions begin that have such an operand, in code at a linear address."""
    for at, length in lengths.items():
        piece = code[at : at + length]
        if not FIXED.search(piece) or not _has_to_be_aligned(piece, bits):
            continue
        found = operands.accesses(piece, start + at, bits, lambda name: 0)
        if any(access.size == SSE and access.linear % SSE for access in found):
            yield at


def fault(cpu: Running) -> Fault | None:
    """Of the instruction at hand; not where SSE is off, which comes before."""
    state = cpu.state
    if state.u64[CR0 // 8] & (CR0_EM | CR0_TS) or not state.u64[CR4 // 8] & CR4_OSFXSR:
        return None
    if not _has_to_be_aligned(cpu.vm.bytes_at(state, state.pc, 15), bits_of(state)):
        return None
    for access, _ in accesses(cpu):
        if access.size == SSE and access.linear % SSE:
            return Fault(GP, f"the operand at {access.linear:#x} is not aligned to 16 bytes")
    return None


def _has_to_be_aligned(code: bytes, bits: int) -> bool:
    insn = disasm.decode(code, bits)
    return insn is not None and insn.mnemonic in ALIGNED

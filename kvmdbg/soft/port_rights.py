"""Whether code may use a port, which unicorn lets all code do (SDM volume 1, 19.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.soft.state import CR0, EFLAGS, SEGMENTS
from kvmdbg.x86.modes import CR0_PE, EFLAGS_VM

if TYPE_CHECKING:
    from kvmdbg.soft.registers import SoftRegisters

PRESENT = 1 << 15
TSS_TYPES = frozenset((9, 11))
TSS_LIMIT, MAP_BASE = 103, 102


def may_use_port(cpu: SoftRegisters, port: int, size: int) -> bool:
    """By CPL and IOPL, and by the bit map in the TSS; ``cpu.state`` has been saved."""
    state = cpu.state
    words, doubles = state.u64, state.u32
    flags = words[EFLAGS // 8]
    if not words[CR0 // 8] & CR0_PE or (not flags & EFLAGS_VM and state.cpl <= flags >> 12 & 3):
        return True
    at = SEGMENTS["tr"]
    base, limit, attributes = words[at // 8 + 1], doubles[at // 4 + 4], doubles[at // 4 + 5]
    if not attributes & PRESENT or attributes >> 8 & 15 not in TSS_TYPES or limit < TSS_LIMIT:
        return False
    first = int.from_bytes(cpu.vm.bytes_at(state, base + MAP_BASE, 2), "little") + port // 8
    bits = cpu.vm.bytes_at(state, base + first, 2)
    if first + 1 > limit or len(bits) < 2:
        return False
    return not int.from_bytes(bits, "little") >> port % 8 & (1 << size) - 1

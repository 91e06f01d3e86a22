"""Accessed bits in the descriptors of CS and SS, which unicorn sets for the other segment registers only.

What it keeps of a descriptor is what lay in memory: one without the bit has been loaded since it was last looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.errors import MemoryFault
from kvmdbg.soft.state import GDT, SEGMENTS
from kvmdbg.x86.modes import CR0_PE, EFLAGS_VM

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

CODE, STACK = (SEGMENTS[name] // 4 + 5 for name in ("cs", "ss"))
"""Where the attributes of CS and SS are among the state's doublewords."""
ACCESSED, SEGMENT, PRESENT = 1 << 8, 1 << 12, 1 << 15
WITH_BIT = PRESENT | SEGMENT | ACCESSED
WITHOUT_BIT = PRESENT | SEGMENT
ATTRIBUTES = 0x00F0FF00
IN_LDT = 1 << 2


def are_missing(doubles: memoryview) -> bool:
    """Whether ``mark`` has something to do; ``doubles`` are those of the state."""
    return doubles[CODE] & WITH_BIT == WITHOUT_BIT or doubles[STACK] & WITH_BIT == WITHOUT_BIT


def mark(cpu: Running) -> None:
    """Set the bits that are missing, in memory and in what is kept of it."""
    state = cpu.state
    for name, at in (("cs", CODE), ("ss", STACK)):
        if state.u32[at] & WITH_BIT == WITHOUT_BIT:
            if state.paging[0] & CR0_PE and not state.flags & EFLAGS_VM:
                _mark_descriptor(cpu, state.u32[SEGMENTS[name] // 4], state.u32[at])
            state.u32[at] |= ACCESSED
            cpu.context_changed = True


def _mark_descriptor(cpu: Running, selector: int, attributes: int) -> None:
    table = SEGMENTS["ldt"] if selector & IN_LDT else GDT
    linear = cpu.state.u64[table // 8 + 1] + (selector & 0xFFF8) + 4
    physical = cpu.vm.physical_at(cpu.state, linear)
    if physical is None:
        return
    try:
        upper = int.from_bytes(cpu.vm.memory.read(physical, 4), "little")
    except MemoryFault:
        return
    if (upper ^ attributes) & ATTRIBUTES == 0:
        cpu.vm.memory.write_of_cpu(physical + 1, (upper >> 8 & 0xFF | 1).to_bytes(1, "little"))

"""The alignment check (#AC), which unicorn does not make (SDM volume 3A, 6.15, interrupt 17).

Where CR0.AM, EFLAGS.AC and CPL 3 ask for it each instruction is run alone, and looked at before. That a free run has
come to such code is seen as unicorn translates it anew for each of these.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvmdbg.soft.nothing_done import bits_of
from kvmdbg.soft.state import CR0, EFLAGS
from kvmdbg.x86 import operands
from kvmdbg.x86.faults import Fault, memory_fault
from kvmdbg.x86.faults import State as CpuState
from kvmdbg.x86.operands import Access

if TYPE_CHECKING:
    from kvmdbg.soft.running import Running

AC = 17
ASKS = 1 << 18
"""CR0.AM and EFLAGS.AC."""
ALIGNMENTS = {1: 1, 2: 2, 4: 4, 6: 4, 8: 8, 10: 8}
"""By the size of the access (table 6-7)."""
SSE = 16
"""Accesses of this size raise #GP where they have to be aligned."""


def accesses(cpu: Running) -> Iterator[tuple[Access, Fault | None]]:
    """What the instruction at hand accesses, and the exception that each raises by itself."""
    cpu.show()
    state, bits = CpuState(cpu.regs, cpu.get_sregs(), cpu.vm.memory.read), bits_of(cpu.state)
    stack_bits = 64 if bits == 64 else 32 if state.sregs.ss.db else 16
    for access in operands.accesses(state.code(), state.pc, bits, state.register, stack_bits):
        yield access, memory_fault(state, access.linear, access.size, access.segment, write=access.write)


class AlignmentCheck:
    """Of the vCPU ``cpu``."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu
        self._looks = False

    def is_on(self) -> bool:
        """Whether the instruction at hand is to be looked at, and run alone."""
        asks = self._asks()
        if self._looks and not asks:  # unicorn is to translate anew what it comes to so
            self._cpu.vm.code_changed = True
            self._cpu.vm.drop_translations()
        self._looks = asks
        return asks

    def _asks(self) -> bool:
        words = self._cpu.state.u64
        return bool(words[CR0 // 8] & words[EFLAGS // 8] & ASKS) and self._cpu.state.cpl == 3

    def translated(self, rflags: int) -> None:
        """Unicorn has translated code for these flags, within a run."""
        if rflags & ASKS and not self._looks and self._cpu.why is None:
            self._cpu.state.save()
            if self._asks():
                self._cpu.end_with("alignment")

    def refuses(self) -> bool:
        """Whether the instruction at hand makes an access that is not aligned, and none before that faults else."""
        bits = bits_of(self._cpu.state)
        for access, fault in accesses(self._cpu):
            if fault is not None:
                return False
            alignment = ALIGNMENTS.get(access.size, bits // 8)  # each of several registers on the stack
            if access.size != SSE and access.linear % alignment:
                return True
        return False

"""Several steps in a row, for a vCPU that has no faster way to make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmdbg.kvm.stride_terms import StrideTerms
    from kvmdbg.machine.cpu import Cpu


def stride(cpu: Cpu, terms: StrideTerms, code: memoryview | bytes, pc: int, most: int) -> tuple[int, int | None, bytes]:
    """As ``Cpu.stride`` has it, but for writes to ports: a step that exits is the last, wherever rip is there."""
    start, done = pc & -4096, 0
    while True:
        before = cpu.copy_of_regs()
        here = 0 <= pc - start <= terms.last and terms.plain(code, pc - start)
        if done == most or (done and pc in terms.stops) or not here:
            return done, pc, before
        came_to = cpu.step()
        if came_to is None:
            return done, None, before
        pc = came_to
        done += 1
        if terms.record is not None:
            terms.record.append(cpu.copy_of_regs())

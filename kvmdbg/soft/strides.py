"""Steps in a row without the exits between them, which would cost more than the instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.kvm import exits
from kvmdbg.kvm.run_page import REGS, REGS_END, U32_EXIT_REASON
from kvmdbg.machine import kick
from kvmdbg.soft.state import EFLAGS, RIP
from kvmdbg.x86.registers import EFLAGS_RF

if TYPE_CHECKING:
    from kvmdbg.kvm.stride_terms import StrideTerms
    from kvmdbg.soft.running import Running

LOOK = 64
"""So many steps are made between two looks for a kick."""


class Strides:
    """Of one vCPU."""

    def __init__(self, cpu: Running) -> None:
        self._cpu = cpu

    def stride(self, terms: StrideTerms, code: memoryview | bytes, pc: int, most: int) -> tuple[int, int | None, bytes]:
        """As ``Cpu.stride`` has it, but for writes to ports: a step that exits is the last."""
        cpu = self._cpu
        state, raw, words, vm = cpu.state, cpu.raw, cpu.words, cpu.vm
        run, save, regs_to, u64, at_rip = vm.library.quick.uc_emu_start, state.save, state.regs_to, state.u64, RIP // 8
        at_flags = EFLAGS // 8
        uc, begun, found = vm.uc, vm.begun, cpu.places.found
        plain, stops, record = terms.plain, terms.stops, terms.record
        start, done = pc & ~0xFFF, 0
        last = start + terms.last
        quick = alone = False
        while True:
            before = raw[REGS:REGS_END]
            if done == most or (done and pc in stops) or not start <= pc <= last or not plain(code, pc - start):
                return done, pc, before
            if not quick:
                if alone or cpu.unfinished or cpu.waiting or cpu.nmi_comes_in or cpu.alignment.is_on():
                    alone = False
                    came_to = cpu.step()
                    if came_to is None:
                        return done, None, before
                    pc, done = came_to, done + 1
                    if record is not None:
                        record.append(raw[REGS:REGS_END])
                    continue
                cpu.take_changes()
                cpu.places.run_from(pc)
                cpu.fetches.begin()
                quick = True
            if not done % LOOK and kick.pending():
                cpu.u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
                return done, None, before
            rip = u64[at_rip]
            cpu.why, cpu.entered_handler, cpu.resumes = None, False, False
            if u64[at_flags] & EFLAGS_RF:
                cpu.resumes = state.clear_resume_flag()
            run(uc, rip, 0, 0, 1)
            is_done = False
            if found:
                cpu.places.hold()
                is_done = begun.value > 0  # they were found in what comes next
                if not is_done:
                    run(uc, rip, 0, 0, 1)
            save()
            if cpu.why is not None and cpu.fetches.gives_up(rip):
                is_done, alone, quick = begun.value > 0, not begun.value, False
                if alone:
                    state.u64[at_flags] |= EFLAGS_RF * cpu.resumes
                    continue
            cpu.instructions += 1
            is_done = is_done or begun.value > 1 or cpu.places.has_ended_before_one()
            if cpu.why is not None or not is_done or u64[at_rip] == rip:
                cpu.u32[U32_EXIT_REASON] = exits.KVM_EXIT_UNKNOWN  # it is the last step's
                cpu.end_step(rip, before, 0, begun.value > 1)
                if cpu.u32[U32_EXIT_REASON] != exits.KVM_EXIT_DEBUG or u64[at_rip] == rip:
                    return done, None, before
                quick = False
                pc = cpu.debug_pc
            else:
                regs_to(words)
                pc += u64[at_rip] - rip
            done += 1
            if record is not None:
                record.append(raw[REGS:REGS_END])

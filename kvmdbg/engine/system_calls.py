"""Steps over SYSCALL and SYSRET, which save and load EFLAGS in registers, the debugger's trap flag with them.

SYSCALL puts EFLAGS into R11 and clears what IA32_FMASK says, TF in most kernels: a step by TF would run on through the
kernel, and the kernel would find TF in R11. So SYSCALL is done here, as the CPU does it (Intel SDM volume 2B, SYSCALL;
AMD64 APM volume 3). Behind SYSRET a CPU traps where the new TF says so: it gets one in R11, which is taken out again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.engine.probe import EFER_SCE, MSR_FMASK, MSR_LSTAR, MSR_STAR
from kvmdbg.engine.stepped_instructions import SYSCALL, SYSRET
from kvmdbg.kvm import abi
from kvmdbg.x86.modes import EFER_LMA
from kvmdbg.x86.registers import EFLAGS_RF, EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.engine.exit_loop import ExitLoop
    from kvmdbg.engine.guest import Guest

CODE_TYPE, DATA_TYPE, WHOLE = 0xB, 0x3, 0xFFFFFFFF


class SystemCalls:
    """Of the vCPU of ``runner``."""

    def __init__(self, runner: ExitLoop, guest: Guest) -> None:
        self._runner = runner
        self._guest = guest

    @property
    def need_care(self) -> bool:
        profile = self._runner.host.profile
        return not profile.steps_system_calls and profile.by_mode["user"].step

    def enter(self) -> bool:
        """Do the SYSCALL at pc; False where there is none, or it raises something."""
        runner = self._runner
        sregs, regs = runner.sregs, runner.vcpu.regs
        opcode, size = self._opcode()
        if opcode != SYSCALL or runner.mode.bits != 64 or not sregs.efer & EFER_SCE:
            return False
        star, target, mask = (runner.vcpu.get_msr(number) or 0 for number in (MSR_STAR, MSR_LSTAR, MSR_FMASK))
        there = abi.kvm_sregs.from_buffer_copy(sregs)
        selector = star >> 32 & 0xFFFC
        for segment, number, kind in ((there.cs, selector, CODE_TYPE), (there.ss, selector + 8, DATA_TYPE)):
            segment.selector, segment.base, segment.limit, segment.type = number, 0, WHOLE, kind
            segment.s = segment.present = segment.g = 1
            segment.dpl = segment.avl = segment.unusable = 0
        there.cs.l, there.cs.db, there.ss.l, there.ss.db = 1, 0, 0, 1
        flags = int(regs.rflags) & ~EFLAGS_RF
        shared = runner.vcpu.shares_sregs
        runner.set_general("rcx", int(regs.rip) + size)
        runner.set_general("r11", flags)
        runner.set_general("rip", target)
        runner.set_general("rflags", flags & ~mask | 2)
        runner.set_sregs(there)
        if shared:
            runner.vcpu.share_sregs(there)
        return True

    def trap_return(self) -> int | None:
        """Have the SYSRET at pc trap behind itself: R11 as it was, to be put back; None for other instructions."""
        runner = self._runner
        if self._opcode()[0] != SYSRET or not runner.sregs.efer & EFER_LMA:
            return None
        flags = int(runner.vcpu.regs.r11)
        runner.set_general("r11", flags | EFLAGS_TF)
        return flags

    def untrap(self, flags: int) -> None:
        """After the step: R11 as it was."""
        if self._runner.vcpu.regs.r11 == flags | EFLAGS_TF:
            self._runner.set_general("r11", flags)

    def _opcode(self) -> tuple[int | None, int]:
        """Of the instruction at pc behind its 0F, if it is one of two bytes here, and its length with a REX prefix."""
        runner = self._runner
        code = self._guest.space.code_at(runner, runner.pc, 3)
        prefix = int(runner.mode.bits == 64 and code[:1] != b"" and code[0] & 0xF0 == 0x40)
        opcode = code[prefix + 1] if code[prefix : prefix + 1] == b"\x0f" and len(code) > prefix + 1 else None
        return opcode, prefix + 2

"""What steps need before they begin: traps at the entries of handlers, unless nothing can lead there.

An instruction that raises nothing (plain_instructions.py), with nothing that waits to be delivered, needs none. It is
stepped without: they cost more than the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from kvmdbg.engine.single_step import SingleStep
from kvmdbg.engine.step_end import StepEnd
from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.saved_regs import SIZE as REGS_SIZE
from kvmdbg.x86.modes import CR0_PG, PROT32, REAL
from kvmdbg.x86.plain_instructions import LAST, goes_to, raises_nothing, touches_port
from kvmdbg.x86.registers import EFLAGS_RF, EFLAGS_TF

CS = slice(REGS_SIZE + abi.kvm_sregs.cs.offset, REGS_SIZE + abi.kvm_sregs.ds.offset)
CR0 = slice(REGS_SIZE + abi.kvm_sregs.cr0.offset, REGS_SIZE + abi.kvm_sregs.cr2.offset)
"""Behind the general registers at an exit."""


class PreparedSteps(SingleStep):
    """``_trapped``: the entries of handlers are trapped now; ``_known``: as they were set up last they still are."""

    _trapped = _known = False
    _kept: tuple[int, int, int] | None = None
    _can_keep = False
    """The last steps ended as they should."""

    @contextmanager
    def _handlers_trapped(self, at_once: bool = True) -> Iterator[None]:
        """While inside, the entries of the guest's handlers end a step, where it would run through them.

        They are held in debug registers as far as there are any, which the guest cannot read; by traps beyond.
        Unless ``at_once``, from ``_trap_handlers`` on.
        """
        kept, self._can_keep = self.kept, False
        try:
            if not kept:
                self._known = False
                self._pages.clear()
                self._note_debug_registers()
            if at_once:
                self._trap_handlers()
            yield
        finally:
            self._trapped = False
            self.handlers.release()
            if self.runner.host.profile.step_trap_waits:
                self.runner.take_waiting_trap(self.runner.guest.machine.memory.nowhere())

    def _trap_handlers(self) -> None:
        if self._known:
            self.handlers.set_up_again()
        else:
            self.handlers.set_up()
        self._trapped = self._known = True

    def _have_handlers_trapped(self, by_out: bool) -> None:
        """Have them trapped now, as the guest's table of handlers is now."""
        runner = self.runner
        if not self._trapped:
            runner.forget()
            self._trap_handlers()
        if self.handlers.outdated(by_out):
            runner.forget()
            self.handlers.release()
            self.handlers.set_up()
            runner.debug_for_stepping()

    @property
    def kept(self) -> bool:
        """Whether steps that begin now go on where the last ones ended, with nothing changed in between."""
        return self._kept == self._state()

    def _state(self) -> tuple[int, int, int]:
        """Differs when registers, the plan or memory may have been changed by the debugger."""
        runner = self.runner
        return runner.changes, runner.armed, runner.guest.machine.memory.writes

    def rest(self) -> None:
        """At each stop: keep what is known of the guest's code and handlers if it can serve the next step."""
        if self._can_keep:
            self._can_keep = False
            self._kept = self._state()
        else:
            self.let_go()

    def let_go(self) -> None:
        """Of the guest's memory: its translations may change."""
        self._kept = None
        self._pages.clear()
        self.handlers.forget_table()

    # --- instructions that raise nothing ---------------------------------------------------------------

    def _plain_serves(self) -> bool:
        """Whether an instruction of which ``raises_nothing`` is true does so in the vCPU's mode, and reaches no guard.

        ``_note_debug_registers`` has found what the guest's own ones are.
        """
        runner = self.runner
        machine = runner.guest.machine
        if self._has_breakpoints or machine.irqchip or machine.memory.guards or machine.memory.restartable:
            return False
        mode, cs = runner.mode, runner.sregs.cs
        if mode is REAL:
            return cs.limit >= 0xFFFF and not cs.db
        unpaged = mode is PROT32 and not runner.sregs.cr0 & CR0_PG
        return unpaged and not runner.cpl and bool(cs.limit == 0xFFFFFFFF)

    def _step_plainly(self, waits: bool | None) -> bool | None:
        """Step over the instruction at pc if it raises nothing and uses no port: whether that has led to its end.

        None where it has not begun, as it is no such instruction, or KVM has done nothing. ``waits``: whether an event
        waits to be delivered, None: that is not known.
        """
        runner = self.runner
        vcpu, memory, pc = runner.vcpu, runner.guest.machine.memory, runner.pc
        if runner.holds_data or runner.host.profile.step_trap_waits or pc & 0xFFF > LAST:
            return None
        region = memory.find(pc)
        at = pc - region.address if region is not None else 0
        if region is None or not raises_nothing(region.view, at) or touches_port(region.view, at):
            return None
        if vcpu.regs.rflags & EFLAGS_TF or memory.is_covered(pc):
            return None
        if waits or runner.untold_event or (waits is None and vcpu.holds_event()):
            return None
        self._note_debug_registers()
        if not self._plain_serves():
            return None
        to = goes_to(region.view, at, int(vcpu.regs.rip), runner.mode.bits)
        if to is not None and not vcpu.get_events().interrupt.shadow:
            return self._go_to(to)
        runner.debug_for_plain_steps()
        before = vcpu.copy_of_regs()
        done = vcpu.step() is not None
        runner.note_exit()
        self.ended, self.waits = StepEnd.BEHIND, False
        return None if not done and self._nothing_done(before) else done

    def _go_to(self, rip: int) -> bool:
        """Be behind an instruction that does nothing but to go there; without KVM, which takes longer."""
        runner = self.runner
        runner.set_general("rip", rip)
        if runner.vcpu.regs.rflags & EFLAGS_RF:
            runner.set_general("rflags", runner.vcpu.regs.rflags & ~EFLAGS_RF)
        self.ended, self.waits = StepEnd.BEHIND, False
        return True

    def _nothing_done(self, before: bytes) -> bool:
        """Whether a step has ended without having begun."""
        return self.runner.vcpu.reason in (exits.KVM_EXIT_DEBUG, exits.KVM_EXIT_INTR) and self._unmoved(before)

    def _begin_again(self, before: bytes, by_out: bool) -> bool:
        """A step without traps did not end as it should: have them. Whether KVM has done something."""
        begun = not self._nothing_done(before)
        self._have_handlers_trapped(by_out)
        self.runner.debug_for_stepping()
        return begun

"""Exits of traps and debug registers: which points they stand for, and how the guest goes on behind them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.exit_loop import ExitLoop
from kvmdbg.engine.probe import HLT, INT1
from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.saved_regs import SIZE as REGS_SIZE
from kvmdbg.x86.registers import DR6_BS, EFLAGS_IF, EFLAGS_RF, EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.engine.breakpoints import Point


class TrapExits(ExitLoop):
    """Of one vCPU, as its plan is now."""

    lifted: int | None = None
    """Where the trap is not that the vCPU is about to step past, by guest-physical address."""

    def points_at(self, pc: int) -> list[Point]:
        """The armed breakpoints for an instruction at linear ``pc``."""
        plan = self.plan
        found: list[Point] = list(plan.by_linear.get(pc, ()))
        if plan.by_physical:
            physical = self.guest.space.physical_of(self, pc)
            if physical is not None:
                found += plan.by_physical.get(physical, ())
        return found

    @contextmanager
    def without_trap(self, pc: int) -> Iterator[None]:
        """While inside, no trap of ours lies at ``pc``, and an exit there is the guest's own."""
        plan, guest = self.plan, self.guest
        physical = plan.trap_of_linear.get(pc) or guest.space.physical_of(self, pc) if plan.traps else None
        if physical is None or physical not in plan.traps or physical == self.lifted:
            yield
            return
        guest.traps.lift(physical)
        self.lifted = physical
        try:
            yield
        finally:
            self.lifted = None
            guest.holding.plant(physical)

    def trap_at(self) -> int | None:
        plan = self.plan
        if not plan.traps:
            return None
        reason = self.vcpu.reason
        pc = self.pc
        if reason == exits.KVM_EXIT_HLT:
            if plan.trap != HLT:
                return None
            pc -= 1
        known = plan.trap_of_linear.get(pc)
        physical = self.guest.space.physical_of(self, pc) if known is None else known
        return physical if physical in plan.traps and physical != self.lifted else None

    def hit(self, judged: bool = False, trapped: bool = True) -> stops.Stop | None:
        if trapped and self.recent:
            self.recent.pop()  # no exit of the guest's
        self.vcpu.share_sregs(self.sregs)  # another hit comes soon, perhaps
        time = self.guest.machine.board.time
        running = time.runs
        time.stop()
        try:
            return self._hit(judged)
        finally:
            if running:
                time.go_on()

    def _hit(self, judged: bool) -> stops.Stop | None:
        first = judged
        while True:
            waits = None if judged else self.stepper.event_waits()
            stop = None if judged or waits else self.reached(self.pc)
            judged = False
            stop = stop or self.stepper.pass_breakpoint(check=first, waits=waits)
            first = False
            if stop is not None or self.guest.world.stopping:
                self.unreported.breakpoint_fired = self.stepper.not_begun
                return stop
            self.follow_tables()
            if not self.points_at(self.pc) or self._opens_to_interrupts():
                self.debug_for_running()
                return None

    def _opens_to_interrupts(self) -> bool:
        """Whether an interrupt may come before the instruction at pc, and its breakpoint is reached by a run, too.

        Steps keep interrupts out: where breakpoints follow each other, none would ever come.
        """
        flags = self.vcpu.regs.rflags
        if (
            not (self.guest.machine.irqchip or self.arrivals.call_for_it)
            or flags & (EFLAGS_IF | EFLAGS_TF | EFLAGS_RF) != EFLAGS_IF
        ):
            return False
        return not self.vcpu.get_events().interrupt.shadow and not self.stepper.event_waits()

    def follow_tables(self) -> None:
        self.guest.holding.follow_tables(self)

    def reached(self, pc: int) -> stops.Stop | None:
        """The stop that the breakpoints at ``pc`` ask for."""
        points = self.points_at(pc)
        if not points:
            return None
        time = self.guest.machine.board.time
        if time.runs:
            with time.standing_still():
                hits = self.guest.judge.ask(self, points)
        else:
            hits = self.guest.judge.ask(self, points)
        if isinstance(hits, stops.Stop):
            return hits
        return stops.BreakpointStop(vcpu=self.index, pc=pc, hits=hits) if hits else None

    def serve_debug(self) -> stops.Stop | None:
        vcpu = self.vcpu
        if vcpu.debug_exception == 3:
            if self.trap_at() is not None:
                return self.hit()
            return self.deliver(3, 0)  # an int3 of the guest's own
        dr6 = vcpu.debug_dr6
        plan = self.plan
        if dr6 & DR6_BS and self._debug_set == self._for_running and not self._trapped_before():
            self.deliver(1, 0, dr6=DR6_BS)  # the guest has set EFLAGS.TF
        if dr6 & 15 and not self.holds_data and self.points_at(self.pc):
            return self.hit()
        fired = [entry for n, entry in enumerate(plan.debug_registers) if dr6 >> n & 1]
        data = [entry for entry in fired if entry[1] & 3]
        if data:
            stop = self.guards.register_hit(data)
            if stop is not None:
                return stop
        if any(not entry[1] & 3 for entry in fired) or self.points_at(self.pc):
            return self.hit() if self.points_at(self.pc) else None
        if not fired and not dr6 & DR6_BS:
            return self.deliver(1, self.at_int1())  # the guest's own int1, or its own debug registers
        return None

    def _trapped_before(self) -> bool:
        """Whether the trap of the guest's own EFLAGS.TF has come before its instruction, on a CPU that lets it wait:
        KVM had to map a page first. It comes again, behind the instruction.
        """
        if not self.host.profile.step_trap_waits or len(self.recent) < 2:
            return False
        before, now = (state[:REGS_SIZE] for _, state in (self.recent[-2], self.recent[-1]))
        if before != now:
            return False
        return not self.guest.space.may_lead_to_itself(self)

    def at_int1(self) -> bool:
        """Whether a debug exit that nothing of ours caused stands at the int1 that did."""
        return self.host.profile.int1_before and self.guest.space.code_at(self, self.pc, 1) == bytes((INT1,))

    def _on_hlt(self) -> stops.Stop | None:
        if self.trap_at() is not None:
            self.set_general("rip", self.vcpu.regs.rip - 1)
            self._drop_trap_of_hlt()
            return self.hit()
        if self.guest.space.code_at(self, self.pc - 1, 1) != bytes((HLT,)):
            return None  # the late echo of a hlt that was stepped over
        if self.arrivals.halt():
            return None
        self.tell_of_empty_vector(stuck=True)
        return self.stop(stops.HaltedStop)

    def _drop_trap_of_hlt(self) -> None:
        """Where the guest has EFLAGS.TF set: KVM has queued a #DB behind the hlt that is a trap of ours."""
        if not self.vcpu.regs.rflags & EFLAGS_TF:
            return
        self.vcpu.flush_regs()
        events = self.vcpu.get_events()
        if events.exception.nr == 1:
            events.exception.injected = events.exception.pending = 0
            events.flags &= ~abi.KVM_VCPUEVENT_VALID_PAYLOAD
            self.vcpu.set_events(events)

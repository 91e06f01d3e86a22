"""Whether a vCPU gets on, which the watchdog asks now and then."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.retreat import GuardSpoilt
from kvmdbg.engine.step_end import STANDSTILL
from kvmdbg.kvm import abi
from kvmdbg.machine import kick
from kvmdbg.x86.registers import EFLAGS_IF

if TYPE_CHECKING:
    from kvmdbg.engine.exit_loop import ExitLoop
    from kvmdbg.engine.guest import Guest

SEEK, SEEK_IN_VAIN, LONGEST_SEEK = 1000, 4000, 100_000
"""How many steps are made at a time to find where an interrupt may come in, up to how many without one that does, and
in all: there may be many that wait, as a timer's ticks that have not come in."""
LONGEST_PAUSE = 3
"""Kicks between two such searches."""
LVT_LINT0, LVT_KIND, LVT_NMI = 0x350, 0x10700, 0x400
"""In a local APIC: the entry of LINT0, its mask and delivery mode, and an NMI let through (SDM 3A, 12.5.1)."""
LAPIC_IRR = slice(0x200, 0x280)
PIC_IRR, PIC_IMR = 1, 2
"""In struct kvm_pic_state."""
LOOK_PERIOD = 0.001
"""Seconds between two looks at KVM's own chips."""


class Progress:
    """Of the vCPU of ``runner``; all methods run on its thread."""

    def __init__(self, runner: ExitLoop, guest: Guest) -> None:
        self._runner = runner
        self._guest = guest
        self._state_at_kick = b""
        self._same_state = 0
        """How many kicks in a row have found the same registers."""
        self._window_waited = False
        """An interrupt could not come in at the last kick."""
        self._seek_pause = self._seek_interval = 0
        """For how many kicks no way in is looked for, and for how many after the next search in vain."""

    def look_up(self) -> stops.Stop | None:
        """After a kick of the watchdog: the stop where this vCPU does not get on though it is not at rest.

        GuardSpoilt where that comes from a guard made of slots: KVM then tries the access for ever.
        """
        runner, guest = self._runner, self._guest
        if not runner.look_up_due:
            return None
        runner.look_up_due = False
        if runner.vcpu.copy_of_regs() != self._state_at_kick:  # it gets on
            stop = self._seek_window()
            if stop is not None or guest.world.stopping:
                return stop
        runner.tell_of_empty_vector(stuck=False)
        state = runner.vcpu.copy_of_regs()
        self._same_state = self._same_state + 1 if state == self._state_at_kick else 0
        self._state_at_kick = state
        runner.halted_for_good = False
        has_rom = bool(guest.machine.memory.read_only)
        if self._same_state < (1 if has_rom else STANDSTILL):
            return None
        if runner.mp_state() != abi.KVM_MP_STATE_RUNNABLE:
            return self.rest_of_all()
        self._same_state = 0
        pages = runner.guards.guarded_at_pc() | guest.holding.guarded_of_cpu(runner)
        if pages and guest.machine.memory.guards:
            raise GuardSpoilt(pages, done=False)
        if guest.space.may_lead_to_itself(runner):
            return None
        with guest.world.exclusive(runner):
            return runner.stepper.once(tries=1 if has_rom else STANDSTILL)

    def _seek_window(self) -> stops.Stop | None:
        """Step for a while where an interrupt waits since the last kick, and KVM misses how short it may come in.

        Between sti; nop; cli, say: it might wait for ever. Where that is in vain it is tried less and less often.
        """
        runner = self._runner
        pic, arrivals = self._guest.machine.board.pic, runner.arrivals
        waits = pic is not None and pic.pending and runner.vcpu.wants_window
        waited, self._window_waited = self._window_waited, waits
        if not (waits and waited and runner.host.misses_windows):
            return None
        if runner.plan.watched or runner.points_at(runner.pc):
            return None
        self._seek_pause -= 1
        if self._seek_pause >= 0:
            return None
        before = last = arrivals.handed_in
        in_vain = 0
        with runner.guards.unguarded():
            for _ in range(0, LONGEST_SEEK, SEEK):
                stop = runner.stepper.run(SEEK, limit=True)
                if not isinstance(stop, stops.LimitStop):
                    return stop
                in_vain = in_vain + SEEK if arrivals.handed_in == last else 0
                last = arrivals.handed_in
                if pic is None or not pic.pending or in_vain >= SEEK_IN_VAIN:
                    break
        found = self._window_waited = arrivals.handed_in != before
        self._seek_interval = 0 if found else min(2 * self._seek_interval + 1, LONGEST_PAUSE)
        self._seek_pause = self._seek_interval
        return None

    def rest_of_all(self) -> stops.Stop | None:
        """The stop where this vCPU is halted with interrupts off, by KVM's own chips, and no other can wake it."""
        runner = self._runner
        halted = self._guest.machine.irqchip and runner.mp_state() == abi.KVM_MP_STATE_HALTED
        if not halted or runner.vcpu.regs.rflags & EFLAGS_IF:
            return None
        local = bytes(runner.vcpu.get_lapic().regs)
        if int.from_bytes(local[LVT_LINT0 : LVT_LINT0 + 4], "little") & LVT_KIND == LVT_NMI:
            return None  # the timer may come as an NMI there
        runner.halted_for_good = True
        others = (other for other in self._guest.world.runners if other is not runner)
        if any(other.may_run and not other.halted_for_good for other in others):
            return None
        return runner.stop(stops.HaltedStop)

    def wait_for_chips(self) -> None:
        """Wait until KVM's own chips have an interrupt for this halted vCPU, or it is to stop.

        The hlt is over then, but the interrupt has not come in.
        """
        runner, vm = self._runner, self._guest.machine.vm
        while not self._guest.world.stopping and runner.mp_state() == abi.KVM_MP_STATE_HALTED:
            runner.kick()
            with suppress(InterruptedError):
                runner.vcpu.run()  # where KVM brings in what its local APIC's timer has left to be done
            runner.drain()
            local = bytes(runner.vcpu.get_lapic().regs)
            pics = [bytes(vm.get_irqchip(chip).chip) for chip in (0, 1)]
            if any(local[LAPIC_IRR]) or any(pic[PIC_IRR] & ~pic[PIC_IMR] for pic in pics):
                runner.vcpu.set_mp_state(abi.KVM_MP_STATE_RUNNABLE)
                return
            kick.take(LOOK_PERIOD)

"""One step of a vCPU, right on every flavour of KVM.

What hardware does not do by itself is done here: a step that made no progress is
taken again; where EFLAGS.TF is lost when an event is delivered, traps at the
entries of the guest's handlers end the step there; and a TF that such a KVM leaks
into a pushed flags image is cleared.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.handler_traps import HandlerTraps
from kvmdbg.engine.over_iret import OverIret
from kvmdbg.engine.own_traps import OwnTraps
from kvmdbg.engine.pushed_flags import PushedFlags
from kvmdbg.engine.step_end import STANDSTILL, Standstill, StepEnd
from kvmdbg.engine.stepped_instructions import native_size, needs_care
from kvmdbg.engine.system_calls import SystemCalls
from kvmdbg.engine.user_stretches import UserStretches
from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.saved_regs import RFLAGS, RIP
from kvmdbg.machine.snapshot import resume_flag_of_fault
from kvmdbg.x86 import disasm
from kvmdbg.x86.registers import DR6_BS, DR7_ENABLED, EFLAGS_RF, EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.engine.exit_loop import ExitLoop
    from kvmdbg.engine.guest import Guest

NO_PROGRESS_TRIES = 64
JUMP_TRIES = 4
"""A jump to itself looks like a step without progress, and may as well be run as often as this."""


class GuardedAccess(Exception):
    """A guard has refused an access of the instruction at pc, of which nothing is done."""


class SingleStep:
    """Of the vCPU of ``runner``; all methods run on its thread."""

    def __init__(self, runner: ExitLoop, guest: Guest) -> None:
        self.runner = runner
        self.handlers = HandlerTraps(runner, guest)
        self.flags = PushedFlags(runner, guest)
        self.traps = OwnTraps(runner)
        self.calls = SystemCalls(runner, guest)
        self.iret = OverIret(runner, guest)
        self.user = UserStretches(runner, guest, self.handlers)
        self._pages: dict[tuple[int, int], memoryview] = {}
        """By CR3 and linear page number."""
        self._tries = NO_PROGRESS_TRIES
        self._had_bs = False
        """The guest has DR6.BS set itself."""
        self._has_breakpoints = False
        """The guest has debug registers enabled."""
        self.ended = StepEnd.BEHIND
        self.waits = False
        """The last step has brought a #DB that the guest gets before the instruction at pc."""

    @property
    def not_begun(self) -> bool:
        """The last step was ended from outside before it began."""
        return self.ended is StepEnd.NOT_BEGUN

    @property
    def at_handler(self) -> bool:
        """The last step delivered an event: it ended at a handler's entry."""
        return self.ended is StepEnd.AT_HANDLER

    def _single(self, before: bytes, entered: bool = False) -> stops.Stop | None:
        """One step, from registers ``before``; ``entered``: KVM_RUN has just returned."""
        runner = self.runner
        self.ended, self.waits = StepEnd.BEHIND, False
        here = runner.pc
        if entered or not self.handlers.may_lie_within(here):
            return self._guarded(before, entered)
        with self.handlers.none_within(here):
            return self._guarded(before, entered)

    def _single_from_here(self) -> stops.Stop | None:
        return self._single(self.runner.vcpu.copy_of_regs())

    def _guarded(self, before: bytes, entered: bool) -> stops.Stop | None:
        """The same; what a guard refuses is done with the guards lifted."""
        try:
            return self._with_rom(before, entered)
        except GuardedAccess:
            moved = self.runner.vcpu.regs.rip != int.from_bytes(before[RIP : RIP + 8], "little")
            if moved and self.runner.pc in self.handlers.points:
                self._ended_at_handler(before)  # it is delivered, and the handler's first instruction is refused
                return None
            if before[RFLAGS + 1] & 1:  # which KVM has hidden
                self.runner.set_general("rflags", self.runner.vcpu.regs.rflags | EFLAGS_TF)
            return self.runner.guards.through_guards(lambda: self._with_rom(self.runner.vcpu.copy_of_regs(), False))

    def _with_rom(self, before: bytes, entered: bool) -> stops.Stop | None:
        """The same; where KVM does not get on, what it writes to ROM is undone."""
        runner = self.runner
        with suppress(Standstill):
            return self._one(before, entered)
        memory = runner.guest.machine.memory
        if memory.read_only:
            if before[RFLAGS + 1] & 1:  # which KVM has hidden
                runner.set_general("rflags", runner.vcpu.regs.rflags | EFLAGS_TF)
            self._tries = NO_PROGRESS_TRIES
            with runner.guest.world.exclusive(runner), memory.writes_to_rom_undone(), suppress(Standstill):
                return self._one(runner.vcpu.copy_of_regs(), False)
        return runner.does_not_get_on()

    def _one(self, before: bytes, entered: bool) -> stops.Stop | None:
        runner = self.runner
        vcpu = runner.vcpu
        own = self.traps.begin(before)
        image, source, r11 = None, range(0), None
        if not entered:
            if self.event_waits() and runner.step_trap is not None:
                return self._to_handler()
            if self.user.needed and (runner.cpl or self._needs_care(runner.pc)) and self.user.begins:
                stop = self.user.run()
                self._note_debug_registers()
                if stop is None and not runner.guest.world.stopping:
                    self.ended = StepEnd.AT_HANDLER
                return stop
            if self._needs_care(runner.pc):
                if self.calls.need_care:
                    if self.calls.enter():
                        self._give_trap_flag(own and vcpu.regs.rflags & EFLAGS_TF, None)
                        return None
                    r11 = self.calls.trap_return()
                if size := self._hlt_size():
                    stop = self._halt(size)
                    self._give_trap_flag(own, None)
                    return stop
                if size := self._pause_size():
                    self._skip(size)
                    self._give_trap_flag(own, None)
                    return None
                if (behind := self._behind_native()) is not None:
                    if own:
                        runner.set_general("rflags", runner.vcpu.regs.rflags & ~EFLAGS_TF)
                    stop = self._to_handler(behind, before)
                    self._give_trap_flag(own, None, traps=False)
                    return stop
                if runner.step_trap is not None or runner.host.profile.steps_into_handlers:
                    # else TF may have come into a frame by the debugger's steps
                    source = self.flags.source()
                    image = self.flags.in_memory(source)
                if (frame := self.iret.arm()) is not None:
                    try:
                        self._run_to_return()
                    finally:
                        runner.forget()
                        runner.guest.space.write_linear(runner, *frame)
                        delivered = self._at_handler(vcpu.reason, before)
                        runner.debug_for_stepping()
                    if self.not_begun or delivered:
                        return None
                    if vcpu.reason == exits.KVM_EXIT_DEBUG:
                        if int.from_bytes(frame[1], "little") & EFLAGS_RF:
                            runner.set_general("rflags", vcpu.regs.rflags | EFLAGS_RF)
                        self._give_trap_flag(own, image)
                        return None
                    entered = True
        behind_int = self.traps.behind_int()
        if r11 is not None:
            try:
                stop = self._stepped(vcpu.copy_of_regs(), entered)
            finally:
                self.calls.untrap(r11)
            if stop is None and not self.not_begun:
                self._give_trap_flag(r11 & EFLAGS_TF, r11)
            return stop
        moves_debug_register = not entered and self._needs_care(runner.pc) and not source
        if source and image is None:
            with runner.guards.noting_device_reads() as reads:
                stop = self._stepped(before, entered)
            image = self.flags.from_devices(source, reads)
        else:
            stop = self._stepped(before, entered)
        if moves_debug_register:
            self._note_debug_registers()
        if stop is None or not (isinstance(stop, stops.FatalStop) or self._unmoved(before)):
            if behind_int not in (None, runner.pc) and not (self.at_handler or self.not_begun):
                self.flags.correct_frame(before)
                image = 0
            self._give_trap_flag(own, image, traps=not self.traps.forgotten(before))
        elif own and vcpu.regs.rip == int.from_bytes(before[RIP : RIP + 8], "little"):
            runner.set_general("rflags", vcpu.regs.rflags | EFLAGS_TF)
        return stop

    def _run_to_return(self) -> None:
        """KVM_RUN, again after a kick that is not to stop the vCPU."""
        runner = self.runner
        while True:
            try:
                runner.vcpu.run()
            except InterruptedError:
                if not runner.park():
                    continue
                self.ended = StepEnd.NOT_BEGUN
            return

    def _behind_native(self) -> int | None:
        """Where the instruction at pc ends, if it is one that this KVM does not emulate but lets the CPU run: its own
        step would run the next one, too. None for others."""
        if not (runner := self.runner).host.profile.runs_on:
            return None
        size = native_size(runner.guest.space.code_at(runner, runner.pc, disasm.MAX_INSTRUCTION), runner.mode.bits)
        return None if size is None else runner.pc + size

    def _needs_care(self, linear: int) -> bool:
        code = self._code(linear)
        return not code or needs_care(code, linear & 0xFFF)

    def _code(self, linear: int) -> memoryview | bytes:
        """The page of memory that holds the code at ``linear``; kept for the time of a run of steps."""
        key = self.runner.vcpu.shared_cr3, linear >> 12
        found = self._pages.get(key)
        if found is None:
            guest = self.runner.guest
            self.runner.forget()
            physical = guest.space.physical_of(self.runner, linear & ~0xFFF)
            region = None if physical is None else guest.machine.memory.find(physical)
            if physical is None or region is None:
                return b""
            found = region.view[physical - region.address : physical - region.address + 4096]
            self._pages[key] = found
        return found

    def _give_trap_flag(self, own: int, image: int | None, *, traps: bool = True) -> None:
        """After a step: give the guest its own EFLAGS.TF, which KVM hides in its steps, and the #DB that this brings.

        ``own``: whether it was set before the instruction; ``image``: what the instruction has loaded into EFLAGS.
        Not ``traps``: alone the guest gets no #DB from this KVM behind such an instruction.
        """
        if self.at_handler or self.runner.vcpu.entered_handler:
            return
        runner = self.runner
        if own if image is None or self.not_begun else image & EFLAGS_TF:
            runner.set_general("rflags", runner.vcpu.regs.rflags | EFLAGS_TF)
        if own and traps and not self.not_begun:
            runner.deliver(1, 0, dr6=DR6_BS)
            self._had_bs = self.waits = True

    def _stepped(self, before: bytes, entered: bool) -> stops.Stop | None:
        """One step by KVM's own single-stepping."""
        runner, vcpu, space = self.runner, self.runner.vcpu, self.runner.guest.space
        tries = kicks = 0
        while tries < self._tries:
            if not entered:
                try:
                    vcpu.step()
                except OSError as error:
                    runner.forget()
                    if runner.refused_by_guard(error):
                        raise GuardedAccess from None
                    return runner.refused(error)
            entered = False
            runner.note_exit()
            reason = vcpu.reason
            if reason == exits.KVM_EXIT_INTR:
                if runner.park():
                    self.ended = StepEnd.NOT_BEGUN
                    return None
                runner.debug_for_stepping()
                kicks += runner.kicked_by_watchdog()
                if kicks >= min(STANDSTILL, self._tries) and self._unmoved(before):
                    raise Standstill
                continue
            if self._at_handler(reason, before):
                return None
            if reason == exits.KVM_EXIT_DEBUG:
                if vcpu.debug_exception == 3:
                    runner.deliver(3, 0)
                    return self._delivery(before)
                if not vcpu.debug_dr6 & (15 | 1 << 14) and runner.at_int1():
                    runner.deliver(1, 1)
                    return self._delivery(before)
                if self._unmoved(before) and (tries < JUMP_TRIES or not space.may_lead_to_itself(runner)):
                    runner.debug_for_stepping()  # a data register may have fired in the try that a guard has refused
                    tries += 1
                    continue
                if runner.host.profile.leaks_trap_flag or before[RFLAGS + 1] & 1:
                    self.flags.correct_pushf(before)
                if vcpu.debug_dr6 & 15 and runner.holds_data:
                    if runner.pc in self.handlers.points and self.flags.frame(before):
                        self._ended_at_handler(before)  # the watched frame is told before the trap at the entry
                    return runner.serve_debug()
                return None
            if reason == exits.KVM_EXIT_SHUTDOWN and vcpu.copy_of_regs()[:RFLAGS] == before[:RFLAGS]:
                self._die_again(before)
                if self.not_begun:
                    return None
            self.traps.note_write()
            delivered = runner.deliveries
            pending = runner.serve()
            stop = runner.complete()
            pending = pending or stop or runner.spend()
            if pending is not None:
                return pending
            if runner.deliveries != delivered or self.event_waits():
                return self._delivery(before)
            if reason in (exits.KVM_EXIT_IO, exits.KVM_EXIT_MMIO) or not self._unmoved(before):
                return None
            tries += 1
        raise Standstill

    def _die_again(self, before: bytes) -> None:
        """The instruction brings a shutdown: once more without EFLAGS.TF, which has come into frames of no handler."""
        runner = self.runner
        runner.vcpu.write_regs(before)
        runner.debug(runner.to_handlers())
        try:
            self._run_to_return()
        finally:
            runner.forget()
            runner.debug_for_stepping()

    def _unmoved(self, before: bytes) -> bool:
        """Whether registers are as they were ``before``, but for EFLAGS.TF, which KVM hides in its steps."""
        now = self.runner.vcpu.copy_of_regs()
        if now == before:
            return True
        flags = now[RFLAGS + 1] & 0xFE | before[RFLAGS + 1] & 1
        return now[: RFLAGS + 1] + bytes((flags,)) + now[RFLAGS + 2 :] == before

    def _hlt_size(self) -> int:
        """Bytes of the hlt at pc, on a KVM that lets a step pass it and halts later; 0 for all else."""
        if not self.runner.host.profile.halts_late or self.runner.cpl:
            return 0
        info = self.runner.guest.space.classify_at(self.runner, self.runner.pc)
        return info.size if info is not None and info.is_hlt else 0

    def _pause_size(self) -> int:
        """Bytes of the pause at pc, which QEMU's SVM steps together with the next instruction; 0 for all else."""
        info = self.runner.guest.space.classify_at(self.runner, self.runner.pc)
        return info.size if info is not None and info.mnemonic == "pause" else 0

    def _skip(self, size: int) -> None:
        """Be behind an instruction of so many bytes that does nothing but to take its time."""
        runner = self.runner
        vcpu = runner.vcpu
        runner.set_general("rip", vcpu.regs.rip + size)
        runner.set_general("rflags", vcpu.regs.rflags & ~EFLAGS_RF)
        vcpu.flush_regs()
        events = vcpu.get_events()
        if events.interrupt.shadow:  # of the sti before it
            events.interrupt.shadow = 0
            events.flags |= abi.KVM_VCPUEVENT_VALID_SHADOW
            vcpu.set_events(events)

    def _halt(self, size: int) -> stops.Stop | None:
        """Do the hlt at pc: the stop, or the vCPU waits behind it as it would in a free run."""
        runner = self.runner
        self._skip(size)
        if not runner.arrivals.halt():
            return runner.stop(stops.HaltedStop)
        self.ended = StepEnd.HALTED
        return None

    def _wait(self) -> stops.Stop | None:
        """Wait until an interrupt wakes the vCPU, which goes to its handler where interrupts may come into steps."""
        self.ended = StepEnd.BEHIND
        runner = self.runner
        with suppress(GuardedAccess):  # the frame of the interrupt meets a guard: a step delivers it
            return self._to_handler(runner.pc if runner.keeps_interrupts_out else None)
        return None

    def _delivery(self, before: bytes) -> stops.Stop | None:
        """Run until an event that was just handed to the guest is delivered."""
        runner = self.runner
        if runner.step_trap is not None:
            return self._to_handler(framed=before)
        runner.debug_for_stepping()
        return self._stepped(runner.vcpu.copy_of_regs(), False)

    def _to_handler(self, target: int | None = None, framed: bytes = b"") -> stops.Stop | None:
        """Run without a trap flag, which a frame is to have as in ``framed``, to a handler's or this linear address."""
        runner = self.runner
        vcpu = runner.vcpu
        before = vcpu.copy_of_regs()
        request = runner.to_handlers() if target is None else runner.to_address(target)
        kicks = 0
        runner.debug(request)
        try:
            while True:
                try:
                    vcpu.run()
                except InterruptedError:
                    runner.forget()
                    if runner.park():
                        if vcpu.copy_of_regs() == before:
                            self.ended = StepEnd.NOT_BEGUN
                        return None
                    kicks += runner.kicked_by_watchdog()
                    if kicks >= STANDSTILL and vcpu.copy_of_regs() == before:
                        raise Standstill from None
                    runner.debug(request)
                    continue
                except OSError as error:
                    runner.forget()
                    if runner.refused_by_guard(error):
                        raise GuardedAccess from None
                    return runner.refused(error)
                runner.note_exit()
                reason = vcpu.reason
                if self._at_handler(reason, framed or before):
                    return None
                if reason == exits.KVM_EXIT_DEBUG:
                    if runner.pc == target and vcpu.debug_dr6 & 15:
                        return None
                    stop = self._own_trap()
                else:
                    stop = runner.serve() or runner.complete() or runner.spend()
                if stop is not None:
                    return stop
        finally:
            runner.debug_for_stepping()

    def _own_trap(self) -> stops.Stop | None:
        """Hand the guest the #DB or #BP of its own that ended KVM_RUN; the stop of a data debug register."""
        runner = self.runner
        if runner.vcpu.debug_exception == 3:
            return runner.deliver(3, 0)
        dr6 = runner.vcpu.debug_dr6
        stop = runner.serve_debug() if dr6 & 15 and runner.holds_data else None
        if dr6 & DR6_BS:
            runner.deliver(1, 0, dr6=DR6_BS)
            self._had_bs = True
        elif not dr6 & 15:
            runner.deliver(1, runner.at_int1())
        return stop

    def event_waits(self) -> bool:
        """Whether KVM is about to deliver an exception or interrupt, before the instruction at pc.

        Of a #BP and #OF it does not tell; those that it was handed are known.
        An exception that is pending is made an injected one: KVM drops it where registers are written before it runs.
        RF is in the frame of a fault, which KVM sees to where it injects a pending one; one that is injected has been
        under way already.
        """
        if self.runner.untold_event:
            return True
        vcpu = self.runner.vcpu
        events = vcpu.get_events()
        if events.exception.injected or events.exception.pending:
            resume_flag = resume_flag_of_fault(events)
            events.flags &= ~abi.KVM_VCPUEVENT_VALID_PAYLOAD
            events.exception.injected, events.exception.pending = 1, 0
            vcpu.set_events(events)
            if resume_flag & ~vcpu.regs.rflags:
                self.runner.set_general("rflags", vcpu.regs.rflags | resume_flag)
            return True
        nmi = events.nmi.pending and not events.nmi.masked and self.runner.lets_interrupts_in
        return bool(events.interrupt.injected or events.nmi.injected or nmi)

    def _at_handler(self, reason: int, before: bytes) -> bool:
        """Whether the exit is at the entry of a handler that is trapped: the event is delivered, without our TF."""
        if not self.handlers.points or not self.handlers.at_entry(reason):
            return False
        self._ended_at_handler(before)
        return True

    def _ended_at_handler(self, before: bytes) -> None:
        """An event is delivered, the vCPU is at its handler's entry: nothing of the step is left in the frame."""
        self.ended = StepEnd.AT_HANDLER
        self.flags.correct_frame(before)
        self._clear_single_step()
        self.runner.debug_for_stepping()

    def _clear_single_step(self) -> None:
        """Clear DR6.BS that KVM may have set in the guest's DR6 for its own step, if the guest had it clear."""
        vcpu = self.runner.vcpu
        debugregs = vcpu.get_debugregs()
        if debugregs.dr6 & DR6_BS and not self._had_bs:
            debugregs.dr6 &= ~DR6_BS
            vcpu.set_debugregs(debugregs)

    def _note_debug_registers(self) -> None:
        debugregs = self.runner.vcpu.get_debugregs()
        self._had_bs = bool(debugregs.dr6 & DR6_BS)
        self._has_breakpoints = bool(debugregs.dr7 & DR7_ENABLED)

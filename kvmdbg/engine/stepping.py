"""Runs of single steps of one vCPU: past a breakpoint, so many instructions, to a place, until something stops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kvmdbg.engine import stops
from kvmdbg.engine.events import ModeEvent
from kvmdbg.engine.hook_calls import SWALLOW
from kvmdbg.engine.outside import Asking, NotDone
from kvmdbg.engine.prepared_steps import CR0, CS, PreparedSteps
from kvmdbg.engine.probe import HLT
from kvmdbg.engine.retreat import GuardSpoilt
from kvmdbg.engine.single_step import NO_PROGRESS_TRIES
from kvmdbg.engine.step_end import StepEnd
from kvmdbg.engine.stepped_instructions import IRET, instruction_event, needs_care
from kvmdbg.kvm import exits
from kvmdbg.kvm.abi import KVM_MP_STATE_HALTED
from kvmdbg.kvm.saved_regs import RFLAGS, rip_in
from kvmdbg.kvm.stride_terms import StrideTerms
from kvmdbg.masks import LOW32, LOW64
from kvmdbg.record import replace
from kvmdbg.x86.plain_instructions import LAST, raises_nothing
from kvmdbg.x86.registers import EFLAGS_IF

if TYPE_CHECKING:
    from kvmdbg.engine.guest import Guest
    from kvmdbg.engine.runner import Runner


STRIDE = 64
"""How many steps at most are made in one go, before it is looked at what has come from outside."""


def _nowhere(pc: int) -> bool:
    return False


class Stepper(PreparedSteps):
    """Steps the vCPU of ``runner``; all methods run on its thread."""

    runner: Runner

    def __init__(self, runner: Runner, guest: Guest) -> None:
        super().__init__(runner, guest)
        self._open = False
        """Before the last step the guest had EFLAGS.IF set."""
        self._segment: tuple[bytes, bytes] | None = None
        """CS and CR0 when it was last asked whether instructions that raise nothing do so; None: ask again."""
        self._plainly = False
        """What was answered then."""

    def pass_breakpoint(self, check: bool = True, waits: bool | None = None) -> stops.Stop | None:
        """Execute the instruction at pc with its breakpoint disarmed, the other vCPUs parked.

        ``check``: whether this KVM can step here is not known yet. ``waits``: whether an event waits to be delivered,
        None where that is not known.
        """
        runner = self.runner
        if check and not self.user.needed:
            runner.require_step()
        guest = runner.guest
        if len(guest.world.runners) == 1:
            return self._pass_breakpoint(waits)
        with guest.world.exclusive(runner):
            return self._pass_breakpoint(waits)

    def _pass_breakpoint(self, waits: bool | None) -> stops.Stop | None:
        if not self.runner.plan.traps:
            return self._pass_from_here(waits)
        with self.runner.without_trap(self.runner.pc):
            return self._pass_from_here(waits)

    def _pass_from_here(self, waits: bool | None) -> stops.Stop | None:
        before = self.runner.vcpu.copy_of_regs()
        done = self._step_plainly(waits)
        return None if done else self._pass_with_care(before, entered=done is not None)

    def _pass_with_care(self, before: bytes, entered: bool) -> stops.Stop | None:
        """``entered``: KVM_RUN has just returned, from registers ``before``."""
        runner = self.runner
        guest, vcpu = runner.guest, runner.vcpu
        with self._handlers_trapped():
            if entered:
                return self._single(before, entered=True)
            pc = runner.pc
            runner.debug_for_stepping()
            while True:
                before, rip = vcpu.copy_of_regs(), vcpu.regs.rip
                stop = self._single_round_slots(before)
                if (
                    stop is not None
                    or vcpu.regs.rip != rip
                    or guest.world.stopping
                    or not guest.space.is_rep(runner, pc)
                ):
                    return stop

    def _single_round_slots(self, before: bytes) -> stops.Stop | None:
        """A step while slots may guard pages: they are given back where the instruction might meet them."""
        runner = self.runner
        if not runner.guest.machine.memory.guards:
            return self._single(before)
        if not (runner.watching.guarded_at_pc() or runner.guest.holding.guarded_of_cpu(runner)):
            return self._single(before)
        return runner.watching.through_guards(self._single_from_here)

    def once(self, tries: int = NO_PROGRESS_TRIES) -> stops.Stop | None:
        """Execute the instruction at pc, or deliver the event that waits, with the handlers' entries trapped.

        Given up after so many ``tries`` without progress.
        """
        self._tries = tries
        try:
            with self._handlers_trapped():
                self.runner.debug_for_stepping()
                return self._single_from_here()
        finally:
            self._tries = NO_PROGRESS_TRIES

    def among_others(self, span: tuple[int, int]) -> stops.Stop | None:
        """Step once, and on while pc is in ``span``, with traps in place: other vCPUs run, and wait for each step."""
        runner = self.runner
        pending = runner.begin_step()
        if isinstance(pending, stops.StepStop) and pending.pc == runner.pc:
            return pending  # done already, when another vCPU had stopped first
        done = 0
        while True:
            before = runner.vcpu.copy_of_regs()
            try:
                stop = self.pass_breakpoint(check=not done)
            except GuardSpoilt as spoilt:
                return runner.spoilt(spoilt.pages)
            stopping = runner.guest.world.stopping
            if stop is not None or (stopping and runner.vcpu.copy_of_regs() == before):
                return stop
            done += 1
            stop = runner.reached(runner.pc)
            if stop is not None:
                return stop
            if not span[0] <= runner.pc < span[1]:
                return runner.stop(stops.StepStop, steps=done)
            if stopping:
                return None

    def to_branch(self) -> stops.Stop | None:
        """Step up to the next call, return, software interrupt or repeated string instruction."""
        runner = self.runner
        while True:
            stop = self.run(1)
            if not isinstance(stop, stops.StepStop):
                return stop
            info = runner.guest.space.classify_at(runner, runner.pc)
            if info is not None and (info.is_ret or info.is_stepped_over):
                return stop

    def through(self, span: tuple[int, int]) -> stops.Stop | None:
        """Step once, and on while pc is in ``span`` (start, end), the other vCPUs resting."""
        return self.run(1 if span[0] >= span[1] else None, span=span)

    def run(
        self,
        count: int | None,
        record: list[bytes] | None = None,
        span: tuple[int, int] | None = None,
        *,
        limit: bool = False,
    ) -> stops.Stop | None:
        """Step ``count`` instructions (None: until something stops), stopping at breakpoints on the way.

        ``record`` gets a copy of struct kvm_regs after each step (144 bytes); outside of ``span`` (start, end of
        linear addresses) stepping ends. A call of the BIOS is one instruction, for who does not begin in its code.
        Interrupts are kept out as ``step_interrupts`` of the session says, but not where stepping stands for a free
        run; ``limit`` says that ``count`` is the limit of one.
        """
        runner = self.runner
        if limit or count is not None or span is not None or not self.user.needed:
            runner.require_step()
        runner.begin_step()
        runner.vcpu.share_sregs(runner.sregs)
        stepped = count is not None or span is not None
        runner.step_quietly(stepped and not limit and not runner.guest.world.step_interrupts)
        runner.stepping = True
        try:
            kept = self.kept
            with self._handlers_trapped(at_once=False):
                stop = self._run(count, record, span, kept, stepped and not limit)
            if stop is not None:
                runner.note_unseen(stop)
            if limit and isinstance(stop, stops.StepStop):
                return runner.stop(stops.LimitStop, limit=f"{count} instructions")
            return stop
        finally:
            runner.stepping = False
            runner.step_quietly(True)

    def _run(
        self, count: int | None, record: list[bytes] | None, span: tuple[int, int] | None, kept: bool, stepped: bool
    ) -> stops.Stop | None:
        """``kept``: what is known of the last steps still holds; ``stepped``: it does not stand for a free run."""
        runner = self.runner
        plan, guest, vcpu, arrivals = runner.plan, runner.guest, runner.vcpu, runner.arrivals
        world, step, stride, copy_of_regs = guest.world, vcpu.step, vcpu.stride, vcpu.copy_of_regs
        by_linear, by_physical, watchful = plan.by_linear, plan.by_physical, bool(plan.stepped)
        inspected, tracer, coalescing = guest.judge.inspected, guest.listeners.instructions, guest.coalescing
        entries, by_out = self.handlers.points, self.handlers.by_out
        in_bios = self._bios_code() if stepped else _nowhere
        in_turn = guest.machine.irqchip and runner.host.profile.kernel_trap == HLT
        quick = not (watchful or inspected or runner.holds_data or self._looks_for_tables())
        may_be_plain = quick and not in_turn and vcpu.shares_sregs
        terms = self._stride_terms(record) if span is None and tracer is None and not by_physical else None
        if not kept:
            self._segment, self.waits = None, self.event_waits()
        arrivals.begin()
        if vcpu.halted:
            stop = arrivals.wait()
            if stop is not None or world.stopping:
                return stop
        halts = guest.machine.irqchip and not runner.host.profile.halts_late
        quiet = stepped and not world.step_interrupts
        if halts:
            stop = self._note_halt(quiet)
            if stop is not None or world.stopping:
                return stop
        fired = bool(runner.points_at(runner.pc))  # an interrupt would return to a breakpoint that has fired
        self._meet_arrivals(not fired)
        held = fired and bool(guest.machine.irqchip)
        self._open = self._open and not held
        if not in_turn:
            runner.hold_interrupts(held)
        code: memoryview | bytes = b""
        code_page, cr3 = -1, vcpu.shared_cr3
        quickly = quick and not self.user.here
        done, pc, plain = 0, runner.pc, False
        while True:
            before, began = copy_of_regs(), pc
            if pc >> 12 != code_page or vcpu.shared_cr3 != cr3:
                code_page, cr3, code = pc >> 12, vcpu.shared_cr3, self._code(pc)
            at, was_plain, strode = pc & 0xFFF, plain, False
            undisturbed = code and not (self.waits or held or before[RFLAGS + 1] & 1)
            plain = bool(may_be_plain and undisturbed and at <= LAST and raises_nothing(code, at))
            plain = plain and (was_plain or self._may_be_plain_here())
            if not plain:
                self._ready_for_handlers(by_out, in_turn)
            elif not was_plain:
                runner.debug_for_plain_steps()
            if plain or (quickly and undisturbed and pc not in entries and not needs_care(code, at)):
                try:
                    if plain and terms is not None and not in_bios(pc) and not arrivals.ask_to_come_in:
                        most = STRIDE if count is None else min(count - done, STRIDE)
                        made, came_to, last = stride(terms, code, pc, most)
                        if came_to is not None:
                            made, strode = made - 1, True  # the last is counted with all others
                        elif made:
                            pc, before = pc + rip_in(last) - rip_in(before), last
                        done += made
                    else:
                        came_to = step()
                except OSError as error:
                    runner.forget()
                    if not runner.refused_by_guard(error):
                        return runner.refused(error)
                    came_to = None
                if came_to is not None:
                    pc = came_to
                elif vcpu.reason == exits.KVM_EXIT_IO and not by_out:
                    stop = self._serve_port(plain)
                    if stop is not None:
                        return stop
                    pc += vcpu.regs.rip - rip_in(before)  # in and out leave CS as it is
                else:
                    stop = self._finish(before, plain, by_out)
                    if stop is not None:
                        return stop
                    pc, plain = runner.pc, False
            else:
                stop = self._with_care(before, watchful, bool(inspected))
                if stop is not None:
                    return stop
                pc, quickly = runner.pc, quick and not self.user.here
                if IRET in code[at : at + 2]:  # an NMI may have waited for it
                    self.waits = self.waits or self.event_waits()
            if self.ended is StepEnd.HALTED or vcpu.halted:
                stop = arrivals.wait() if arrivals.present else runner.progress.rest_of_all() or self._wait()
                if stop is not None:
                    return stop
                pc = runner.pc
            if halts and (in_turn or (code and HLT in code[at : at + 2])):
                stop = self._note_halt(quiet or held)
                if stop is not None:
                    return stop
            if held and not in_turn:
                runner.hold_interrupts(False)
            held = False
            if coalescing.active:
                coalescing.drain()
            stopping = world.stopping
            if stopping and copy_of_regs() == before:  # before it ran
                runner.forget()
                return None
            if tracer is not None:
                tracer.step(began, before, copy_of_regs())
            if not in_bios(pc):
                done += 1
                if record is not None and not strode:
                    record.append(copy_of_regs())
                if done == count or (span is not None and not span[0] <= pc < span[1]):
                    return self._end(done, pc)
            if arrivals.call_for_it:
                self._meet_arrivals(bool(before[RFLAGS + 1] & EFLAGS_IF >> 8))
            if not self.waits and (pc in by_linear or by_physical):
                runner.forget()
                in_rounds = pc == began and guest.space.is_rep(runner, pc)  # the same instruction goes on
                stop = None if in_rounds else runner.reached(pc)
                if stop is not None:
                    return stop
            if stopping:
                runner.forget()
                return None

    def _looks_for_tables(self) -> bool:
        """Whether it is looked after each step where the tables of the CPU's are."""
        runner = self.runner
        return runner.guest.vectors.active and (runner.plan.stepping or not runner.host.profile.guards_restart)

    def _bios_code(self) -> Callable[[int], bool]:
        """Whether an address is in the code of the BIOS, whose steps are not counted; nothing is for who is in it."""
        bios = self.runner.guest.machine.bios
        return _nowhere if bios is None or bios.has_code_at(self.runner.pc) else bios.has_code_at

    def _stride_terms(self, record: list[bytes] | None) -> StrideTerms:
        runner = self.runner
        return StrideTerms(
            plain=raises_nothing,
            last=LAST,
            stops=runner.plan.by_linear,
            ports=runner.ports,
            out_is_past=runner.host.profile.out_is_past,
            record=record,
        )

    def _may_be_plain_here(self) -> bool:
        """The same as ``_plain_serves``, which is asked again when CS or CR0 are others, or a step was not plain."""
        state = self.runner.vcpu.registers_at_exit()
        segment = state[CS], state[CR0]
        if segment != self._segment:
            self.runner.forget()
            self._segment, self._plainly = segment, self._plain_serves()
        return self._plainly

    def _ready_for_handlers(self, by_out: bool, in_turn: bool) -> None:
        """For a step that may lead to a handler; ``in_turn``: steps with interrupts and without take turns."""
        self._have_handlers_trapped(by_out)
        if in_turn:
            self._take_turns()
        self.runner.debug_for_stepping(again=False)

    def _serve_port(self, plain: bool) -> stops.Stop | None:
        """Answer the access to a port that has ended a step, and end its instruction."""
        runner = self.runner
        port, delivered = runner.ports.get(runner.vcpu.io_key), runner.deliveries
        if plain and port is not None and port.quiet:
            port.count += 1
            stop = runner.complete() or runner.spend()
        else:
            runner.forget()  # hooks look at pc
            stop = runner.serve() or runner.complete() or runner.spend()
        if not plain or runner.deliveries != delivered:
            self.waits = self.event_waits()
        runner.forget()
        return stop

    def _finish(self, before: bytes, plain: bool, by_out: bool) -> stops.Stop | None:
        """Bring to its end a step from registers ``before`` that KVM has not ended as one."""
        runner = self.runner
        runner.forget()
        self._segment = None
        entered = not plain or self._begin_again(before, by_out)
        stop = self._single(before, entered)
        if stop is None:
            runner.follow_tables()
        return stop

    def _with_care(self, before: bytes, watchful: bool, inspected: bool) -> stops.Stop | None:
        """A step whose instruction is looked at before it runs."""
        runner = self.runner
        runner.forget()
        self._segment = None
        stop = self._inspected(before, watchful) if inspected else self._step(before, watchful)
        if stop is None:
            runner.follow_tables()
        return stop

    def _end(self, done: int, pc: int) -> stops.Stop:
        """After the last step: the stop of a breakpoint that is there, else that of so many steps."""
        runner = self.runner
        runner.forget()
        self._can_keep = True
        reached = None if self.waits else runner.reached(pc)
        return reached or stops.StepStop(vcpu=runner.index, pc=pc, steps=done)

    def _meet_arrivals(self, opened: bool) -> None:
        """Do what is due, and hand in an interrupt that may come into the next step.

        ``opened``: the last one began with EFLAGS.IF set, so that the code which interrupts interrupt gets on.
        """
        runner = self.runner
        if not runner.arrivals.present:
            return
        runner.arrivals.look()
        if opened and runner.lets_interrupts_in and not self.waits:
            self.waits = runner.arrivals.hand_in()

    def _note_halt(self, quiet: bool) -> stops.Stop | None:
        """Where KVM itself waits behind a hlt: the interrupt that ends it comes before the next instruction.

        The stop where none can come. KVM does not see one that ``quiet`` steps keep out: it is waited for here.
        """
        runner = self.runner
        if runner.mp_state() != KVM_MP_STATE_HALTED:
            return None
        stop = runner.progress.rest_of_all()
        if stop is None and quiet:
            runner.progress.wait_for_chips()
        else:
            self.waits = self._open = True
        return stop

    def _take_turns(self) -> None:
        """Keep interrupts out of this step where the guest has just opened itself to them.

        On QEMU's SVM a step over sti runs the next instruction as well where an interrupt waits; and where steps are
        slower than interrupts come, the code that they interrupt would never get on.
        """
        opened = bool(self.runner.vcpu.regs.rflags & EFLAGS_IF)
        self.runner.hold_interrupts(not (opened and self._open))
        self._open = opened

    def _step(self, before: bytes, watchful: bool) -> stops.Stop | None:
        return self._watched() if watchful else self._single(before)

    def _inspected(self, before: bytes, watchful: bool) -> stops.Stop | None:
        """A step over an instruction that hooks and catchpoints may want, and a look at the mode behind it."""
        runner = self.runner
        guest = runner.guest
        mode = runner.mode
        code = guest.space.code_at(runner, runner.pc, 15)
        event, length = instruction_event(code, runner.vcpu.regs, mode.bits)
        asked = stop = None
        if event is not None and event.kind in guest.judge.inspected:
            asking = Asking(event, lambda: (self._step(before, watchful), not self.not_begun))
            try:
                value, _, asked = guest.door.serve(runner, asking)
            except NotDone:
                return asking.stop
            stop = asking.stop
            if not asking.ran:
                self._answer(event.kind, value)
                runner.set_general("rip", runner.vcpu.regs.rip + length)
        else:
            stop = self._step(before, watchful)
            if self.not_begun:
                return stop
        if "mode" in guest.judge.inspected and runner.mode != mode:
            asked = guest.judge.offer(runner, ModeEvent(mode.name, runner.mode.name))[1] or asked
        return stop or (None if asked is None else replace(asked, pc=runner.pc))

    def _answer(self, kind: str, answer: Any) -> None:
        """What a hook gave in place of the instruction: RAX, the four registers of CPUID, or EDX:EAX of RDTSC."""
        if answer is SWALLOW:
            return
        if kind == "cpuid":
            values = dict(zip(("rax", "rbx", "rcx", "rdx"), answer, strict=True))
        elif kind == "rdtsc":
            values = {"rax": answer & LOW32, "rdx": answer >> 32 & LOW32}
        else:
            values = {"rax": answer}
        for name, value in values.items():
            self.runner.set_general(name, int(value) & LOW64)

    def _watched(self) -> stops.Stop | None:
        """A step whose memory accesses are known before it runs."""
        watching = self.runner.watching
        return watching.around(self.runner.plan.stepped, self._single_from_here)

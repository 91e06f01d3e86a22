"""The exit loop of a vCPU, and what answers its exits.

A runner waits for jobs; ``go`` is the job that runs the guest until something must
stop. What must not stop (a port access, a false condition, a page under watch
whose other bytes are touched) never leaves the loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EFAULT
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.arming import Plan
from kvmdbg.engine.coalescing import HOT
from kvmdbg.engine.events import ExceptionEvent
from kvmdbg.engine.exit_loop import ExitLoop, Guards
from kvmdbg.engine.outside import Msr, Outcome, PortEntry
from kvmdbg.engine.probe import HLT, INT1, INT3
from kvmdbg.engine.retreat import GuardSpoilt, Retreat
from kvmdbg.engine.stepping import Stepper
from kvmdbg.engine.watching import Watching
from kvmdbg.errors import DeviceFailure
from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.saved_regs import RIP
from kvmdbg.kvm.saved_regs import SIZE as REGS_SIZE
from kvmdbg.machine.bus import GuestEnd
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.memory import Guard
from kvmdbg.record import replace
from kvmdbg.x86.registers import DR6_BS, EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.engine.breakpoints import Point
    from kvmdbg.engine.guest import Guest
    from kvmdbg.engine.post_mortem import LastRun
    from kvmdbg.x86.faults import Fault, State

UD2 = b"\x0f\x0b"

TABLES, TABLES_END = abi.kvm_sregs.tr.offset, abi.kvm_sregs.cr8.offset
"""In struct kvm_sregs: TR, LDT, GDT, IDT and what says where the paging structures are."""
RECENT = 16
STANDSTILL = 3
"""After how many kicks that found the same registers it is asked whether the vCPU gets on."""
RESUMED = -1
"""In ``Runner.recent``: not an exit but the start of a run."""


class Runner(ExitLoop):
    """Runs one vCPU of ``guest``: the exit loop, and what answers exits."""

    def __init__(self, guest: Guest, vcpu: Cpu, *, blocks_interrupts: bool) -> None:
        self.guest = guest
        self.ports: dict[int, PortEntry] = {}
        self.exit_counts: dict[int, int] = {}
        self.mmio_counts: dict[tuple[str, int], int] = {}
        """Accesses to guest-physical addresses without memory, by ("read" or "write", address)."""
        self.recent: deque[tuple[PortEntry | int, bytes]] = deque(maxlen=RECENT)
        """The last exits: the port's entry or the reason, and the registers there (with the special ones where KVM
        loses them at a shutdown)."""
        self._sregs_at_start: abi.kvm_sregs | None = None
        self.limit = 0
        """After how many exits to stop; 0 for no limit."""
        self.must_complete = False
        self._reached_unseen: int | None = None
        """Where this vCPU was stopped from outside, when that is a breakpoint which had not fired yet."""
        self._settled = False
        """Stopped from outside on a breakpoint that has fired and is yet to be passed."""
        self._died_of: tuple[Fault, int] | None = None
        """The exception, and where, that was told as caught though it had ended the guest."""
        self._tables = b""
        """Where the tables that the CPU reads were when they were last looked at."""
        self._state_at_kick = b""
        self._same_state = 0
        self.lifted: int | None = None
        self.stepper = Stepper(self, guest)
        self.watching = Watching(self)
        self.retreat = Retreat(self, guest)
        super().__init__(
            vcpu,
            host=guest.host,
            irqchip=guest.machine.irqchip,
            blocks_interrupts=blocks_interrupts,
            unforeseen=guest.listeners.unforeseen,
        )

    def arm(self, plan: Plan) -> None:
        super().arm(plan)
        self._tables = b""
        self.watching.prepare()

    @property
    def guards(self) -> Guards:
        return self.watching

    def end(self) -> None:
        super().end()
        self.stepper.let_go()

    def start_anew(self) -> None:
        """The vCPU has been given another state: nothing of what was known of the last run holds."""
        self.forget()
        self.must_complete = self._settled = self.tables_touched = False
        self.pending = self._reached_unseen = self._died_of = None
        self.recent.clear()

    def park(self) -> bool:
        """After a kick: wait while another runner has the world to itself; whether to stop."""
        self.drain()
        self.fetch_state()
        return self.guest.world.park(self)

    def complete(self) -> stops.Stop | None:
        """Let KVM finish the instruction whose exit was just served, without running the next."""
        vcpu = self.vcpu
        while self.must_complete:
            self.must_complete = False
            try:
                goes_on = vcpu.complete()
            except OSError as error:
                return self.refused(error)
            finally:
                self.forget()
            if not goes_on or vcpu.reason == exits.KVM_EXIT_DEBUG:
                break  # the instruction ended, and the step with it
            stop = self.serve()
            if stop is not None:
                return stop
        return None

    def refused_by_guard(self, error: OSError) -> bool:
        """Whether KVM_RUN has failed at an access to a guarded page, of whose instruction nothing is done."""
        return error.errno == EFAULT and self.guest.machine.memory.restartable

    def refused(self, error: OSError) -> stops.Stop:
        return self.stop(stops.ErrorStop, message=f"KVM_RUN failed: {error.strerror}")

    # --- the exit loop -----------------------------------------------------------------------------

    def go(self) -> stops.Stop | None:
        """Run the guest until something must stop; None when another vCPU stopped first."""
        self._settled = False
        try:
            stop = self._take_pending() or self._go_round_guards()
            if self.must_complete:
                stop = self.complete() or stop
            self.note_unseen(stop)
            return stop
        finally:
            self.forget()

    def note_unseen(self, stop: stops.Stop | None) -> None:
        """Remember a breakpoint here that has not fired yet, as the vCPU came to a stop for another reason."""
        before_it = stop is None or isinstance(stop, stops.HaltedStop | stops.LimitStop)
        if before_it and not self._settled and (self.plan.by_linear or self.plan.by_physical):
            self._reached_unseen = self.pc if self.points_at(self.pc) else None

    def _take_pending(self) -> stops.Stop | None:
        """The stop that was not told, as another vCPU stopped first; not where the user has made it void since."""
        stop, self.pending = self.pending, None
        if stop is None or stop.pc != self.pc or isinstance(stop, stops.StepStop | stops.LimitStop):
            return None
        if isinstance(stop, stops.BreakpointStop | stops.WatchpointStop | stops.CaughtStop):
            alive = [point for point in stop.hits if point in self.guest.judge.points and point.enabled]
            return replace(stop, hits=tuple(alive)) if alive else None
        return stop

    def begin_step(self) -> stops.Stop | None:
        """A step from here makes void what was to be told here; that, for whoever wants it all the same."""
        pending, self.pending, self._reached_unseen = self.pending, None, None
        return pending

    def _go_round_guards(self) -> stops.Stop | None:
        """Run; where a guard made of slots meets what the CPU does by itself, step from the last exit on."""
        while True:
            try:
                return self._go()
            except GuardSpoilt as met:
                self.forget()
                if met.done:
                    if not self.retreat.back():
                        return self.spoilt(met.pages)
                    self.must_complete = False
                    self._reached_unseen = self.pc  # what was passed before the mark is not here
                self.guest.holding.hold_by_stepping(self, met.pages)

    def spoilt(self, pages: set[int]) -> stops.Stop:
        """The stop where an instruction was not done as the guest would have done it alone."""
        plan = self.plan
        watches = [span.watch.number for page in pages for span in plan.watched.get(page, ())]
        whose = f"watchpoint {watches[0]}" if watches else "a breakpoint"
        where = ", ".join(f"{page:#x}" for page in sorted(pages))
        return self.stop(
            stops.ErrorStop,
            message=f"the CPU itself uses the page at {where}, which {whose} has guarded, and this KVM has lost a part "
            "of the instruction before this place: restart the guest; the page is then watched by stepping",
        )

    def _go(self) -> stops.Stop | None:
        if self.plan.stepping:
            unseen, self._reached_unseen = self._reached_unseen, None
            stop = self.reached(self.pc) if self.guest.world.arriving or unseen == self.pc else None
            if stop is None:
                stop = self.stepper.run(None)
                self._settled = stop is None  # steps ask a breakpoint as soon as they come to it
            return stop
        if self.points_at(self.pc):
            unseen, self._reached_unseen = self._reached_unseen, None
            stop = self.hit(judged=not self.guest.world.arriving and unseen != self.pc, trapped=False)
            if stop is not None or self.guest.world.stopping:
                return stop
            if self.plan.stepping:
                return self.stepper.run(None)
        self.debug_for_running()
        vcpu = self.vcpu
        self._note_start()
        world, drain, retreat = self.guest.world, self.guest.coalescing.drain, self.retreat
        guards = self.guest.machine.memory.guards
        fragile, withdrawn = bool(guards), Guard.WITHDRAWN in guards.values()
        retreat.forget()
        if fragile and len(self.guest.world.runners) == 1:
            retreat.mark()
        ports = {} if withdrawn or retreat.marked else self.ports
        enter = vcpu.free_run(ports, self.recent.append, drain)
        while True:
            try:
                entry = enter()
            except InterruptedError:
                drain()
                self.must_complete = False
                self.forget()
                if withdrawn:
                    self.look_at_tables()
                if self.park():
                    return None
                stop = self.look_up()
                if stop is not None:
                    return stop
                if self.plan.stepping:
                    return self._go_on_stepping()
                self.debug_for_running()
                continue
            except BlockingIOError:  # INIT or SIPI woke it
                self.forget()
                self.follow_tables()
                if self.plan.stepping:
                    return self._go_on_stepping()
                continue
            except OSError as error:
                self.forget()
                if not self.refused_by_guard(error):
                    return self.refused(error)
                stop = self.watching.through_guards(self.stepper.once)
                if stop is not None or world.stopping:
                    return stop
                self.follow_tables()
                if self.plan.stepping:
                    return self._go_on_stepping()
                self.debug_for_running()
                continue
            if withdrawn:
                self.forget()
                self.look_at_tables()
            if entry is None and vcpu.reason == exits.KVM_EXIT_IO:
                entry = self.port_entry()
                entry.count += 1
                self.recent.append((entry, vcpu.registers_at_exit()))
            if entry is not None:
                retreat.spent = True
                if not entry.quiet:
                    self.forget()
                    stop = self.serve_io(entry)
                    if stop is not None:
                        return stop
            else:
                self.arrive()
                retreat.spent |= vcpu.reason != exits.KVM_EXIT_MMIO
                stop = self.serve()
                if stop is not None or world.stopping:
                    return stop
                self.follow_tables()
                if self.plan.stepping:
                    return self._go_on_stepping()
            vcpu.exits_left -= 1
            if not vcpu.exits_left:
                self.forget()
                self.must_complete = True
                self.complete()
                return self.limit_reached()
            if retreat.marked and retreat.spent:
                stop = self.complete()
                if stop is not None:
                    return stop
                retreat.mark()

    def _go_on_stepping(self) -> stops.Stop | None:
        """A plan that was made anew while the guest ran holds something by stepping."""
        return self.complete() or self.stepper.run(None)

    def look_at_tables(self) -> None:
        """GuardSpoilt where the guest has moved tables that the CPU reads to pages that slots withdraw.

        What the CPU reads there it gets wrong, and no exit tells of it: for a gate that it cannot read it delivers #DF.
        """
        tables = bytes(self.sregs)[TABLES:TABLES_END]
        if tables == self._tables:
            return
        pages = self.guest.holding.withdrawn_tables(self)
        if pages:
            raise GuardSpoilt(pages, done=True)
        self._tables = tables

    def look_up(self) -> stops.Stop | None:
        """After a kick: the stop where this vCPU does not get on though it is not at rest.

        GuardSpoilt where that comes from a guard made of slots: KVM then tries the access for ever.
        """
        state = self.vcpu.copy_of_regs()
        self._same_state = self._same_state + 1 if state == self._state_at_kick else 0
        self._state_at_kick = state
        if self._same_state < STANDSTILL or self.mp_state() != abi.KVM_MP_STATE_RUNNABLE:
            return None
        self._same_state = 0
        guest = self.guest
        pages = self.watching.guarded_at_pc() | guest.holding.guarded_of_cpu(self)
        if pages and guest.machine.memory.guards:
            raise GuardSpoilt(pages, done=False)
        info = guest.space.classify_at(self, self.pc)
        if info is not None and info.is_jump:
            return None
        with guest.world.exclusive(self):
            stop = self.stepper.once(tries=STANDSTILL)
        if stop is not None or self.guest.world.stopping or self.vcpu.copy_of_regs() != state:
            return stop
        text, _ = guest.space.instruction_text(self, guest.space.code_at(self, self.pc, 15))
        return self.stop(
            stops.ErrorStop,
            message=f"the guest does not get on: this KVM neither runs nor leaves the instruction {text}",
        )

    def _note_start(self) -> None:
        """Before a free run: what is needed to tell afterwards what killed the guest."""
        vcpu = self.vcpu
        self._sregs_at_start = self.sregs
        if self.host.shutdown_resets:
            vcpu.share_sregs(self.sregs)
        else:
            vcpu.unshare_sregs()
        self.recent.append((RESUMED, vcpu.registers_at_exit()))

    def _last_run(self) -> LastRun:
        """What is known of this run, for the account of its end."""
        from kvmdbg.engine.post_mortem import LastRun

        regs = sregs = None
        if self.recent:
            state = self.recent[-1][1]
            regs = abi.kvm_regs.from_buffer_copy(state)
            if len(state) > REGS_SIZE:
                sregs = abi.kvm_sregs.from_buffer_copy(state, REGS_SIZE)
        return LastRun(tuple(self._last_exits()), regs, sregs, self._sregs_at_start)

    def _last_exits(self) -> Iterator[str]:
        """The last exits in words, oldest first."""
        for what, state in self.recent:
            rip = int.from_bytes(state[RIP : RIP + 8], "little")
            if isinstance(what, PortEntry):
                value = int.from_bytes(state[:8], "little") & what.ones
                data = f", value {value:#x}" if what.writes else ""
                size = f"{what.size} byte{'s' if what.size > 1 else ''}"
                yield f"{what.word} port {what.port:#x}, {size}{data}; rip {rip:#x}"
            elif what != RESUMED:
                yield f"{exits.BY_NUMBER[what].kind if what in exits.BY_NUMBER else what}; rip {rip:#x}"

    def spend(self) -> stops.Stop | None:
        """One exit more while stepping: the stop when it was the last that the limit allows."""
        self.vcpu.exits_left -= 1
        return None if self.vcpu.exits_left else self.limit_reached()

    def limit_reached(self) -> stops.Stop:
        return self.stop(stops.LimitStop, limit=f"{self.limit} exits")

    def serve(self) -> stops.Stop | None:
        """Answer the last exit; the stop that it asks for, if any."""
        reason = self.vcpu.reason
        if reason == exits.KVM_EXIT_IO:
            entry = self.port_entry()
            entry.count += 1
            return self.serve_io(entry)
        self.exit_counts[reason] = self.exit_counts.get(reason, 0) + 1
        if reason != exits.KVM_EXIT_SHUTDOWN:
            self.recent.append((reason, self.vcpu.registers_at_exit()))
        handler = HANDLERS.get(reason)
        guest = self.guest
        if guest.judge.observed and reason not in SERVED_WITH_HOOKS and not self._self_made(reason):
            return self._offered(handler)
        if handler is None:
            return self.stop(stops.ExitStop, exit=self.vcpu.exit())
        return handler(self)

    def _self_made(self, reason: int) -> bool:
        """Whether the exit comes from a trap or a debug register of ours."""
        if reason == exits.KVM_EXIT_DEBUG and self.plan.debug_registers and self.vcpu.debug_dr6 & 15:
            return True
        return reason in TRAP_REASONS and self.trap_at() is not None

    def _offered(self, handler: Callable[[Runner], stops.Stop | None] | None) -> stops.Stop | None:
        """Serve an exit that hooks and catchpoints may look at, before and after."""
        guest = self.guest
        exit = self.vcpu.exit()
        asked = guest.judge.offer(self, exit, "before")[1]
        stop = handler(self) if handler else self.stop(stops.ExitStop, exit=exit)
        guest.listeners.tell_exit(exit)
        asked = guest.judge.offer(self, exit)[1] or asked
        if asked is None or isinstance(stop, stops.FatalStop):
            return stop
        return replace(asked, pc=self.pc)

    # --- ports -------------------------------------------------------------------------------------

    def port_entry(self) -> PortEntry:
        """The entry for the last exit, of a port, made when it is the first of its kind."""
        key = self.vcpu.io_key
        entry = self.ports.get(key)
        if entry is None:
            entry = self.ports[key] = PortEntry(key, self.guest.machine.bus.port(key >> 16))
            self.watch_port(entry)
            if entry.device is None:
                self.forget()
                entry.first = self.guest.space.site_of(self, entry.exit(None))
        return entry

    def watch_port(self, entry: PortEntry) -> None:
        """Find out anew whether anybody looks at this port."""
        entry.observed = self.guest.door.observes_port(entry.port, entry.size)
        entry.quiet = entry.writes and entry.device is None and not entry.observed

    def serve_io(self, entry: PortEntry) -> stops.Stop | None:
        """Answer the last exit, of this port; each item of a string instruction is an access of its own."""
        self.must_complete = True
        data, size, writes, observed = self.vcpu.io_data, entry.size, entry.writes, entry.observed
        count, at = len(data) // size, 0
        if entry.count == HOT and not observed and writes and entry.device is not None:
            self.guest.coalescing.heat(entry.port)
        end: Outcome = None
        asked: stops.Stop | None = None
        try:
            for at in range(0, len(data), size):
                if observed:
                    value = int.from_bytes(data[at : at + size], "little") if writes else None
                    value, outcome, stop = self.guest.door.serve(self, entry, value)
                    if not writes:
                        data[at : at + size] = value.to_bytes(size, "little")
                    end, asked = outcome or end, asked or stop
                elif writes:
                    end = entry.tell(self, int.from_bytes(data[at : at + size], "little")) or end
                else:
                    data[at : at + size] = entry.answer()
        except DeviceFailure as error:
            if not writes:
                data[at:] = b"\xff" * (len(data) - at)
            return self.device_failed(error, exits.IoExit(entry.word, entry.port, size, count, b""))
        if not observed:
            return self.ended(end) if isinstance(end, GuestEnd) else None
        whole = exits.IoExit(entry.word, entry.port, size, count, bytes(data))
        if count > 1 and isinstance(asked, stops.CaughtStop):
            asked = replace(asked, exit=whole)
        return self.after_access(whole, end, asked)

    def after_access(self, exit: exits.Exit, outcome: Outcome, asked: stops.Stop | None) -> stops.Stop | None:
        """Behind an access that has passed the door: the stop that it leads to, its instruction done."""
        self.guest.listeners.tell_exit(exit)
        if self._postponed is not None:
            stop = self.complete()
            self.make_changes()
            if stop is not None:
                return stop
        if isinstance(outcome, GuestEnd):
            return self.ended(outcome)
        return None if asked is None else self.complete() or replace(asked, pc=self.pc)

    def device_failed(self, error: DeviceFailure, exit: exits.IoExit | exits.MmioExit) -> stops.Stop:
        """The stop for a device of somebody's that cannot serve this access, behind its instruction."""
        at = self.guest.space.site_of(self, exit)
        where = f"port {exit.port:#x}" if isinstance(exit, exits.IoExit) else f"the MMIO address {exit.address:#x}"
        verb = "wrote to" if exit.direction in ("out", "write") else "read"
        self.complete()
        message = f"device {error.device} failed when the instruction at {at:#x} {verb} {where}: {error.what}"
        return self.stop(stops.ErrorStop, message=message)

    def ended(self, end: GuestEnd) -> stops.Stop:
        return self.complete() or self.stop(stops.ExitedStop, status=end.status, text=end.text)

    # --- traps and debug events --------------------------------------------------------------------

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
        """The guest-physical address of our trap that the exit in the page stands for, or None."""
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
        """A breakpoint's address was reached (its instruction has not run): stop, or step past it and go on.

        Where the step leads to another breakpoint, that is taken here as well: EFLAGS.RF
        may hide it from a debug register. ``judged``: do not ask the first one again. ``trapped``: it was reached by
        an exit, and not where a run began.
        """
        if trapped and self.recent:
            self.recent.pop()  # no exit of the guest's
        first = judged
        while True:
            stop = None if judged or self.stepper.event_waits() else self.reached(self.pc)
            judged = False
            stop = stop or self.stepper.past(check=first)
            first = False
            if stop is not None or self.guest.world.stopping:
                self._settled = self.stepper.parked
                return stop
            self.follow_tables()
            if not self.points_at(self.pc):
                if trapped:
                    self.recent.append((RESUMED, self.vcpu.registers_at_exit()))
                self.debug_for_running()
                return None

    def follow_tables(self) -> None:
        self.guest.holding.follow_tables(self)

    def reached(self, pc: int) -> stops.Stop | None:
        """The stop that the breakpoints at ``pc`` ask for."""
        hits = self.guest.judge.ask(self, self.points_at(pc))
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
        if dr6 & DR6_BS and self._debug_set == self._for_running:
            self.deliver(1, 0, dr6=DR6_BS)  # the guest has set EFLAGS.TF
        if dr6 & 15 and not plan.holds_data_in_registers and self.points_at(self.pc):
            return self.hit()
        fired = [entry for n, entry in enumerate(plan.debug_registers) if dr6 >> n & 1]
        data = [entry for entry in fired if entry[1] & 3]
        if data:
            stop = self.watching.register_hit(data)
            if stop is not None:
                return stop
        if any(not entry[1] & 3 for entry in fired) or self.points_at(self.pc):
            return self.hit() if self.points_at(self.pc) else None
        if not fired and not dr6 & DR6_BS:
            return self.deliver(1, self.at_int1())  # the guest's own int1, or its own debug registers
        return None

    def at_int1(self) -> bool:
        """Whether a debug exit that nothing of ours caused stands at the int1 that did."""
        return self.host.profile.int1_before and self.guest.space.code_at(self, self.pc, 1) == bytes((INT1,))

    def _on_internal_error(self) -> stops.Stop | None:
        exit = self.vcpu.exit()
        assert isinstance(exit, exits.InternalErrorExit)
        if exit.suberror != exits.SUBERROR_EMULATION:
            return self.stop(stops.ExitStop, exit=exit)
        if self.plan.trap == INT1 and self.trap_at() is not None:
            return self.hit()
        self._require_guards_apart()
        if self.watching.may_be_cause():
            return self.watching.step_without_guards()
        code = self.guest.space.code_at(self, self.pc, 15) or exit.instruction
        own = {INT3: 3, INT1: 1}.get(code[0] if code else 0)
        if own is not None:
            return self.deliver(own, 1)  # a trap of the guest's own, which this KVM does not run
        if code[:2] == UD2:
            return self.deliver(6, 0)
        text, size = self.guest.space.instruction_text(self, code)
        from kvmdbg.engine import post_mortem

        account = post_mortem.of_emulation_failure(self, self.guest, self._last_run())
        return self.stop(stops.EmulationFailureStop, instruction=code[:size], text=text, autopsy=account)

    def _on_hlt(self) -> stops.Stop | None:
        if self.trap_at() is not None:
            self.set_general("rip", self.vcpu.regs.rip - 1)
            self._drop_trap_of_hlt()
            return self.hit()
        if self.guest.space.code_at(self, self.pc - 1, 1) != bytes((HLT,)):
            return None  # the late echo of a hlt that was stepped over
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

    def _on_mmio(self) -> stops.Stop | None:
        self.must_complete = True
        return self.watching.mmio()

    def _on_shutdown(self) -> stops.Stop:
        self._require_guards_apart()
        from kvmdbg.engine import post_mortem

        account, end = post_mortem.of_shutdown(self, self.guest, self._last_run())
        caught = self._undelivered(end) if end is not None and self.guest.vectors.active else None
        return caught or stops.ShutdownStop(vcpu=self.index, pc=self.pc if end is None else end.pc, autopsy=account)

    def _undelivered(self, end: State) -> stops.Stop | None:
        """The stop for the exception that ended the guest, where exceptions are caught: no handler will tell of it.

        The vCPU stands before the instruction then. When it goes on, it dies there, and that is told.
        """
        from kvmdbg.observe import autopsy

        fault = autopsy.undelivered(end)
        if fault is None or self._died_of == (fault, end.pc):
            return None
        self._died_of = fault, end.pc
        event = ExceptionEvent(fault.vector, end.pc, address=fault.address)
        if not self.guest.vectors.wants(event.kind, fault.vector):
            return None
        if bytes(end.regs) != bytes(self.vcpu.regs):  # where a shutdown resets the vCPU
            self.set_sregs(end.sregs)
            self.write_regs(bytes(end.regs))
        return self.guest.judge.offer(self, event)[1]

    def _require_guards_apart(self) -> None:
        """GuardSpoilt where an event may have failed for a guard made of slots, on a stack or a table of the CPU's."""
        pages = self.guest.holding.guarded_of_cpu(self)
        if pages:
            raise GuardSpoilt(pages, done=True)

    def _on_fail_entry(self) -> stops.Stop:
        exit = self.vcpu.exit()
        from kvmdbg.engine import post_mortem

        assert isinstance(exit, exits.FailEntryExit)
        account = post_mortem.of_failed_entry(self, self.guest, self._last_run())
        return self.stop(stops.FailEntryStop, hardware_reason=exit.hardware_reason, autopsy=account)

    def _go_on(self) -> None:
        return None

    def _on_msr(self) -> stops.Stop | None:
        """RDMSR or WRMSR that a hook or catchpoint wants: done as KVM would have, unless a hook answers.

        One that KVM gives us for another reason is refused (#GP).
        """
        self.must_complete = True
        exit = self.vcpu.exit()
        assert isinstance(exit, exits.MsrReadExit | exits.MsrWriteExit)
        access = Msr(exit.index, exit.reason, isinstance(exit, exits.MsrWriteExit))
        value, outcome, asked = self.guest.door.serve(self, access, exit.value)
        refused = outcome is not None if access.writes else value is None
        self.vcpu.answer_msr(None if refused else value)
        self.forget()
        return self.after_access(access.exit(value), outcome, asked)

    def _on_hypercall(self) -> None:
        self.must_complete = True
        self.vcpu.answer_hypercall((1 << 64) - 1000)  # -KVM_ENOSYS


HANDLERS: dict[int, Callable[[Runner], stops.Stop | None]] = {
    exits.KVM_EXIT_DEBUG: Runner.serve_debug,
    exits.KVM_EXIT_HLT: Runner._on_hlt,
    exits.KVM_EXIT_MMIO: Runner._on_mmio,
    exits.KVM_EXIT_INTERNAL_ERROR: Runner._on_internal_error,
    exits.KVM_EXIT_SHUTDOWN: Runner._on_shutdown,
    exits.KVM_EXIT_FAIL_ENTRY: Runner._on_fail_entry,
    exits.KVM_EXIT_INTR: Runner._go_on,
    exits.KVM_EXIT_IRQ_WINDOW_OPEN: Runner._go_on,
    exits.KVM_EXIT_SET_TPR: Runner._go_on,
    exits.KVM_EXIT_IOAPIC_EOI: Runner._go_on,
    exits.KVM_EXIT_X86_RDMSR: Runner._on_msr,
    exits.KVM_EXIT_X86_WRMSR: Runner._on_msr,
    exits.KVM_EXIT_HYPERCALL: Runner._on_hypercall,
}
SERVED_WITH_HOOKS = frozenset((exits.KVM_EXIT_MMIO, exits.KVM_EXIT_X86_RDMSR, exits.KVM_EXIT_X86_WRMSR))
"""Their handlers let hooks see them."""
TRAP_REASONS = frozenset((exits.KVM_EXIT_DEBUG, exits.KVM_EXIT_HLT, exits.KVM_EXIT_INTERNAL_ERROR))

"""The exit loop of a vCPU.

A runner waits for jobs; ``go`` is the job that runs the guest until something must
stop. What must not stop (a port access, a false condition, a page under watch
whose other bytes are touched) never leaves the loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from errno import EFAULT
from typing import TYPE_CHECKING

from kvmdbg.engine import stops
from kvmdbg.engine.answering import Answering
from kvmdbg.engine.arming import Plan
from kvmdbg.engine.arrivals import Arrivals
from kvmdbg.engine.exit_loop import Guards
from kvmdbg.engine.last_exits import LastExits
from kvmdbg.engine.outside import PortEntry
from kvmdbg.engine.progress import Progress
from kvmdbg.engine.retreat import GuardSpoilt, Retreat
from kvmdbg.engine.stepping import Stepper
from kvmdbg.engine.trap_exits import TrapExits
from kvmdbg.engine.watching import Watching
from kvmdbg.kvm import abi, exits
from kvmdbg.machine.cpu import Cpu
from kvmdbg.machine.memory import PAGE
from kvmdbg.record import replace
from kvmdbg.x86.registers import DR6_BS

if TYPE_CHECKING:
    from kvmdbg.engine.guest import Guest

TABLES, TABLES_END = abi.kvm_sregs.tr.offset, abi.kvm_sregs.cr8.offset
"""In struct kvm_sregs: TR, LDT, GDT, IDT and what says where the paging structures are."""
MOST_STRUCTURES = 64
"""Of so many pages with paging structures it is looked at each exit whether they have changed."""
RECENT = 16


class Runner(Answering, TrapExits, LastExits):
    """Runs one vCPU of ``guest``."""

    stepper: Stepper

    def __init__(self, guest: Guest, vcpu: Cpu, *, blocks_interrupts: bool) -> None:
        self.guest = guest
        self.ports: dict[int, PortEntry] = {}
        self.exit_counts: dict[int, int] = {}
        self.mmio_counts = {}
        self.unclaimed_mmio = {}
        self.recent: deque[tuple[PortEntry | int, bytes]] = deque(maxlen=RECENT)
        self.limit = 0
        """After how many exits to stop; 0 for no limit."""
        self._tables = b""
        """Where the tables that the CPU reads were when they were last looked at."""
        self._structures: dict[int, bytes] = {}
        """The paging structures then, by page, unless there were too many."""
        self.told_vectors = set()
        self.stepper = Stepper(self, guest)
        self.watching = Watching(self)
        self.retreat = Retreat(self, guest)
        self.arrivals = Arrivals(self, guest)
        self.progress = Progress(self, guest)
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
        self.call(self.arrivals.end)
        super().end()
        self.stepper.let_go()

    def start_anew(self) -> None:
        """The vCPU has been given another state: nothing of what was known of the last run holds."""
        self.forget()
        self.unreported.forget()
        self.tables_touched = self.untold_event = False
        self._died_of = self.handler_told = None
        self.recent.clear()

    def park(self) -> bool:
        """After a kick: wait while another runner has the world to itself; whether to stop."""
        self.drain()
        self.arrivals.begin()  # it may have been for a deadline
        if len(self.guest.world.runners) > 1:
            self.fetch_state()
        return self.guest.world.park(self)

    def complete(self) -> stops.Stop | None:
        """Let KVM finish the instruction whose exit was just served, without running the next."""
        vcpu = self.vcpu
        while vcpu.unfinished:
            try:
                goes_on = vcpu.complete()
            except OSError as error:
                self.forget()
                return (
                    self.watching.through_guards(self.complete) if self.refused_by_guard(error) else self.refused(error)
                )
            finally:
                self.forget()
            if not goes_on or vcpu.reason == exits.KVM_EXIT_DEBUG:
                break  # the instruction ended, and the step with it
            self.stepper.traps.note_write()
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
        self.unreported.goes_on()
        try:
            stop = self._take_pending() or self._go_round_guards()
            stop = self.complete() or stop
            self.note_unseen(stop)
            return stop
        finally:
            self.forget()

    def note_unseen(self, stop: stops.Stop | None) -> None:
        """Remember a breakpoint here that has not fired yet, as the vCPU came to a stop for another reason."""
        before_it = stop is None or isinstance(stop, stops.HaltedStop | stops.LimitStop)
        if before_it and not self.unreported.breakpoint_fired and (self.plan.by_linear or self.plan.by_physical):
            self.unreported.leave_breakpoint(self.pc if self.points_at(self.pc) else None)

    def _take_pending(self) -> stops.Stop | None:
        """The stop that was not told, as another vCPU stopped first; not where the user has made it void since."""
        stop = self.unreported.take_stop()
        if stop is None or stop.pc != self.pc or isinstance(stop, stops.StepStop | stops.LimitStop):
            return None
        if isinstance(stop, stops.BreakpointStop | stops.WatchpointStop | stops.CaughtStop):
            alive = [point for point in stop.hits if point in self.guest.judge.points and point.enabled]
            return replace(stop, hits=tuple(alive)) if alive else None
        return stop

    def begin_step(self) -> stops.Stop | None:
        """A step from here makes void what was to be told here; that, for whoever wants it all the same."""
        stop = self.unreported.stop
        self.unreported.forget()
        return stop

    def _go_round_guards(self) -> stops.Stop | None:
        """Run; where a guard made of slots meets what the CPU does by itself, step from the last exit on."""
        while True:
            try:
                return self._go()
            except GuardSpoilt as met:
                self.forget()
                if met.done:
                    if not self.retreat.back():
                        self.guest.judge.points.stepped_pages |= met.pages
                        return self.spoilt(met.pages)
                    self.unreported.leave_breakpoint(self.pc)  # what was passed before the mark is not here
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
            fires_first = self.unreported.take_breakpoint(self.pc)
            stop = self.reached(self.pc) if self.guest.world.arriving or fires_first else None
            if stop is None:
                stop = self.stepper.run(None)
                self.unreported.breakpoint_fired = stop is None  # steps ask a breakpoint as soon as they come to it
            return stop
        if self.points_at(self.pc):
            fires_first = self.unreported.take_breakpoint(self.pc)
            stop = self.hit(judged=not (self.guest.world.arriving or fires_first), trapped=False)
            if stop is not None or self.guest.world.stopping:
                return stop
            if self.plan.stepping:
                return self.stepper.run(None)
        self.debug_for_running()
        vcpu = self.vcpu
        self._note_start()
        world, drain, retreat = self.guest.world, self.guest.coalescing.drain, self.retreat
        guards = self.guest.machine.memory.guards
        fragile = bool(guards)
        retreat.forget()
        if fragile:
            vcpu.share_sregs(self.sregs)  # they are looked at at each exit
        if fragile and len(self.guest.world.runners) == 1:
            retreat.mark()
        ports = {} if fragile else self.ports
        arrivals, board = self.arrivals, self.guest.machine.board
        arrivals.begin()
        enter = vcpu.free_run(ports, self.recent.append, drain)
        while True:
            if self.plan.stepping:
                return self._go_on_stepping()
            if board.attention or vcpu.wants_window:  # KVM does not look for it at each exit
                stop = self._meet_arrivals()
                if stop is not None or world.stopping:
                    return stop
            try:
                entry = enter()
            except InterruptedError:
                drain()
                self.forget()
                if fragile:
                    self.look_at_guards()
                arrivals.begin()
                if arrivals.present:
                    self.drain()  # before it is looked who has kicked: the next may have done so meanwhile
                    if not (world.stopping or self.look_up_due):
                        continue  # a deadline: there are no others to wait for
                if self.park():
                    return None
                stop = self.progress.look_up()
                if stop is not None:
                    return stop
                self.debug_for_running()
                continue
            except BlockingIOError:  # INIT or SIPI woke it
                self.forget()
                self.follow_tables()
                continue
            except OSError as error:
                self.forget()
                if not self.refused_by_guard(error):
                    return self.refused(error)
                if self.points_at(self.pc):  # it is refused before its trap could be met
                    stop = self.hit(trapped=False)
                else:
                    with board.time.standing_still():
                        stop = self.watching.through_guards(self.stepper.once)
                if stop is not None or world.stopping:
                    return stop
                self.follow_tables()
                self.debug_for_running()
                continue
            if fragile:
                self.forget()
                self.look_at_guards()
            self.untold_event = False
            if entry is None and vcpu.reason == exits.KVM_EXIT_IRQ_WINDOW_OPEN:
                self.forget()
                arrivals.begin()
                continue
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
                self.note_exit()
                seen = vcpu.reason != exits.KVM_EXIT_MMIO
                stop = self.serve()
                retreat.spent |= seen and not self.untold_event
                if stop is not None or world.stopping:
                    return stop
                self.follow_tables()
            if not self.untold_event:  # a snapshot of a stop here would lack it
                vcpu.exits_left -= 1
                if not vcpu.exits_left:
                    self.forget()
                    self.complete()
                    return self.limit_reached()
            if retreat.marked and retreat.spent:
                stop = self.complete()
                if stop is not None:
                    return stop
                retreat.mark()

    def _meet_arrivals(self) -> stops.Stop | None:
        """Before the vCPU is entered: what has come meanwhile, and where it is halted, what it waits for."""
        retreat = self.retreat
        if retreat.marked:  # nothing of it can be done again
            stop = self.complete()
            if stop is not None:
                return stop
        stop = self.arrivals.meet()
        if retreat.marked:
            retreat.mark()
        return stop

    def _go_on_stepping(self) -> stops.Stop | None:
        """A plan that was made anew while the guest ran holds something by stepping."""
        left = self.vcpu.instructions_left
        return self.complete() or self.stepper.run(left, limit=left is not None)

    def look_at_guards(self) -> None:
        """Hold by stepping what slots guard and the CPU uses by itself now, where no exit tells of it.

        GuardSpoilt where it may have been used since the last mark.
        """
        self.look_at_tables()
        pages = self.guest.holding.guarded_stacks(self)
        if self.retreat.marked and self.vcpu.get_debugregs().dr6 & DR6_BS:
            # the guest steps itself: sgdt and fxsave into a guarded page would be tried for ever, with a #DB each time
            pages |= self.guest.machine.memory.guards.keys()
        if pages and self.retreat.marked:
            raise GuardSpoilt(pages, done=True)
        if pages:
            self.guest.holding.hold_by_stepping(self, pages)

    def look_at_tables(self) -> None:
        """GuardSpoilt where the guest has moved tables of the CPU's to pages that slots guard, and no exit tells of it.

        What the CPU reads from a withdrawn page it gets wrong: for a gate that it cannot read it delivers #DF. The
        accessed bits of paging structures in a read-only page are lost.
        """
        tables = bytes(self.sregs)[TABLES:TABLES_END]
        read = self.guest.machine.memory.read
        if tables == self._tables and all(read(page, PAGE) == was for page, was in self._structures.items()):
            return
        pages = self.guest.holding.spoilt_tables(self)
        if pages:
            raise GuardSpoilt(pages, done=True)
        self._tables = tables
        found = self.guest.holding.paging_pages(self)
        self._structures = {page: read(page, PAGE) for page in found} if len(found) <= MOST_STRUCTURES else {}

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
        """Whether the exit comes from a trap or a debug register of ours, or from a KVM that runs no trap by itself."""
        if reason == exits.KVM_EXIT_DEBUG and self.plan.debug_registers and self.vcpu.debug_dr6 & 15:
            return True
        if reason in TRAP_REASONS and self.trap_at() is not None:
            return True
        return reason == exits.KVM_EXIT_INTERNAL_ERROR and self.own_trap() is not None

    def _offered(self, handler: Callable[[Runner], stops.Stop | None] | None) -> stops.Stop | None:
        """Serve an exit that hooks and catchpoints may look at, before and after.

        Where it is asked to stop with an exception on its way of which KVM does not tell, that is delivered first.
        """
        guest = self.guest
        exit = self.vcpu.exit()
        asked = guest.judge.offer(self, exit, "before")[1]
        stop = handler(self) if handler else self.stop(stops.ExitStop, exit=exit)
        guest.listeners.tell_exit(exit)
        asked = guest.judge.offer(self, exit)[1] or asked
        if asked is None or isinstance(stop, stops.FatalStop):
            return stop
        if self.untold_event:
            stop = self.stepper.once()
            if isinstance(stop, stops.FatalStop):
                return stop
        return replace(asked, pc=self.pc)

    def _on_mmio(self) -> stops.Stop | None:
        return self.watching.mmio()

    def _go_on(self) -> None:
        return None


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

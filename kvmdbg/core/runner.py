"""One thread a vCPU: it issues all of the vCPU's ioctls, runs the exit loop and answers exits.

A runner waits for jobs; ``go`` is the job that runs the guest until something must
stop. What must not stop (a port access, a false condition, a page under watch
whose other bytes are touched) never leaves the loop.
"""

from __future__ import annotations

import fcntl
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ctypes import addressof, memmove, sizeof
from errno import EFAULT
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from kvmdbg.core import stops
from kvmdbg.core.arming import Plan
from kvmdbg.core.coalescing import HOT
from kvmdbg.core.events import ExceptionEvent
from kvmdbg.core.hook_calls import SWALLOW
from kvmdbg.core.probe import HLT, INT1, INT3, KICK_SIGNAL, shutdown_resets
from kvmdbg.core.retreat import GuardSpoilt, Retreat
from kvmdbg.core.stepping import U8_RFLAGS_TF, Stepper
from kvmdbg.core.watching import PUSHED, Watching
from kvmdbg.errors import DeviceFailure, MemoryFault, NotSupportedHere, SessionStateError
from kvmdbg.kvm import Vcpu, abi, exits
from kvmdbg.machine.bus import ask, tell
from kvmdbg.record import replace
from kvmdbg.x86.modes import EFER_LMA, Mode, mode_of
from kvmdbg.x86.registers import DR6_BS, EFLAGS_RF, EFLAGS_TF, NO_FAULTS

if TYPE_CHECKING:
    from kvmdbg.core.breakpoints import Point
    from kvmdbg.core.session import Session
    from kvmdbg.machine.bus import Device, GuestEnd
    from kvmdbg.x86.faults import Fault, State

T = TypeVar("T")
GONE = "this vCPU is gone: the guest has been restarted or closed"
LOW32 = (1 << 32) - 1
UD2 = b"\x0f\x0b"
ONES = b"\xff" * 8

# Where the exit loop finds things in struct kvm_run, as indexes of the page's views.
U8_IMMEDIATE_EXIT = abi.kvm_run.immediate_exit.offset
U32_EXIT_REASON = abi.kvm_run.exit_reason.offset // 4
U32_IO_KEY = abi.kvm_run.exit.offset // 4  # direction, size and port of an IO exit in one word
U32_IO_COUNT = U32_IO_KEY + 1
U64_IO_DATA = abi.kvm_run.exit.offset // 8 + 1
U64_DEBUG_PC = abi.kvm_run.exit.offset // 8 + 1
U64_DEBUG_DR6 = U64_DEBUG_PC + 1
U64_DIRTY_REGS = abi.kvm_run.kvm_dirty_regs.offset // 8
REGS = abi.kvm_run.regs.offset
REGS_END = REGS + Vcpu.REGS_SIZE
SREGS_END = REGS_END + sizeof(abi.kvm_sregs)
RIP = 16 * 8  # in a copy of struct kvm_regs
RECENT = 16
STANDSTILL = 3
"""After how many kicks that found the same registers it is asked whether the vCPU gets on."""
RESUMED = -1
"""In ``Runner.recent``: not an exit but the start of a run."""
U64_RIP = REGS // 8 + 16


@lru_cache(maxsize=64)
def debug_request(control: int, dr7: int, addresses: tuple[int, ...]) -> bytes:
    """struct kvm_guest_debug."""
    request = abi.kvm_guest_debug(control=control)
    request.debugreg[: len(addresses)] = addresses
    request.debugreg[7] = dr7
    return bytes(request)


class PortEntry:
    """One way to touch a port (direction, size, port): how often it was, and who answers."""

    __slots__ = ("first", "count", "device", "direction", "observed", "offset", "port", "quiet", "size")

    def __init__(self, key: int, found: tuple[Device, int] | None) -> None:
        self.direction = key & 0xFF
        self.size = key >> 8 & 0xFF
        self.port = key >> 16
        self.device: Device | None = found[0] if found else None
        self.offset = found[1] if found else 0
        self.count = 0
        self.first: int | None = None
        """Linear address of the instruction that was the first to touch it, of a port that nobody has."""
        self.observed = False
        self.quiet = False
        """A write that nobody takes and nobody looks at."""


class Runner(threading.Thread):
    """The thread of ``vcpu``; ``session`` is told of stops and asked for what concerns all vCPUs."""

    def __init__(self, session: Session, vcpu: Vcpu) -> None:
        super().__init__(name=f"kvmdbg-vcpu{vcpu.index}", daemon=True)
        self.session = session
        self.vcpu = vcpu
        self.index = vcpu.index
        self.in_guest = False
        self.plan = Plan()
        self.ports: dict[int, PortEntry] = {}
        self.exit_counts: dict[int, int] = {}
        self.mmio_counts: dict[tuple[str, int], int] = {}
        """Accesses to guest-physical addresses without memory, by ("read" or "write", address)."""
        self.recent: deque[tuple[PortEntry | int, bytes]] = deque(maxlen=RECENT)
        """The last exits: the port's entry or the reason, and the registers there (with the special ones where KVM
        loses them at a shutdown)."""
        self.sregs_at_start: abi.kvm_sregs | None = None
        self.limit = self.left = 0
        """After how many exits to stop, and how many are left of them; 0 for no limit."""
        self.must_complete = False
        self.pending: stops.Stop | None = None
        """A stop of this vCPU's that was not told, as another had stopped first."""
        self._reached_unseen: int | None = None
        """Where this vCPU was stopped from outside, when that is a breakpoint which had not fired yet."""
        self._settled = False
        """Stopped from outside on a breakpoint that has fired and is yet to be passed."""
        self.called: str | None = None
        """The hook that this thread is in."""
        self.stepping = False
        self.tables_touched = False
        """The guest has written to a table of handlers."""
        self._step_trap: int | None = None
        self._may_run = True
        self._step_entries: tuple[int, ...] = ()
        self._reset_sregs = b""
        self._died_of: tuple[Fault, int] | None = None
        """The exception, and where, that was told as caught though it had ended the guest."""
        self.deliveries = 0
        """How often an event of the guest's own was handed to it."""
        self._state_at_kick = b""
        self._same_state = 0
        self._quiet = True
        self.lifted: int | None = None
        self.stepper = Stepper(self)
        self.watching = Watching(self)
        self.retreat = Retreat(self)
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        """Lets no job in behind the last one: whoever waits for it would wait for ever."""
        self._over = False
        self._sregs: abi.kvm_sregs | None = None
        self._mode: Mode | None = None
        self._pc: int | None = None
        self.changes = 0
        """Grows whenever registers may have changed; for whoever keeps values of theirs."""
        self._state_end = REGS_END
        self._debug_set = b""
        self._for_running = self._for_stepping = b""
        self.start()
        self.call(self._set_up)

    # --- the thread --------------------------------------------------------------------------------

    def run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) | {KICK_SIGNAL})
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except Exception as error:  # the vCPU needs its thread
                self.session.listeners.unforeseen(error)

    def _set_up(self) -> None:
        self.vcpu.set_signal_mask(KICK_SIGNAL)
        self._reset_sregs = bytes(self.vcpu.get_sregs())
        regs = self.vcpu.get_regs()
        memmove(addressof(self.vcpu.regs), bytes(regs), Vcpu.REGS_SIZE)

    def call(self, function: Callable[[], T]) -> T:
        """Run ``function`` on this thread and return what it returns (at once when already on it)."""
        if threading.current_thread() is self:
            return function()
        self.require_stopped()
        answer: queue.SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = queue.SimpleQueue()

        def job() -> None:
            try:
                answer.put((function(), None))
            except BaseException as error:  # handed to the caller
                answer.put((None, error))

        self.post(job)
        value, error = answer.get()
        if error is not None:
            raise error
        return value  # type: ignore[return-value]

    def post(self, function: Callable[[], None]) -> None:
        """Run ``function`` on this thread some time soon. SessionStateError when the thread is ending."""
        with self._gate:
            if self._over:
                raise SessionStateError(GONE)
            self._jobs.put(function)

    def kick(self) -> None:
        """End KVM_RUN with EINTR, now or at its next start."""
        if self.ident is not None:
            signal.pthread_kill(self.ident, KICK_SIGNAL)

    def end(self) -> None:
        """Finish the thread and close the vCPU."""
        with self._gate:
            self._over = True
            self._jobs.put(None)
        if threading.current_thread() is not self:
            self.join(timeout=5)
        self.vcpu.close()

    # --- registers ---------------------------------------------------------------------------------

    def require_stopped(self) -> None:
        if self._over:
            raise SessionStateError(GONE)
        if self.in_guest and threading.current_thread() is not self:
            raise SessionStateError("the guest is running: interrupt it first")

    @property
    def sregs(self) -> abi.kvm_sregs:
        """The special registers, fetched once a stop."""
        if self._sregs is None:
            self.require_stopped()
            shared = self.vcpu.shared_sregs
            self._sregs = self.call(self.vcpu.get_sregs) if shared is None else shared
        return self._sregs

    def set_sregs(self, sregs: abi.kvm_sregs) -> None:
        self.require_stopped()
        self.vcpu.unshare_sregs()
        self.call(lambda: self.vcpu.set_sregs(sregs))
        self.forget()

    def set_general(self, name: str, value: int) -> None:
        """Write one of kvm_regs; KVM takes it at the next entry."""
        self._mode = self._pc = None
        self.changes += 1
        setattr(self.vcpu.regs, name, value)
        self.vcpu.u64[U64_DIRTY_REGS] |= abi.KVM_SYNC_X86_REGS

    def forget(self) -> None:
        """Drop what was cached of the vCPU's state."""
        self.changes += 1
        self._sregs = self._mode = self._pc = None

    @property
    def mode(self) -> Mode:
        if self._mode is None:
            sregs = self.sregs
            self._mode = mode_of(sregs.cr0, sregs.efer, self.vcpu.regs.rflags, sregs.cs.l, sregs.cs.db)
        return self._mode

    @property
    def cs_base(self) -> int:
        """The base that turns rip into a linear address (0 in 64-bit mode)."""
        sregs = self.sregs
        return 0 if self.mode.bits == 64 else int(sregs.cs.base)

    @property
    def pc(self) -> int:
        """Linear address of the next instruction."""
        if self._pc is None:
            rip = int(self.vcpu.regs.rip)
            self._pc = rip if self.mode.bits == 64 else self.cs_base + rip & LOW32
        return self._pc

    def arrive(self) -> None:
        """After an exit: forget what was cached, but take pc from a debug exit, which has it linear."""
        self._sregs = self._mode = self._pc = None
        if self.vcpu.u32[U32_EXIT_REASON] == exits.KVM_EXIT_DEBUG:
            self._pc = self.vcpu.u64[U64_DEBUG_PC]

    @property
    def cpl(self) -> int:
        return 0 if self.mode.name == "real" else int(self.sregs.ss.dpl)

    def start_anew(self) -> None:
        """The vCPU has been given another state: nothing of what was known of the last run holds."""
        self.forget()
        self.must_complete = self._settled = self.tables_touched = False
        self.pending = self._reached_unseen = self._died_of = None
        self.recent.clear()

    # --- entering and leaving ----------------------------------------------------------------------

    def flush(self) -> None:
        """Give KVM registers that were written in the shared page, before an ioctl that looks at them."""
        if self.vcpu.u64[U64_DIRTY_REGS]:
            self.vcpu.set_regs(self.vcpu.regs)
            self.vcpu.u64[U64_DIRTY_REGS] = 0

    def arm(self, plan: Plan) -> None:
        """Take the plan of a resume; its debug registers are set when the vCPU is entered."""
        self.plan = plan
        self.watching.prepare()
        hardware = abi.KVM_GUESTDBG_USE_HW_BP if plan.debug_registers else 0
        software = abi.KVM_GUESTDBG_USE_SW_BP if plan.traps and plan.trap == INT3 else 0
        enable = abi.KVM_GUESTDBG_ENABLE if hardware or software else 0
        self._for_running = self._request(enable | hardware | software, plan.dr7)
        self._arm_steps()

    def _arm_steps(self) -> None:
        """What steps need is another now; it is made when the next one begins."""
        self._for_stepping = b""

    def _step_request(self) -> bytes:
        control = abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP | self._to_handlers
        if self.plan.holds_data_in_registers:
            control |= abi.KVM_GUESTDBG_USE_HW_BP
        if self.keeps_interrupts_out:
            control |= abi.KVM_GUESTDBG_BLOCKIRQ
        return self._request(control, self.plan.dr7_data_only(), self._step_entries)

    @property
    def _to_handlers(self) -> int:
        """What of KVM_GUESTDBG_* the traps at the entries of handlers need."""
        software = abi.KVM_GUESTDBG_USE_SW_BP if self._step_trap == INT3 else 0
        return software | (abi.KVM_GUESTDBG_USE_HW_BP if self._step_entries else 0)

    def to_handlers(self) -> bytes:
        """struct kvm_guest_debug to run to the entry of a handler: without single-stepping."""
        control = self._to_handlers
        if self.plan.holds_data_in_registers:
            control |= abi.KVM_GUESTDBG_USE_HW_BP
        enable = abi.KVM_GUESTDBG_ENABLE if control else 0
        return self._request(enable | control, self.plan.dr7_data_only(), self._step_entries)

    def to_address(self, linear: int) -> bytes:
        """The same to a breakpoint at a linear address as well; interrupts wait, where this KVM can keep them out."""
        control = abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_USE_HW_BP | self._to_handlers
        if self.session.blocks_interrupts:
            control |= abi.KVM_GUESTDBG_BLOCKIRQ
        return self._request(control, self.plan.dr7_data_only(), (linear, *self._step_entries))

    @property
    def keeps_interrupts_out(self) -> bool:
        return self._quiet and self.session.blocks_interrupts

    @property
    def free_debug_registers(self) -> int:
        """How many debug registers no data watchpoint of the plan needs."""
        return 4 - sum(bool(bits & 3) for _, bits, _ in self.plan.debug_registers)

    def _request(self, control: int, dr7: int, entries: tuple[int, ...] = ()) -> bytes:
        """struct kvm_guest_debug with the plan's addresses in DR0 to DR3; ``entries`` in place of those not in DR7."""
        if not control & abi.KVM_GUESTDBG_USE_HW_BP:
            return debug_request(control, 0, ())
        addresses = [address for address, _, _ in self.plan.debug_registers]
        addresses += [0] * (4 - len(addresses))
        left = list(entries)
        for number in range(4):
            if left and not dr7 >> 2 * number & 3:
                addresses[number] = left.pop(0)
                dr7 |= 2 << 2 * number
        return debug_request(control, dr7, tuple(addresses))

    def step_quietly(self, quiet: bool) -> None:
        """Whether steps let no interrupt in, where this KVM can keep them out."""
        self._quiet = quiet
        self._arm_steps()

    @property
    def step_trap(self) -> int | None:
        """The byte planted at handlers' entries during steps, if any."""
        return self._step_trap

    @step_trap.setter
    def step_trap(self, trap: int | None) -> None:
        self._step_trap = trap
        self._arm_steps()

    @property
    def step_entries(self) -> tuple[int, ...]:
        """Handlers' entries that execute debug registers hold during steps."""
        return self._step_entries

    @step_entries.setter
    def step_entries(self, entries: tuple[int, ...]) -> None:
        self._step_entries = entries
        self._arm_steps()

    def debug(self, request: bytes) -> None:
        """KVM_SET_GUEST_DEBUG, after registers that were written: it looks at rip."""
        if self.vcpu.u64[U64_DIRTY_REGS]:
            self.flush()
        fcntl.ioctl(self.vcpu.fd, abi.KVM_SET_GUEST_DEBUG, request)
        self._debug_set = request
        if self.vcpu.page[U8_RFLAGS_TF] & 1:  # the guest's own, which KVM drops when it ends its own steps
            self.vcpu.u64[U64_DIRTY_REGS] |= abi.KVM_SYNC_X86_REGS

    def debug_for_running(self) -> None:
        if self._debug_set != self._for_running:
            self.debug(self._for_running)

    def debug_for_stepping(self, again: bool = True) -> None:
        """Unless ``again``, not when that is what is set."""
        self._for_stepping = self._for_stepping or self._step_request()
        if again or self._debug_set != self._for_stepping:
            self.debug(self._for_stepping)

    @staticmethod
    def drain() -> None:
        """Take back kicks that are pending on this thread."""
        while signal.sigtimedwait([KICK_SIGNAL], 0) is not None:
            pass

    def park(self) -> bool:
        """After a kick: wait while another runner has the world to itself; whether to stop."""
        self.drain()
        self.be_known()
        return self.session.world.park(self)

    def be_known(self) -> None:
        """Before another runner has the world to itself: fetch what it may ask of this vCPU meanwhile."""
        if len(self.session.runners) > 1:
            _ = self.sregs, self.may_run

    @property
    def may_run(self) -> bool:
        """Whether this vCPU runs code or may begin to at any time. One that waits for INIT does not; KVM tells of the
        INIT (EAGAIN), but not always of the SIPI behind it."""
        if not self.session.machine.irqchip:
            return True
        if not self.in_guest or threading.current_thread() is self:
            self._may_run = self.call(self.vcpu.get_mp_state) != abi.KVM_MP_STATE_UNINITIALIZED
        return self._may_run

    @property
    def stack_pointer(self) -> int:
        """Linear address of the top of the stack."""
        regs, mode = self.vcpu.regs, self.mode
        if mode.bits == 64:
            return int(regs.rsp)
        mask = LOW32 if self.sregs.ss.db else 0xFFFF
        return int(self.sregs.ss.base) + (int(regs.rsp) & mask) & LOW32

    def stacks(self) -> Iterator[tuple[int, int]]:
        """Linear ranges (first address, limit) that the CPU may push to next: below SP, and the stacks of the TSS."""
        tops = [self.stack_pointer]
        tr = self.sregs.tr
        if tr.selector and not self.mode.segmented:
            slots = [(4 + 8 * n, 4) for n in range(3)]
            if self.sregs.efer & EFER_LMA:
                slots = [(4 + 8 * n, 8) for n in range(3)] + [(36 + 8 * n, 8) for n in range(7)]
            with suppress(MemoryFault):
                tss = self.session.read_linear(self, tr.base, min(tr.limit + 1, 104))
                tops += filter(None, (int.from_bytes(tss[at : at + size], "little") for at, size in slots))
        for top in tops:
            end = top or 1 << 16  # a stack of 16 bits wraps
            yield max(end - PUSHED, 0), min(PUSHED, end) - 1

    def written_tables(self) -> list[tuple[int, int]]:
        """Linear ranges (base, limit) of the tables in which the CPU sets accessed and busy bits, and of the TSS."""
        if self.mode.segmented:
            return []
        sregs = self.sregs
        loaded = [one for one in (sregs.tr, sregs.ldt) if one.selector]
        return [(sregs.gdt.base, sregs.gdt.limit), *((one.base, min(one.limit, 0xFFFF)) for one in loaded)]

    def complete(self) -> stops.Stop | None:
        """Let KVM finish the instruction whose exit was just served, without running the next."""
        vcpu = self.vcpu
        while self.must_complete:
            self.must_complete = False
            vcpu.u8[U8_IMMEDIATE_EXIT] = 1
            try:
                vcpu.run()
            except InterruptedError:
                break
            except OSError as error:
                return self.refused(error)
            finally:
                vcpu.u8[U8_IMMEDIATE_EXIT] = 0
                self.forget()
            if vcpu.u32[U32_EXIT_REASON] == exits.KVM_EXIT_DEBUG:
                break  # the instruction ended, and the step with it
            stop = self.serve()
            if stop is not None:
                return stop
        return None

    def refused_by_guard(self, error: OSError) -> bool:
        """Whether KVM_RUN has failed at an access to a guarded page, of whose instruction nothing is done."""
        return error.errno == EFAULT and self.session.machine.memory.restartable

    def take_waiting_trap(self) -> None:
        """After steps: take the trap of the last one where it may still wait in the CPU, for the guest would get it.

        It is met by a step that can execute nothing: with the state after a reset there is no memory at pc. An event of
        the guest's that waits, and a hlt, are put aside meanwhile: the one would be delivered, the other has no end.
        """
        if not self.session.profile.step_trap_waits:
            return
        vcpu = self.vcpu
        activity = vcpu.get_mp_state()
        if activity not in (abi.KVM_MP_STATE_RUNNABLE, abi.KVM_MP_STATE_HALTED):
            return
        self.flush()
        regs = abi.kvm_regs.from_buffer_copy(vcpu.regs)
        sregs, events = vcpu.get_sregs(), vcpu.get_events()
        nowhere = abi.kvm_sregs.from_buffer_copy(self._reset_sregs)
        nowhere.apic_base, nowhere.cr8 = sregs.apic_base, sregs.cr8
        vcpu.unshare_sregs()
        kicked = signal.sigtimedwait([KICK_SIGNAL], 0) is not None
        vcpu.set_sregs(nowhere)
        vcpu.set_regs(abi.kvm_regs(rip=0xFFF0, rflags=2))
        vcpu.set_events(abi.kvm_vcpu_events(flags=abi.KVM_VCPUEVENT_VALID_SHADOW))
        if activity == abi.KVM_MP_STATE_HALTED:
            vcpu.set_mp_state(abi.KVM_MP_STATE_RUNNABLE)
        vcpu.set_guest_debug(abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP | abi.KVM_GUESTDBG_BLOCKIRQ)
        while True:
            try:
                vcpu.run()
            except InterruptedError:
                kicked = True
                self.drain()
                continue
            except OSError:
                pass
            break
        self.debug(self._debug_set)
        vcpu.set_sregs(sregs)
        vcpu.set_regs(regs)
        vcpu.set_events(events)
        if activity == abi.KVM_MP_STATE_HALTED:
            vcpu.set_mp_state(activity)
        memmove(addressof(vcpu.regs), bytes(regs), Vcpu.REGS_SIZE)
        self.forget()
        if kicked:
            self.kick()

    def refused(self, error: OSError) -> stops.Stop:
        return self.stop(stops.ErrorStop, message=f"KVM_RUN failed: {error.strerror}")

    def stop(self, kind: type[stops.Stop], **fields: Any) -> stops.Stop:
        """A stop of this vCPU, here."""
        return kind(vcpu=self.index, pc=self.pc, **fields)

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
            alive = [point for point in stop.hits if point in self.session.breakpoints and point.enabled]
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
                    self._reached_unseen = self.pc  # what was passed before the mark is not here
                self.session.holding.hold_by_stepping(self, met.pages)

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
            stop = self.reached(self.pc) if self.session.arriving or unseen == self.pc else None
            if stop is None:
                stop = self.stepper.run(None)
                self._settled = stop is None  # steps ask a breakpoint as soon as they come to it
            return stop
        if self.points_at(self.pc):
            unseen, self._reached_unseen = self._reached_unseen, None
            stop = self.hit(judged=not self.session.arriving and unseen != self.pc, trapped=False)
            if stop is not None or self.session.stopping:
                return stop
            if self.plan.stepping:
                return self.stepper.run(None)
        self.debug_for_running()
        vcpu = self.vcpu
        self._note_start()
        fd, u32, ioctl = vcpu.fd, vcpu.u32, fcntl.ioctl
        run, io = abi.KVM_RUN, exits.KVM_EXIT_IO
        ports, limit, world = self.ports, self.left, self.session.world
        coalescing = self.session.coalescing
        drain, ring, ring_end = coalescing.drain, coalescing.first, coalescing.first + 1
        raw, note, state = vcpu.raw, self.recent.append, slice(REGS, self._state_end)
        retreat = self.retreat
        fragile = bool(self.session.machine.memory.guards)
        retreat.forget()
        if fragile and len(self.session.runners) == 1:
            retreat.mark()
        while True:
            try:
                ioctl(fd, run, 0)
            except InterruptedError:
                drain()
                self.must_complete = False
                self.forget()
                if self.park():
                    return None
                stop = self.look_up()
                if stop is not None:
                    return stop
                if self.plan.stepping:
                    return self._go_on_stepping(limit)
                self.debug_for_running()
                continue
            except BlockingIOError:  # INIT or SIPI woke it
                self.forget()
                self.follow_tables()
                if self.plan.stepping:
                    return self._go_on_stepping(limit)
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
                    return self._go_on_stepping(limit)
                self.debug_for_running()
                continue
            if u32[ring] != u32[ring_end]:
                drain()
            if u32[U32_EXIT_REASON] == io:
                entry = ports.get(u32[U32_IO_KEY]) or self.port_entry()
                entry.count += 1
                note((entry, raw[state]))
                retreat.spent = True
                if not entry.quiet:
                    self.forget()
                    stop = self.serve_io(entry)
                    if stop is not None:
                        return stop
            else:
                self.arrive()
                retreat.spent |= u32[U32_EXIT_REASON] != exits.KVM_EXIT_MMIO
                stop = self.serve()
                if stop is not None or world.stopping:
                    return stop
                self.follow_tables()
                if self.plan.stepping:
                    return self._go_on_stepping(limit)
            limit -= 1
            if not limit:
                self.forget()
                self.must_complete = True
                self.complete()
                return self.limit_reached()
            if retreat.marked and retreat.spent:
                self.left = limit
                stop = self.complete()
                if stop is not None:
                    return stop
                retreat.mark()

    def _go_on_stepping(self, left: int) -> stops.Stop | None:
        """A plan that was made anew while the guest ran holds something by stepping."""
        self.left = left
        return self.complete() or self.stepper.run(None)

    def look_up(self) -> stops.Stop | None:
        """After a kick: the stop where this vCPU does not get on though it is not at rest.

        GuardSpoilt where that comes from a guard made of slots: KVM then tries the access for ever.
        """
        state = self.vcpu.raw[REGS:REGS_END]
        self._same_state = self._same_state + 1 if state == self._state_at_kick else 0
        self._state_at_kick = state
        if self._same_state < STANDSTILL or self.vcpu.get_mp_state() != abi.KVM_MP_STATE_RUNNABLE:
            return None
        self._same_state = 0
        session = self.session
        pages = self.watching.guarded_at_pc() | session.holding.guarded_of_cpu(self)
        if pages and session.machine.memory.guards:
            raise GuardSpoilt(pages, done=False)
        info = session.classify_at(self, self.pc)
        if info is not None and info.is_jump:
            return None
        with session.exclusive(self):
            stop = self.stepper.once(tries=STANDSTILL)
        if stop is not None or self.session.stopping or self.vcpu.raw[REGS:REGS_END] != state:
            return stop
        text, _ = session.instruction_text(self, session.code_at(self, self.pc, 15))
        return self.stop(
            stops.ErrorStop,
            message=f"the guest does not get on: this KVM neither runs nor leaves the instruction {text}",
        )

    def _note_start(self) -> None:
        """Before a free run: what is needed to tell afterwards what killed the guest."""
        vcpu = self.vcpu
        self.sregs_at_start = self.sregs
        self._state_end = REGS_END
        if shutdown_resets():
            vcpu.share_sregs(self.sregs)
            if vcpu.shared_sregs is not None:
                self._state_end = SREGS_END
        else:
            vcpu.unshare_sregs()
        self.recent.append((RESUMED, vcpu.raw[REGS : self._state_end]))

    def recent_state(self) -> tuple[abi.kvm_regs, abi.kvm_sregs | None] | None:
        """Registers at the last exit before this one (special ones only where they are kept), None where none was."""
        if not self.recent:
            return None
        state = self.recent[-1][1]
        whole = len(state) > Vcpu.REGS_SIZE
        sregs = abi.kvm_sregs.from_buffer_copy(state, Vcpu.REGS_SIZE) if whole else None
        return abi.kvm_regs.from_buffer_copy(state), sregs

    def last_exits(self) -> Iterator[str]:
        """The last exits in words, oldest first."""
        for what, state in self.recent:
            rip = int.from_bytes(state[RIP : RIP + 8], "little")
            if isinstance(what, PortEntry):
                value = int.from_bytes(state[:8], "little") & (1 << what.size * 8) - 1
                data = f", value {value:#x}" if what.direction else ""
                size = f"{what.size} byte{'s' if what.size > 1 else ''}"
                yield f"{'out' if what.direction else 'in'} port {what.port:#x}, {size}{data}; rip {rip:#x}"
            elif what != RESUMED:
                yield f"{exits.BY_NUMBER[what].kind if what in exits.BY_NUMBER else what}; rip {rip:#x}"

    def spend(self) -> stops.Stop | None:
        """One exit more while stepping: the stop when it was the last that the limit allows."""
        self.left -= 1
        return None if self.left else self.limit_reached()

    def limit_reached(self) -> stops.Stop:
        return self.stop(stops.LimitStop, limit=f"{self.limit} exits")

    def serve(self) -> stops.Stop | None:
        """Answer the exit in the shared page; the stop that it asks for, if any."""
        reason = self.vcpu.u32[U32_EXIT_REASON]
        if reason == exits.KVM_EXIT_IO:
            entry = self.ports.get(self.vcpu.u32[U32_IO_KEY]) or self.port_entry()
            entry.count += 1
            return self.serve_io(entry)
        self.exit_counts[reason] = self.exit_counts.get(reason, 0) + 1
        if reason != exits.KVM_EXIT_SHUTDOWN:
            self.recent.append((reason, self.vcpu.raw[REGS : self._state_end]))
        handler = HANDLERS.get(reason)
        session = self.session
        if session.judge.observed and reason not in SERVED_WITH_HOOKS and not self._self_made(reason):
            return self._offered(handler)
        if handler is None:
            exit = exits.decode(self.vcpu.kvm_run, self.vcpu.page)
            return self.stop(stops.ExitStop, exit=exit)
        return handler(self)

    def _self_made(self, reason: int) -> bool:
        """Whether the exit comes from a trap or a debug register of ours."""
        if reason == exits.KVM_EXIT_DEBUG and self.plan.debug_registers and self.vcpu.u64[U64_DEBUG_DR6] & 15:
            return True
        return reason in TRAP_REASONS and self.trap_at() is not None

    def _offered(self, handler: Callable[[Runner], stops.Stop | None] | None) -> stops.Stop | None:
        """Serve an exit that hooks and catchpoints may look at, before and after."""
        session = self.session
        exit = exits.decode(self.vcpu.kvm_run, self.vcpu.page)
        asked = session.judge.offer(self, exit, "before")[1]
        stop = handler(self) if handler else self.stop(stops.ExitStop, exit=exit)
        session.listeners.tell_exit(exit)
        asked = session.judge.offer(self, exit)[1] or asked
        if asked is None or isinstance(stop, stops.FatalStop):
            return stop
        return replace(asked, pc=self.pc)

    # --- ports -------------------------------------------------------------------------------------

    def port_entry(self) -> PortEntry:
        """The entry for the IO exit in the shared page, made when it is the first of its kind."""
        key = self.vcpu.u32[U32_IO_KEY]
        entry = self.ports.get(key)
        if entry is None:
            entry = self.ports[key] = PortEntry(key, self.session.machine.bus.port(key >> 16))
            self.watch_port(entry)
            if entry.device is None:
                self.forget()
                word = "out" if entry.direction else "in"
                entry.first = self.session.site_of(self, exits.IoExit(word, entry.port, entry.size, 1, b""))
        return entry

    def watch_port(self, entry: PortEntry) -> None:
        """Find out anew whether anybody looks at this port."""
        entry.observed = self.session.judge.observes_port(entry.port, entry.size)
        entry.quiet = entry.direction == 1 and entry.device is None and not entry.observed

    def serve_io(self, entry: PortEntry) -> stops.Stop | None:
        if entry.observed:
            return self._serve_observed_io(entry)
        vcpu = self.vcpu
        self.must_complete = True
        count, offset, size = vcpu.u32[U32_IO_COUNT], vcpu.u64[U64_IO_DATA], entry.size
        device, end = entry.device, None
        at = offset
        if entry.count == HOT and device is not None and entry.direction:
            self.session.coalescing.heat(entry.port)
        try:
            for at in range(offset, offset + count * size, size):
                if entry.direction:
                    if device is not None:
                        value = int.from_bytes(vcpu.page[at : at + size], "little")
                        end = tell(device, entry.offset, size, value) or end
                else:
                    vcpu.page[at : at + size] = ONES[:size] if device is None else ask(device, entry.offset, size)
        except DeviceFailure as error:
            if not entry.direction:
                vcpu.page[at : offset + count * size] = b"\xff" * (offset + count * size - at)
            word = "out" if entry.direction else "in"
            return self.device_failed(error, exits.IoExit(word, entry.port, size, count, b""))
        return self.ended(end) if end is not None else None

    def device_failed(self, error: DeviceFailure, exit: exits.IoExit | exits.MmioExit) -> stops.Stop:
        """The stop for a device of somebody's that cannot serve this access, behind its instruction."""
        at = self.session.site_of(self, exit)
        where = f"port {exit.port:#x}" if isinstance(exit, exits.IoExit) else f"the MMIO address {exit.address:#x}"
        verb = "wrote to" if exit.direction in ("out", "write") else "read"
        self.complete()
        message = f"device {error.device} failed when the instruction at {at:#x} {verb} {where}: {error.what}"
        return self.stop(stops.ErrorStop, message=message)

    def ended(self, end: GuestEnd) -> stops.Stop:
        return self.complete() or self.stop(stops.ExitedStop, status=end.status, text=end.text)

    def _serve_observed_io(self, entry: PortEntry) -> stops.Stop | None:
        """The same with hooks and catchpoints, for which each item of a string instruction is an access of its own."""
        vcpu, session = self.vcpu, self.session
        self.must_complete = True
        count, offset, size = vcpu.u32[U32_IO_COUNT], vcpu.u64[U64_IO_DATA], entry.size
        device, end, asked = entry.device, None, None
        ones = (1 << size * 8) - 1
        word = "out" if entry.direction else "in"
        for at in range(offset, offset + count * size, size):
            data = bytes(vcpu.page[at : at + size]) if entry.direction else b""
            answer, before = session.judge.offer(self, exits.IoExit(word, entry.port, size, 1, data), "before")
            try:
                if entry.direction:
                    value = int.from_bytes(data, "little") if answer in (None, SWALLOW) else int(answer) & ones
                    if device is not None and answer is not SWALLOW:
                        end = tell(device, entry.offset, size, value) or end
                elif answer is None and device is not None:
                    value = int.from_bytes(ask(device, entry.offset, size), "little")
                else:
                    value = ones if answer in (None, SWALLOW) else int(answer) & ones
            except DeviceFailure as error:
                if not entry.direction:
                    vcpu.page[at : offset + count * size] = b"\xff" * (offset + count * size - at)
                return self.device_failed(error, exits.IoExit(word, entry.port, size, 1, data))
            data = value.to_bytes(size, "little")
            if not entry.direction:
                vcpu.page[at : at + size] = data
            after = session.judge.offer(self, exits.IoExit(word, entry.port, size, 1, data))[1]
            asked = asked or before or after
        whole = bytes(vcpu.page[offset : offset + count * size])
        session.listeners.tell_exit(exits.IoExit(word, entry.port, size, count, whole))
        if end is not None:
            return self.ended(end)
        if asked is None:
            return None
        if count > 1 and isinstance(asked, stops.CaughtStop):
            asked = replace(asked, exit=exits.IoExit(word, entry.port, size, count, whole))
        return self.complete() or replace(asked, pc=self.pc)

    # --- traps and debug events --------------------------------------------------------------------

    def points_at(self, pc: int) -> list[Point]:
        """The armed breakpoints for an instruction at linear ``pc``."""
        plan = self.plan
        found: list[Point] = list(plan.by_linear.get(pc, ()))
        if plan.by_physical:
            physical = self.session.physical_of(self, pc)
            if physical is not None:
                found += plan.by_physical.get(physical, ())
        return found

    @contextmanager
    def without_trap(self, pc: int) -> Iterator[None]:
        """While inside, no trap of ours lies at ``pc``, and an exit there is the guest's own."""
        plan, session = self.plan, self.session
        physical = plan.trap_of_linear.get(pc) or session.physical_of(self, pc) if plan.traps else None
        if physical is None or physical not in plan.traps or physical == self.lifted:
            yield
            return
        session.traps.lift(physical)
        self.lifted = physical
        try:
            yield
        finally:
            self.lifted = None
            session.holding.plant(physical)

    def trap_at(self) -> int | None:
        """The guest-physical address of our trap that the exit in the page stands for, or None."""
        plan = self.plan
        if not plan.traps:
            return None
        reason = self.vcpu.u32[U32_EXIT_REASON]
        pc = self.pc
        if reason == exits.KVM_EXIT_HLT:
            if plan.trap != HLT:
                return None
            pc -= 1
        known = plan.trap_of_linear.get(pc)
        physical = self.session.physical_of(self, pc) if known is None else known
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
            if stop is not None or self.session.stopping:
                self._settled = self.stepper.parked
                return stop
            self.follow_tables()
            if not self.points_at(self.pc):
                if trapped:
                    self.recent.append((RESUMED, self.vcpu.raw[REGS : self._state_end]))
                self.debug_for_running()
                return None

    def follow_tables(self) -> None:
        """Where exceptions or interrupts are caught: has the guest changed its table of handlers?"""
        vectors = self.session.vectors
        unguarded = self.plan.stepping or (self.stepping and not self.session.profile.guards_restart)
        if vectors.active and (self.tables_touched or vectors.moved(self) or (unguarded and vectors.altered())):
            self.tables_touched = False
            self.session.holding.rearm(self)
            if not self.stepping:
                self.debug_for_running()

    def reached(self, pc: int) -> stops.Stop | None:
        """The stop that the breakpoints at ``pc`` ask for."""
        hits = self.session.judge.ask(self, self.points_at(pc))
        if isinstance(hits, stops.Stop):
            return hits
        return stops.BreakpointStop(vcpu=self.index, pc=pc, hits=hits) if hits else None

    def _on_debug(self) -> stops.Stop | None:
        vcpu = self.vcpu
        if vcpu.kvm_run.debug.exception == 3:
            if self.trap_at() is not None:
                return self.hit()
            return self.deliver(3, 0)  # an int3 of the guest's own
        dr6 = vcpu.u64[U64_DEBUG_DR6]
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
        return self.session.profile.int1_before and self.session.code_at(self, self.pc, 1) == bytes((INT1,))

    def deliver(self, vector: int, length: int, *, dr6: int = 0) -> stops.Stop | None:
        """Hand an exception of the guest's own to the guest, its ip moved on by ``length``; ``dr6`` is set in DR6."""
        self.deliveries += 1
        if dr6:
            debugregs = self.vcpu.get_debugregs()
            debugregs.dr6 |= dr6
            self.vcpu.set_debugregs(debugregs)
        if length:
            self.set_general("rip", self.vcpu.regs.rip + length)
        if vector not in NO_FAULTS:
            self.set_general("rflags", self.vcpu.regs.rflags | EFLAGS_RF)
        self.flush()
        events = self.vcpu.get_events()
        events.exception.injected = 1
        events.exception.pending = 0
        events.exception.nr = vector
        events.exception.has_error_code = 0
        events.flags &= ~abi.KVM_VCPUEVENT_VALID_PAYLOAD
        self.vcpu.set_events(events)
        return None

    def _on_internal_error(self) -> stops.Stop | None:
        exit = exits.decode(self.vcpu.kvm_run, self.vcpu.page)
        assert isinstance(exit, exits.InternalErrorExit)
        if exit.suberror != exits.SUBERROR_EMULATION:
            return self.stop(stops.ExitStop, exit=exit)
        if self.plan.trap == INT1 and self.trap_at() is not None:
            return self.hit()
        self._require_guards_apart()
        if self.watching.may_be_cause():
            return self.watching.step_without_guards()
        code = self.session.code_at(self, self.pc, 15) or exit.instruction
        own = {INT3: 3, INT1: 1}.get(code[0] if code else 0)
        if own is not None:
            return self.deliver(own, 1)  # a trap of the guest's own, which this KVM does not run
        if code[:2] == UD2:
            return self.deliver(6, 0)
        text, size = self.session.instruction_text(self, code)
        from kvmdbg.core import post_mortem

        account = post_mortem.of_emulation_failure(self)
        return self.stop(stops.EmulationFailureStop, instruction=code[:size], text=text, autopsy=account)

    def _on_hlt(self) -> stops.Stop | None:
        if self.trap_at() is not None:
            self.set_general("rip", self.vcpu.regs.rip - 1)
            self._drop_trap_of_hlt()
            return self.hit()
        if self.session.code_at(self, self.pc - 1, 1) != bytes((HLT,)):
            return None  # the late echo of a hlt that was stepped over
        return self.stop(stops.HaltedStop)

    def _drop_trap_of_hlt(self) -> None:
        """Where the guest has EFLAGS.TF set: KVM has queued a #DB behind the hlt that is a trap of ours."""
        if not self.vcpu.regs.rflags & EFLAGS_TF:
            return
        self.flush()
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
        from kvmdbg.core import post_mortem

        account, end = post_mortem.of_shutdown(self)
        caught = self._undelivered(end) if end is not None and self.session.vectors.active else None
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
        if not self.session.vectors.wants(event.kind, fault.vector):
            return None
        if bytes(end.regs) != bytes(self.vcpu.regs):  # where a shutdown resets the vCPU
            self.set_sregs(end.sregs)
            memmove(addressof(self.vcpu.regs), bytes(end.regs), Vcpu.REGS_SIZE)
            self.vcpu.u64[U64_DIRTY_REGS] |= abi.KVM_SYNC_X86_REGS
            self.forget()
        return self.session.judge.offer(self, event)[1]

    def _require_guards_apart(self) -> None:
        """GuardSpoilt where an event may have failed for a guard made of slots, on a stack or a table of the CPU's."""
        pages = self.session.holding.guarded_of_cpu(self)
        if pages:
            raise GuardSpoilt(pages, done=True)

    def _on_fail_entry(self) -> stops.Stop:
        exit = exits.decode(self.vcpu.kvm_run, self.vcpu.page)
        from kvmdbg.core import post_mortem

        assert isinstance(exit, exits.FailEntryExit)
        account = post_mortem.of_failed_entry(self)
        return self.stop(stops.FailEntryStop, hardware_reason=exit.hardware_reason, autopsy=account)

    def _go_on(self) -> None:
        return None

    def _on_msr(self) -> stops.Stop | None:
        """RDMSR or WRMSR that a hook or catchpoint wants: done as KVM would have, unless a hook answers.

        One that KVM gives us for another reason is refused (#GP).
        """
        self.must_complete = True
        vcpu, session, msr = self.vcpu, self.session, self.vcpu.kvm_run.msr
        exit = exits.decode(vcpu.kvm_run, vcpu.page)
        answer, asked = session.judge.offer(self, exit, "before")
        wanted = bool(msr.reason & abi.KVM_MSR_EXIT_REASON_FILTER)
        if isinstance(exit, exits.MsrReadExit):
            value = vcpu.get_msr(msr.index) if answer is None and wanted else answer
            value = 0 if value is SWALLOW else value
            msr.error, msr.data = int(value is None), value or 0
            exit = exits.MsrReadExit(exit.index, exit.reason, value)
        elif answer is SWALLOW:
            msr.error = 0
        else:
            done = wanted or answer is not None
            msr.error = int(not (done and vcpu.set_msr(msr.index, msr.data if answer is None else answer)))
        self.forget()
        session.listeners.tell_exit(exit)
        asked = session.judge.offer(self, exit)[1] or asked
        return None if asked is None else self.complete() or replace(asked, pc=self.pc)

    def _on_hypercall(self) -> None:
        self.must_complete = True
        self.vcpu.kvm_run.hypercall.ret = (1 << 64) - 1000  # -KVM_ENOSYS

    def require_step(self) -> None:
        """NotSupportedHere where this KVM cannot single-step the code at pc."""
        profile = self.session.profile
        if not profile.behaviour(self.mode, self.cpl).step:
            raise NotSupportedHere(
                f"this KVM cannot single-step code at CPL {self.cpl}: break in the kernel and continue to it, "
                "or use a host with hardware virtualization"
            )


HANDLERS: dict[int, Callable[[Runner], stops.Stop | None]] = {
    exits.KVM_EXIT_DEBUG: Runner._on_debug,
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

"""A vCPU that unicorn runs: it is entered and left as KVM's are (machine/cpu.py says what its methods do).

Unicorn executes instructions; what else a CPU does is done here. It never delivers an exception or an interrupt, but
tells of them: x86/exceptions.py works out what they change. It counts instructions all the time, which lets it end
before any of them: hooks that want it to end are obeyed behind the instruction at hand.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.counted_port import CountedPort
from kvmdbg.kvm.run_page import (
    REGS,
    REGS_END,
    U8_WANTS_WINDOW,
    U32_DEBUG_EXCEPTION,
    U32_EXIT_REASON,
    U32_IO_KEY,
    U64_DEBUG_DR6,
    U64_DEBUG_PC,
)
from kvmdbg.machine import kick
from kvmdbg.machine.cpu import CountReached
from kvmdbg.soft import library
from kvmdbg.soft.alignment import AC, AlignmentCheck
from kvmdbg.soft.debug_moves import DR7_GD
from kvmdbg.soft.devices import DeviceWindow
from kvmdbg.soft.execute_registers import ExecuteRegisters
from kvmdbg.soft.fetches import Fetches
from kvmdbg.soft.guest_points import GuestPoints
from kvmdbg.soft.held_places import HeldPlaces
from kvmdbg.soft.in_instruction import InInstruction
from kvmdbg.soft.nothing_done import may_be_begun_again, repeats_no_more
from kvmdbg.soft.port_rights import may_use_port
from kvmdbg.soft.registers import NMI
from kvmdbg.soft.running import Running
from kvmdbg.soft.slices import WINDOW_SLICE, WINDOW_STEPS, Slices
from kvmdbg.soft.state import DR6, DR7, EFLAGS
from kvmdbg.soft.strides import Strides
from kvmdbg.soft.told_exceptions import ToldExceptions
from kvmdbg.soft.told_instructions import ToldInstructions
from kvmdbg.x86.delivery import EXCEPTION, INT1, INTERRUPT, Event, Refused
from kvmdbg.x86.exceptions import Shutdown, dispatch
from kvmdbg.x86.faults import GP
from kvmdbg.x86.faults import State as CpuState
from kvmdbg.x86.registers import DR6_BS, EFLAGS_RF, EFLAGS_TF

if TYPE_CHECKING:
    from kvmdbg.soft.system import SoftVm

P = TypeVar("P", bound=CountedPort)
SUBERROR_DELIVERY = 3
AMID_INSTRUCTION = frozenset("breakpoint exception held in invalid memory refused".split()) | {"guest's breakpoint"}
"""Why a run has ended with an instruction that is not done."""
BEHIND_INSTRUCTION = frozenset(("alignment", "data", "in", "out", "refused", "told"))
"""Why a run has ended that hooks end which are called in the middle of an instruction."""


class SoftCpu(Running):
    """The one vCPU of ``vm``."""

    counts_instructions = True

    def __init__(self, vm: SoftVm, index: int) -> None:
        super().__init__(vm, index)
        self._stop = vm.library.quick.uc_emu_stop

        self.why: tuple[Any, ...] | None = None
        self.instructions = self._begun_at_end = 0
        self.pieces: list[tuple[int, int, int]] = []
        self._counts = False
        """In a run that ends after so many instructions."""
        self._loses_writes = False
        self._lost: list[tuple[int, bytes]] = []
        """Places in read-only memory, and what they hold."""
        self._trapped: int | None = None
        """RFLAGS where the guest's own EFLAGS.TF brings a trap behind the instruction that has ended the run."""
        self._slices = Slices()
        self._repeat: Callable[[], bool] | None = None
        """Does the instruction of the last exit again, which has been answered."""
        self._device = DeviceWindow(self)
        self._callbacks: list[Any] = []
        self._set_hooks()
        self.execute_registers = ExecuteRegisters(self)
        self._told = ToldInstructions(self)
        self._told_exceptions = ToldExceptions(self)
        self.alignment: AlignmentCheck = AlignmentCheck(self)
        self.places: HeldPlaces = HeldPlaces(self, self.alignment)
        self.fetches: Fetches = Fetches(self)
        self._in = InInstruction(self)
        self._points = GuestPoints(self)

    # --- hooks -------------------------------------------------------------------------------------

    def _set_hooks(self) -> None:
        one, uc = self.vm.library, self.vm.uc
        kept = self._callbacks

        def hook(kind: int, prototype: Any, function: Callable[..., Any], instruction: int | None = None) -> None:
            callback = prototype(function)
            kept.append(callback)
            one.hook(uc, kind, callback, instruction=instruction)

        hook(library.HOOK_INTR, library.FOR_INTR, self._on_interrupt)
        hook(library.HOOK_INVALID, library.FOR_INVALID, self._on_invalid)
        hook(library.HOOK_MEMORY_INVALID, library.FOR_MEMORY, self._on_memory)
        hook(library.HOOK_INSN, library.FOR_OUT, self._on_out, library.INSN_OUT)

    def end_with(self, *why: Any) -> None:
        if self._goes_on:
            self.why, self._begun_at_end = why, self.vm.begun.value
        self._stop(self.vm.uc)

    def end_behind(self, *why: Any) -> None:
        if self._goes_on:
            self.why, self._begun_at_end = why, self.vm.begun.value
            self.vm.limit.value = self.vm.begun.value  # to stop unicorn here would leave the rest of it undone

    @property
    def _goes_on(self) -> bool:
        """Whether nothing has ended the instruction at hand: data that it has accessed does so behind it."""
        return self.why is None or self.why[0] == "data"

    def _on_interrupt(self, uc: int, number: int, data: int) -> None:
        self.state.save()
        flags = self.state.flags_amid(stepped=number == 1)
        if number == 1 and self.why is not None and self.why[0] in BEHIND_INSTRUCTION:
            self._trapped = flags
            self._stop(uc)
        else:
            self.end_with("exception", number, flags)

    def _on_invalid(self, uc: int, data: int) -> bool:
        self.end_with("invalid")
        return True

    def _on_memory(self, uc: int, kind: int, address: int, size: int, value: int, data: int) -> bool:
        if self._goes_on and self.vm.memory.lets_pass(kind, address, size):
            return True
        if self._loses_writes and kind == library.MEM_WRITE_PROT:
            self.pieces.append((address, size, value & (1 << 8 * size) - 1))
            self._lost.append((address, self.vm.memory.read(address, size)))
            return True
        if self._goes_on:
            self.why = "memory", kind, address, size
            self.state.save()
            self.flags_before = self.state.flags_amid()
            self.before_refusal = bytes(self.state.bytes)  # it may go on with the instruction's other accesses
        return False

    def _on_out(self, uc: int, port: int, size: int, value: int, data: int) -> None:
        self.state.save()
        if may_use_port(self, port & 0xFFFF, size):
            self.end_with("out", port & 0xFFFF, size, value)
        else:
            self.refuse_port()

    def refuse_port(self) -> None:
        self.flags_before, self.before_refusal = self.state.flags_amid(), bytes(self.state.bytes)
        self.end_with("refused")

    # --- running -----------------------------------------------------------------------------------

    def _interrupted(self) -> None:
        self.show()
        raise InterruptedError(errno.EINTR, "Interrupted")

    def take_changes(self) -> None:
        self._points.take()
        self.vm.drop_translations()
        self.flush_regs()
        if self.context_changed or self.vm.registers_touched:
            self.state.load()
            self.context_changed = self.vm.registers_touched = False

    def go(self, count: int) -> bool:
        vm, state = self.vm, self.state
        start = vm.library.quick.uc_emu_start if count == 1 else vm.library.start
        self.why = None
        self.resumes = state.clear_resume_flag()
        self.fetches.begin()
        while True:
            self.places.run_from(state.pc)
            error = start(vm.uc, state.rip, 0, 0, count)
            state.save()
            if error and self.why is None:
                raise RuntimeError(f"unicorn ended with error {error} at {state.pc:#x}")
            begun = vm.begun.value
            if self.why is not None and self.why[0] in BEHIND_INSTRUCTION:
                begun = self._begun_at_end  # unicorn may have begun one more, of which it has done nothing
            begun, goes_on = self.fetches.settle(begun, count)
            self.instructions += min(begun, count)
            done = begun - (begun > count or (self.why is not None and self.why[0] in AMID_INSTRUCTION))
            self.resumes &= done == 0
            if self.resumes:
                state.u64[EFLAGS // 8] |= EFLAGS_RF
                self.flags_before |= EFLAGS_RF
            elif done > 1:
                state.clear_resume_flag()
            if self.places.found:
                self.places.hold()
            elif not goes_on and (self.why is not None or begun > count or not self.places.has_ended_before_one()):
                return begun > count
            count -= begun
            if count <= 0:
                return True

    @property
    def steps(self) -> bool:
        return bool(self.control & abi.KVM_GUESTDBG_SINGLESTEP)

    @property
    def nmi_comes_in(self) -> bool:
        return self.holds_nmi_back and not self.control & abi.KVM_GUESTDBG_BLOCKIRQ

    def _run(self) -> None:
        """Until an exit, which is in the page then."""
        self.entered_handler = False
        if self.steps:
            self._run_one()
            return
        tried = 0
        while True:
            self.take_nmi()
            if self.waiting is not None and self.deliver(self.waiting):
                return
            window = self.page[U8_WANTS_WINDOW]
            if window and self.takes_interrupt():
                self.leave(exits.KVM_EXIT_IRQ_WINDOW_OPEN)
                return
            count = 1 if self.holds_nmi_back else self._slices.count
            if window:
                tried += 1
                count = min(count, 1 if tried < WINDOW_STEPS else WINDOW_SLICE << min(tried - WINDOW_STEPS >> 4, 20))
            if self._last is not None and self._counts:
                left = self._last - self.instructions
                count = min(count, left)
                if count <= 0:
                    self.show()
                    raise CountReached
            if self.alignment.is_on():
                count = 1
                if self.alignment.refuses():
                    if self.deliver(Event.exception(AC)):
                        return
                    continue
            since = perf_counter()
            exhausted = self.go(count)
            if exhausted and not window:
                self._slices.took(count, perf_counter() - since)
            if self.ended(exhausted):
                return
            if kick.pending():
                self._interrupted()
            self.take_changes()

    def _run_one(self) -> None:
        """An event that waits, or one instruction, which an NMI comes before where interrupts may."""
        if self.nmi_comes_in:
            self.take_nmi()
        if self.waiting is not None:
            self.deliver(self.waiting)
        elif self.alignment.is_on() and self.alignment.refuses():
            self.deliver(Event.exception(AC))
        else:
            self._one_step()

    def _one_step(self) -> None:
        """One instruction, or one round of a repeated one, and the exit that it leads to."""
        state = self.state
        state.regs_to(self.words)
        before, own = self.raw[REGS:REGS_END], state.flags & EFLAGS_TF
        self.end_step(state.rip, before, own, self.go(1))

    def end_step(self, rip: int, before: bytes, own: int, exhausted: bool) -> None:
        state = self.state
        if exhausted and state.rip == rip:
            state.regs_to(self.words)
            if before == self.raw[REGS:REGS_END] and may_be_begun_again(self.vm, state):
                self.instructions -= 2  # nothing was done (nothing_done.py), which has been counted already
                exhausted = self.go(2)
        if own and self.why is not None and self.why[:2] == ("exception", 1):  # it is taken at the next entry
            self.why, exhausted = None, True
            self.waiting, self.entered_handler = Event.exception(1), True
        if exhausted and state.rip == rip and repeats_no_more(self.vm, self.state):
            self.go(1)
        if not self.ended(exhausted) and self.u32[U32_EXIT_REASON] != exits.KVM_EXIT_DEBUG:
            self.debug_exit(1, state.pc, DR6_BS)

    def ended(self, exhausted: bool) -> bool:
        why = self.why
        if why is None:
            if exhausted:
                return False
            self.leave(exits.KVM_EXIT_HLT)
            return True
        word = why[0]
        if word == "out":
            self._take_trap()
            self.io_exit(1, *why[1:])
            return True
        if word in ("alignment", "data", "told"):
            return self._take_trap() and not self.steps and self.deliver(Event.exception(1))
        self._points.hit = 0  # it will be done again
        if word == "in":
            self._in.exit(why[1], why[2])
            return True
        if word == "exception":
            return self._told_exceptions.raised(*why[1:])
        if word == "memory":
            return self._refused(*why[1:])
        if word == "held":
            return self.places.execute()
        if word == "breakpoint":
            self.instructions -= 1
            self.debug_exit(1, why[1], self.execute_registers.armed.get(why[1], 0))
            return True
        if word == "guest's breakpoint":
            self.instructions -= 1
            self.state.u64[DR6 // 8] |= why[1]
            return self.deliver(Event.exception(1))
        if word == "refused":
            self.instructions -= 1
            self.state.bytes[:] = self.before_refusal
            self.state.go_back_to(self.before_refusal, self.flags_before)
            return self.deliver(Event.exception(GP))
        return self._told_exceptions.invalid()

    def _take_trap(self) -> bool:
        """Whether one waits now behind the instruction that has ended the run."""
        if self._trapped is None and not self._points.hit:
            return False
        if self._trapped is not None:
            self.state.flags, self._trapped = self._trapped, None
        self.state.u64[DR6 // 8] |= self._points.hit
        self._points.hit = 0
        self.context_changed = True
        self.waiting = Event.exception(1)
        self.entered_handler |= self.steps
        return True

    # --- exceptions and interrupts -----------------------------------------------------------------

    def deliver(self, event: Event) -> bool:
        self.waiting = event
        self.show()
        memory = self.vm.memory
        cpu = CpuState(self.regs, self.get_sregs(), memory.read, marks_accessed=False)  # far jumps do not, either
        found = dispatch(cpu, event)
        if isinstance(found, Refused):
            self.waiting = None
            return self.internal_error(SUBERROR_DELIVERY)
        if isinstance(found, Shutdown):
            self.waiting = None
            self.leave(exits.KVM_EXIT_SHUTDOWN)
            return True
        writes = found.change.physical_writes(cpu)
        if memory.restartable and memory.guards_against(cpu, writes, found.change.reads):
            raise OSError(errno.EFAULT, "Bad address")
        self.waiting, self.entered_handler = None, True
        self.nmi_masked |= found.event.kind == INTERRUPT and found.event.vector == NMI
        if found.event.vector == 1 and found.event.kind in (EXCEPTION, INT1):
            self.state.u64[DR7 // 8] &= ~DR7_GD
        for address, data in writes:
            memory.write_of_cpu(address, data)
        found.change.apply(cpu.regs, cpu.sregs, lambda linear, data: None)
        self.state.regs_from(self.words)
        self.set_sregs(cpu.sregs)
        self.state.shadow = False
        self.take_changes()
        if self.steps:
            self.debug_exit(1, self.state.pc, DR6_BS)
        return self.steps

    # --- accesses that unicorn refuses -------------------------------------------------------------

    def _refused(self, kind: int, address: int, size: int) -> bool:
        self.instructions -= 1
        self.state.go_back_to(self.before_refusal, self.flags_before)
        if self.vm.memory.is_guarded(kind, address):
            self.vm.translation_changed = True  # else unicorn would let the next read through, which it has looked up
            self.show()
            raise OSError(errno.EFAULT, "Bad address")
        if kind in library.MEM_FETCH:
            return self.internal_error()
        if kind == library.MEM_WRITE_PROT:
            return self._lose_writes()
        return self._device.enter(address)

    def _lose_writes(self) -> bool:
        """Run the instruction, which writes to read-only memory: that changes nothing but that it is told."""
        self._loses_writes, self._lost = True, []
        try:
            self.go(1)
        finally:
            self._loses_writes = False
            for address, before in reversed(self._lost):
                self.vm.memory.write(address, before)
        if self.why is not None and self.ended(False):
            return True
        if self.pieces:
            self.mmio_exit(*self.pieces.pop(0))
            return True
        return False

    # --- what is left of an instruction ------------------------------------------------------------

    def _finish(self) -> bool:
        """End the instruction of the last exit; whether that has led to another one."""
        self.take_changes()
        repeat, self._repeat = self._repeat, None
        if repeat is not None:
            return repeat()
        if self.pieces:
            self.mmio_exit(*self.pieces.pop(0))
            return True
        return False

    def answered_by(self, repeat: Callable[[], bool]) -> None:
        self._repeat = repeat

    def complete(self) -> bool:
        if self._finish():
            return True
        self.show()
        self.u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
        return False

    def run(self) -> None:
        was_unfinished = self.unfinished
        self.u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
        if self._finish():
            return
        self.take_changes()
        if was_unfinished and self.steps:
            self.debug_exit(1, self.state.pc, DR6_BS)
            return
        if kick.pending():
            self._interrupted()
        try:
            self._run()
        except OSError:
            self.u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
            raise

    def free_run(
        self, ports: Mapping[int, P], note: Callable[[tuple[P, bytes]], object], collected: Callable[[], None]
    ) -> Callable[[], P | None]:
        u32, get = self.u32, ports.get

        def enter() -> P | None:
            left = self.exits_left
            self.page[U8_WANTS_WINDOW] = self.wants_window
            self._counts = True
            try:
                while True:
                    self.run()
                    port = get(u32[U32_IO_KEY]) if u32[U32_EXIT_REASON] == exits.KVM_EXIT_IO else None
                    if port is None:
                        return None
                    port.count += 1
                    note((port, self.registers_at_exit()))
                    if left == 1 or not port.quiet:
                        return port
                    left -= 1
            finally:
                self.exits_left = left
                self.page[U8_WANTS_WINDOW] = 0
                self._counts = False

        return enter

    def _make_step(self) -> Callable[[], int | None]:
        return self._step

    def _make_stride(self) -> Callable[..., tuple[int, int | None, bytes]]:
        return Strides(self).stride

    def _step(self) -> int | None:
        rip = self.regs.rip
        try:
            self.run()
        except InterruptedError:
            return None
        stepped = self.u32[U32_EXIT_REASON] == exits.KVM_EXIT_DEBUG and self.u32[U32_DEBUG_EXCEPTION] == 1
        if not stepped or self.u64[U64_DEBUG_DR6] & 15 or self.regs.rip == rip:
            return None
        return self.u64[U64_DEBUG_PC]

    # --- debugging ---------------------------------------------------------------------------------

    def set_guest_debug(self, control: int, debugreg: tuple[int, ...] = ()) -> None:
        self.control, self.debugreg = control, debugreg or (0,) * 8
        self.execute_registers.set(control, self.debugreg)

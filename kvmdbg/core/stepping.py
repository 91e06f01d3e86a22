"""Single-stepping one vCPU, right on every flavour of KVM.

What hardware does not do by itself is done here: a step that made no progress is
taken again; where EFLAGS.TF is lost when an event is delivered, traps at the
entries of the guest's handlers end the step there; and a TF that such a KVM leaks
into a pushed flags image is cleared.
"""

from __future__ import annotations

import fcntl
import mmap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from kvmdbg.core import stops
from kvmdbg.core.events import CpuidEvent, ModeEvent, RdtscEvent
from kvmdbg.core.hook_calls import SWALLOW
from kvmdbg.core.outside import Asking, NotDone
from kvmdbg.core.probe import HLT, INT1, INT3, host_profile
from kvmdbg.core.retreat import GuardSpoilt
from kvmdbg.errors import MemoryFault
from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.run_page import (
    IDTR,
    IDTR_END,
    REGS,
    REGS_END,
    RFLAGS,
    RIP,
    RSP,
    U8_RFLAGS_IF,
    U8_RFLAGS_TF,
    U16_DX,
    U32_DEBUG_EXCEPTION,
    U32_EXIT_REASON,
    U64_DEBUG_DR6,
    U64_DEBUG_PC,
    U64_DIRTY_REGS,
    U64_RIP,
    U64_RSP,
)
from kvmdbg.record import replace
from kvmdbg.x86 import disasm
from kvmdbg.x86.gates import handler_entries
from kvmdbg.x86.registers import DR6_BS, EFLAGS_RF, EFLAGS_TF, NO_FAULTS

if TYPE_CHECKING:
    from kvmdbg.core.runner import Runner

LOW32, LOW64 = (1 << 32) - 1, (1 << 64) - 1
PREFIXES = frozenset((0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF2, 0xF3))
OUT = 0xEE
"""out dx, al: the trap at handlers' entries where a hlt does not exit. DX is there what it was before the step."""
KERNEL_PORTS = frozenset((0x20, 0x21, *range(0x40, 0x44), 0x61, 0xA0, 0xA1, 0x4D0, 0x4D1))
"""The ports of the chips that KVM has in the kernel: an out there does not exit."""
NO_PROGRESS_TRIES = 64
JUMP_TRIES = 4
"""A jump to itself looks like a step without progress, and may as well be run as often as this."""
PUSHF, POPF, IRET = 0x9C, 0x9D, 0xCF
HARD = frozenset((PUSHF, POPF, IRET, HLT))
HARD_AND_PREFIXES = PREFIXES | set(range(0x40, 0x50)) | HARD
MOV_TO_DR = 0x23  # behind 0F
RUN_NATIVELY = frozenset((0x01, 0x19, 0x1C, 0x1D, 0x1E, 0xAE, 0xC7))
"""Opcodes behind 0F of fences, endbr64, swapgs, serialize, fxsave, rdfsbase, rdrand and no-operations."""
IMAGE_SIZES = {"popf": 2, "popfd": 4, "popfq": 8, "iret": 2, "iretd": 4, "iretq": 8}
"""Bytes of what these instructions load into EFLAGS."""


def instruction_event(code: bytes, regs: abi.kvm_regs, bits: int) -> tuple[exits.Exit | None, int]:
    """What ``cpuid``, ``rdtsc``, ``vmcall`` or ``vmmcall`` at the start of ``code`` is to hooks, and its length."""
    at = 0
    while at < len(code) and (code[at] in PREFIXES or (bits == 64 and code[at] & 0xF0 == 0x40)):
        at += 1
    if code[at : at + 2] == b"\x0f\xa2":
        return CpuidEvent(regs.rax & LOW32, regs.rcx & LOW32), at + 2
    if code[at : at + 2] == b"\x0f\x31":
        return RdtscEvent(), at + 2
    if code[at : at + 3] in (b"\x0f\x01\xc1", b"\x0f\x01\xd9"):
        mask = LOW64 if bits == 64 else LOW32
        args = tuple(value & mask for value in (regs.rbx, regs.rcx, regs.rdx, regs.rsi))
        return exits.HypercallExit(regs.rax & mask, args, bits == 64), at + 3
    return None, 0


def hard(code: memoryview | bytes, at: int) -> bool:
    """Whether the instruction at ``code[at]`` is stepped with care.

    It pushes or loads EFLAGS (pushf, popf, iret), halts, writes to a debug register, or a KVM in software may let the
    CPU run it.
    """
    while (byte := code[at]) in HARD_AND_PREFIXES:
        if byte in HARD:
            return True
        at += 1
        if at == len(code):
            return True
    return byte == 0x0F and (at + 1 == len(code) or code[at + 1] == MOV_TO_DR or code[at + 1] in RUN_NATIVELY)


class GuardedAccess(Exception):
    """A guard has refused an access of the instruction at pc, of which nothing is done."""


class Stepper:
    """Steps the vCPU of ``runner``; all methods run on its thread."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._entries: set[int] = set()
        """Guest-physical addresses of the traps at the entries of handlers."""
        self._entry_points: dict[int, int | None] = {}
        """The entries of handlers by linear address: where their trap lies, None for a debug register."""
        self._pages: dict[int, memoryview] = {}
        self._tries = NO_PROGRESS_TRIES
        self._had_bs = False
        """The guest has DR6.BS set itself."""
        self._idtr = b""
        self._table: list[tuple[mmap.mmap, int, int, bytes]] = []
        """Where in memory the guest's table of handlers lies, and what it held."""
        self.parked = False
        """The last step was ended from outside before it began."""
        self.delivered = False
        """The last step delivered an event: it ended at a handler's entry."""
        self.halted = False
        """The last step was over a hlt, and the vCPU waits for an interrupt behind it."""
        self.waits = False
        """The last step has brought a #DB that the guest gets before the instruction at pc."""
        self._open = False
        """Before the last step the guest had EFLAGS.IF set."""
        self._dx_serves = True
        """Whether OUT exits, as DX is now."""

    # --- past a breakpoint -------------------------------------------------------------------------

    def past(self, check: bool = True) -> stops.Stop | None:
        """Execute the instruction at pc with its breakpoint disarmed, the other vCPUs parked.

        ``check``: whether this KVM can step here is not known yet.
        """
        runner = self.runner
        if check:
            runner.require_step()
        guest = runner.guest
        if len(guest.world.runners) == 1:
            return self._past()
        with guest.world.exclusive(runner):
            return self._past()

    def _past(self) -> stops.Stop | None:
        runner = self.runner
        guest = runner.guest
        pc = runner.pc
        with runner.without_trap(pc), self._handlers_trapped():
            runner.debug_for_stepping()
            u64 = runner.vcpu.u64
            while True:
                before = bytes(runner.vcpu.page[REGS:REGS_END])
                rip = u64[U64_RIP]
                stop = self._single_round_slots(before)
                if (
                    stop is not None
                    or u64[U64_RIP] != rip
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
        page = runner.vcpu.page
        done = 0
        while True:
            before = bytes(page[REGS:REGS_END])
            try:
                stop = self.past(check=not done)
            except GuardSpoilt as spoilt:
                return runner.spoilt(spoilt.pages)
            stopping = runner.guest.world.stopping
            if stop is not None or (stopping and page[REGS:REGS_END] == before):
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

    # --- steps -------------------------------------------------------------------------------------

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
        linear addresses) stepping ends. Interrupts are kept out as ``step_interrupts`` of the session says, but not
        where stepping stands for a free run; ``limit`` says that ``count`` is the limit of one.
        """
        runner = self.runner
        runner.require_step()
        runner.begin_step()
        runner.vcpu.share_sregs(runner.sregs)
        stepped = count is not None or span is not None
        runner.step_quietly(stepped and not limit and not runner.guest.world.step_interrupts)
        runner.stepping = True
        try:
            with self._handlers_trapped():
                stop = self._run(count, record, span)
            if stop is not None:
                runner.note_unseen(stop)
            if limit and isinstance(stop, stops.StepStop):
                return runner.stop(stops.LimitStop, limit=f"{count} instructions")
            return stop
        finally:
            runner.stepping = False
            runner.step_quietly(True)
            self.rest()

    def rest(self) -> None:
        """At each stop: let go of the guest's memory; its translations may change."""
        self._pages.clear()
        self._table.clear()

    def _run(self, count: int | None, record: list[bytes] | None, span: tuple[int, int] | None) -> stops.Stop | None:
        runner = self.runner
        plan, guest, vcpu = runner.plan, runner.guest, runner.vcpu
        fd, page, raw, u32, u64, ioctl = vcpu.fd, vcpu.page, vcpu.raw, vcpu.u32, vcpu.u64, fcntl.ioctl
        by_linear, by_physical, watchful = plan.by_linear, plan.by_physical, bool(plan.stepped)
        inspected = guest.judge.inspected
        looks_for_tables = guest.vectors.active and (plan.stepping or not host_profile().guards_restart)
        fast = not (watchful or inspected or plan.holds_data_in_registers or looks_for_tables)
        run, debug, port_exit = abi.KVM_RUN, exits.KVM_EXIT_DEBUG, exits.KVM_EXIT_IO
        world = guest.world
        code_page = -1
        code: memoryview | bytes = b""
        tracer = guest.listeners.instructions
        drain = guest.coalescing.drain
        entries, by_out = self._entry_points, self._kernel_trap == OUT
        in_turn = guest.machine.irqchip and host_profile().kernel_trap == HLT
        pc = runner.pc
        runner.debug_for_stepping(again=False)
        self.waits = self.event_waits()
        done = 0
        while True:
            changed = raw[IDTR:IDTR_END] != self._idtr
            for mapping, start, end, known in self._table:
                changed |= mapping[start:end] != known
            if by_out:
                changed |= self._out_exits() != self._dx_serves
            if changed:  # the guest's table of handlers, or what the traps there need
                runner.forget()
                self._release_handlers()
                self._trap_handlers()
                runner.debug_for_stepping()
            if in_turn:
                self._take_turns()
            before = raw[REGS:REGS_END]
            rip, began = u64[U64_RIP], pc
            if pc >> 12 != code_page:
                code_page, code = pc >> 12, self._code(pc)
            own = page[U8_RFLAGS_TF] & 1
            if fast and not own and not self.waits and pc not in entries and code and not hard(code, pc & 0xFFF):
                page[U8_RFLAGS_TF] |= 1  # as in _enter
                u64[U64_DIRTY_REGS] |= abi.KVM_SYNC_X86_REGS
                try:
                    ioctl(fd, run, 0)
                    clean = u32[U32_EXIT_REASON] == debug and u32[U32_DEBUG_EXCEPTION] == 1 and u64[U64_RIP] != rip
                    clean &= not u64[U64_DEBUG_DR6] & 15  # else it is the entry of a handler
                except (InterruptedError, BlockingIOError):  # a kick; or INIT or SIPI woke it
                    u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
                    clean = False
                except OSError as error:
                    runner.forget()
                    if not runner.refused_by_guard(error):
                        return runner.refused(error)
                    u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
                    clean = False
                if clean:
                    pc = u64[U64_DEBUG_PC]
                elif u32[U32_EXIT_REASON] == port_exit and not by_out:
                    runner.forget()  # hooks look at pc
                    stop = runner.serve() or runner.complete() or runner.spend()
                    self.waits = self.event_waits()
                    runner.forget()
                    if stop is not None:
                        return stop
                    pc += u64[U64_RIP] - rip  # in and out leave CS as it is
                else:
                    runner.forget()
                    stop = self._single(before, entered=True)
                    if stop is not None:
                        return stop
                    runner.follow_tables()
                    pc = runner.pc
            else:
                runner.forget()
                stop = self._inspected(before, watchful) if inspected else self._step(before, watchful)
                if stop is not None:
                    return stop
                runner.follow_tables()
                pc = runner.pc
            if self.halted:
                stop = self._wait()
                if stop is not None:
                    return stop
                pc = runner.pc
            drain()
            stopping = world.stopping
            if stopping and page[REGS:REGS_END] == before:  # before it ran
                runner.forget()
                return None
            done += 1
            if record is not None:
                record.append(bytes(page[REGS:REGS_END]))
            if tracer is not None:
                tracer.step(began, before, bytes(page[REGS:REGS_END]))
            if done == count or (span is not None and not span[0] <= pc < span[1]):
                runner.forget()
                return (None if self.waits else runner.reached(pc)) or stops.StepStop(
                    vcpu=runner.index, pc=pc, steps=done
                )
            if not self.waits and (pc in by_linear or by_physical):
                runner.forget()
                stop = runner.reached(pc)
                if stop is not None:
                    return stop
            if stopping:
                runner.forget()
                return None

    def _take_turns(self) -> None:
        """Keep interrupts out of this step where the guest has just opened itself to them.

        On QEMU's SVM a step over sti runs the next instruction as well where an interrupt waits; and where steps are
        slower than interrupts come, the code that they interrupt would never get on.
        """
        opened = bool(self.runner.vcpu.page[U8_RFLAGS_IF] & 2)
        self.runner.hold_interrupts(not (opened and self._open))
        self._open = opened

    def _code(self, linear: int) -> memoryview | bytes:
        """The page of memory that holds the code at ``linear``; kept for the time of a run of steps."""
        found = self._pages.get(linear >> 12)
        if found is None:
            guest = self.runner.guest
            self.runner.forget()
            physical = guest.space.physical_of(self.runner, linear & ~0xFFF)
            region = None if physical is None else guest.machine.memory.find(physical)
            if physical is None or region is None:
                return b""
            found = region.view[physical - region.address : physical - region.address + 4096]
            self._pages[linear >> 12] = found
        return found

    def _is_hard(self, linear: int) -> bool:
        code = self._code(linear)
        return not code or hard(code, linear & 0xFFF)

    def _over_iret(self) -> tuple[int, bytes] | None:
        """Arm for an iretq to run to where it returns, on a KVM that would step one instruction further.

        An execute breakpoint at the return address takes the place of the step. Address and value of the flags in the
        frame, to be put back afterwards; None when it is no such instruction.
        """
        runner = self.runner
        if host_profile().steps_iret or runner.mode.bits != 64:
            return None
        info = runner.guest.space.classify_at(runner, runner.pc)
        if info is None or info.mnemonic not in ("iretq", "iretd"):
            return None
        width = 8 if info.mnemonic == "iretq" else 4
        try:
            back = runner.guest.space.read_linear(runner, runner.stack_pointer, 2 * width)
        except MemoryFault:
            return None
        if back[width] & 3 or not host_profile().kernel_execute_dr:
            return None  # to user code, where it cannot be held
        request = abi.kvm_guest_debug(control=abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_USE_HW_BP)
        request.debugreg[0] = int.from_bytes(back[:width], "little")
        request.debugreg[7] = 0x402
        at = runner.stack_pointer + 2 * width
        try:
            flags = runner.guest.space.read_linear(runner, at, width)
            without_rf = int.from_bytes(flags, "little") & ~(1 << 16)  # RF would hide the breakpoint
            runner.guest.space.write_linear(runner, at, without_rf.to_bytes(width, "little"))
        except MemoryFault:
            return None
        runner.debug(bytes(request))
        return at, flags

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
            asking = Asking(event, lambda: (self._step(before, watchful), not self.parked))
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
            if self.parked:
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

    def _registers(self) -> bytes:
        """struct kvm_regs as it is now."""
        return bytes(self.runner.vcpu.page[REGS:REGS_END])

    def _single_from_here(self) -> stops.Stop | None:
        return self._single(self._registers())

    def _watched(self) -> stops.Stop | None:
        """A step whose memory accesses are known before it runs."""
        watching = self.runner.watching
        return watching.around(self.runner.plan.stepped, self._single_from_here)

    def _single(self, before: bytes, entered: bool = False) -> stops.Stop | None:
        """One step, from registers ``before``; ``entered``: KVM_RUN has just returned."""
        runner = self.runner
        self.parked = self.delivered = self.halted = self.waits = False
        here = runner.pc
        if entered or here not in self._entry_points:
            return self._guarded(before, entered)
        physical = self._entry_points[here]
        if physical is None:
            runner.step_entries = tuple(entry for entry in runner.step_entries if entry != here)
            runner.debug_for_stepping()
        else:
            self._untrap(physical)
        try:
            return self._guarded(before, entered)
        finally:
            if here in self._entry_points:
                if physical is None:
                    runner.step_entries += (here,)
                    runner.debug_for_stepping()
                else:
                    self._trap(physical)

    def _guarded(self, before: bytes, entered: bool) -> stops.Stop | None:
        """The same; what a guard refuses is done with the guards lifted."""
        try:
            return self._one(before, entered)
        except GuardedAccess:
            return self.runner.watching.through_guards(lambda: self._one(self._registers(), False))

    def _one(self, before: bytes, entered: bool) -> stops.Stop | None:
        runner = self.runner
        vcpu = runner.vcpu
        own = before[RFLAGS + 1] & 1
        image, source = None, range(0)
        if not entered:
            if self.event_waits() and runner.step_trap is not None:
                return self._natively()
            if self._is_hard(runner.pc):
                if size := self._hlt_size():
                    stop = self._halt(size)
                    self._give_trap_flag(own, None)
                    return stop
                if (behind := self._behind_native()) is not None:
                    if own:
                        runner.set_general("rflags", runner.vcpu.regs.rflags & ~EFLAGS_TF)
                    stop = self._to_handler(behind)
                    self._give_trap_flag(own, None)
                    return stop
                if runner.step_trap is not None:  # else TF may have come into a frame by the debugger's steps
                    source = self._flags_source()
                    image = self._flags_in_memory(source)
                if (frame := self._over_iret()) is not None:
                    try:
                        self._run_to_return()
                    finally:
                        runner.forget()
                        runner.guest.space.write_linear(runner, *frame)
                        delivered = self._at_handler(vcpu.u32[U32_EXIT_REASON], before)
                        runner.debug_for_stepping()
                    if self.parked or delivered:
                        return None
                    if vcpu.u32[U32_EXIT_REASON] == exits.KVM_EXIT_DEBUG:
                        self._give_trap_flag(own, image)
                        return None
                    entered = True
        moves_debug_register = not entered and self._is_hard(runner.pc) and not source
        if source and image is None:
            with runner.watching.noting_device_reads() as reads:
                stop = self._stepped(before, entered)
            image = self._flags_from_devices(source, reads)
        else:
            stop = self._stepped(before, entered)
        if moves_debug_register:
            self._note_dr6()
        if stop is None or not (isinstance(stop, stops.FatalStop) or self._unmoved(before)):
            self._give_trap_flag(own, image)
        return stop

    def _run_to_return(self) -> None:
        """KVM_RUN, again after a kick that is not to stop the vCPU."""
        runner = self.runner
        while True:
            try:
                runner.vcpu.run()
            except InterruptedError:
                self.parked = runner.park()
                if not self.parked:
                    continue
            return

    def _behind_native(self) -> int | None:
        """Where the instruction at pc ends, if it is one that this KVM does not emulate but lets the CPU run: its own
        step would run the next one, too. None for others."""
        runner = self.runner
        if not host_profile().runs_on:
            return None
        code = runner.guest.space.code_at(runner, runner.pc, disasm.MAX_INSTRUCTION)
        at = 0
        while at < len(code) and code[at] in HARD_AND_PREFIXES:
            at += 1
        if code[at : at + 1] != b"\x0f" or code[at + 1] not in RUN_NATIVELY:
            return None
        found = disasm.decode(code, runner.mode.bits)
        if found is None and code[at + 2] < 0xC0:
            return None
        return runner.pc + (found.size if found is not None else at + 3)

    def _give_trap_flag(self, own: int, image: int | None) -> None:
        """After a step: give the guest its own EFLAGS.TF, which KVM hides in its steps, and the #DB that this brings.

        ``own``: whether it was set before the instruction; ``image``: what the instruction has loaded into EFLAGS.
        """
        if self.delivered:
            return
        runner = self.runner
        if own if image is None or self.parked else image & EFLAGS_TF:
            runner.set_general("rflags", runner.vcpu.regs.rflags | EFLAGS_TF)
        if own and not self.parked:
            runner.deliver(1, 0, dr6=DR6_BS)
            self._had_bs = self.waits = True

    def _stepped(self, before: bytes, entered: bool) -> stops.Stop | None:
        """One step by KVM's own single-stepping."""
        runner = self.runner
        vcpu = runner.vcpu
        for tries in range(self._tries):
            if not entered:
                try:
                    self._enter()
                except OSError as error:
                    runner.forget()
                    if runner.refused_by_guard(error):
                        raise GuardedAccess from None
                    return runner.refused(error)
            entered = False
            runner.arrive()
            reason = vcpu.u32[U32_EXIT_REASON]
            if reason == exits.KVM_EXIT_INTR:
                if runner.park():
                    self.parked = True
                    return None
                runner.debug_for_stepping()
                continue
            if self._at_handler(reason, before):
                return None
            if reason == exits.KVM_EXIT_DEBUG:
                if vcpu.kvm_run.debug.exception == 3:
                    runner.deliver(3, 0)
                    return self._delivery(before)
                if not vcpu.u64[U64_DEBUG_DR6] & (15 | 1 << 14) and runner.at_int1():
                    runner.deliver(1, 1)
                    return self._delivery(before)
                if vcpu.u64[U64_DEBUG_DR6] & 15 and runner.plan.holds_data_in_registers:
                    return runner._on_debug()
                if self._unmoved(before) and (tries < JUMP_TRIES or not self._jumps()):
                    runner.debug_for_stepping()
                    continue
                if host_profile().leaks_trap_flag or before[RFLAGS + 1] & 1:
                    self._correct_pushf(before)
                return None
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
        return None

    def _unmoved(self, before: bytes) -> bool:
        """Whether registers are as they were ``before``, but for EFLAGS.TF, which KVM hides in its steps."""
        now = self._registers()
        if now == before:
            return True
        flags = now[RFLAGS + 1] & 0xFE | before[RFLAGS + 1] & 1
        return now[: RFLAGS + 1] + bytes((flags,)) + now[RFLAGS + 2 :] == before

    def _hlt_size(self) -> int:
        """Bytes of the hlt at pc, on a KVM that lets a step pass it and halts later; 0 for all else."""
        runner = self.runner
        if not host_profile().halts_late or runner.cpl:
            return 0
        info = runner.guest.space.classify_at(runner, runner.pc)
        return info.size if info is not None and info.is_hlt else 0

    def _halt(self, size: int) -> stops.Stop | None:
        """Do the hlt at pc: the stop, or the vCPU waits behind it as it would in a free run."""
        runner = self.runner
        vcpu = runner.vcpu
        runner.set_general("rip", vcpu.regs.rip + size)
        runner.set_general("rflags", vcpu.regs.rflags & ~EFLAGS_RF)
        runner.flush()
        events = vcpu.get_events()
        if events.interrupt.shadow:  # of the sti before it
            events.interrupt.shadow = 0
            events.flags |= abi.KVM_VCPUEVENT_VALID_SHADOW
            vcpu.set_events(events)
        if not runner.guest.machine.irqchip:
            return runner.stop(stops.HaltedStop)
        vcpu.set_mp_state(abi.KVM_MP_STATE_HALTED)
        self.halted = True
        return None

    def _wait(self) -> stops.Stop | None:
        """Wait until an interrupt wakes the vCPU, which goes to its handler where interrupts may come into steps."""
        self.halted = False
        runner = self.runner
        with suppress(GuardedAccess):  # the frame of the interrupt meets a guard: a step delivers it
            return self._to_handler(runner.pc if runner.keeps_interrupts_out else None)
        return None

    def _delivery(self, before: bytes) -> stops.Stop | None:
        """Run until an event that was just handed to the guest is delivered."""
        runner = self.runner
        runner.vcpu.u8[abi.kvm_run.immediate_exit.offset] = 0
        if runner.step_trap is not None:
            return self._natively()
        runner.debug_for_stepping()
        return self._stepped(bytes(runner.vcpu.page[REGS:REGS_END]), False)

    def _natively(self) -> stops.Stop | None:
        """Deliver the event that waits: run to its handler without KVM's trap flag, which would be in the frame."""
        return self._to_handler()

    def _to_handler(self, target: int | None = None) -> stops.Stop | None:
        """Run without KVM's trap flag to a handler's entry, or to this linear address."""
        runner = self.runner
        vcpu = runner.vcpu
        before = bytes(vcpu.page[REGS:REGS_END])
        request = runner.to_handlers() if target is None else runner.to_address(target)
        runner.debug(request)
        try:
            while True:
                try:
                    fcntl.ioctl(vcpu.fd, abi.KVM_RUN, 0)
                except InterruptedError:
                    runner.forget()
                    if runner.park():
                        self.parked = bytes(vcpu.page[REGS:REGS_END]) == before
                        return None
                    runner.debug(request)
                    continue
                except BlockingIOError:
                    continue
                except OSError as error:
                    runner.forget()
                    if runner.refused_by_guard(error):
                        raise GuardedAccess from None
                    return runner.refused(error)
                runner.arrive()
                reason = vcpu.u32[U32_EXIT_REASON]
                if self._at_handler(reason, before):
                    return None
                if reason == exits.KVM_EXIT_DEBUG:
                    if runner.pc == target and vcpu.u64[U64_DEBUG_DR6] & 15:
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
        if runner.vcpu.kvm_run.debug.exception == 3:
            return runner.deliver(3, 0)
        dr6 = runner.vcpu.u64[U64_DEBUG_DR6]
        stop = runner._on_debug() if dr6 & 15 and runner.plan.holds_data_in_registers else None
        if dr6 & DR6_BS:
            runner.deliver(1, 0, dr6=DR6_BS)
            self._had_bs = True
        elif not dr6 & 15:
            runner.deliver(1, runner.at_int1())
        return stop

    def _flags_source(self) -> range:
        """Linear addresses of what popf or iret at pc is about to load into EFLAGS; none for another instruction."""
        runner = self.runner
        info = runner.guest.space.classify_at(runner, runner.pc)
        size = IMAGE_SIZES.get(info.mnemonic) if info is not None else None
        if info is None or size is None:
            return range(0)
        at = runner.stack_pointer + (2 * size if info.mnemonic.startswith("iret") else 0)
        return range(at, at + size)

    def _flags_in_memory(self, source: range) -> int | None:
        """What is there; None where that is no memory."""
        if not source:
            return None
        try:
            memory = self.runner.guest.space.read_linear(self.runner, source.start, len(source))
        except MemoryFault:
            return None
        return int.from_bytes(memory, "little")

    def _flags_from_devices(self, source: range, reads: dict[int, bytes]) -> int | None:
        """What the instruction has read there of devices (``reads``); None where it was not all of it."""
        space, memory = self.runner.guest.space, self.runner.guest.machine.memory
        given = {address + n: byte for address, data in reads.items() for n, byte in enumerate(data)}
        image = bytearray()
        for linear in source:
            physical = space.physical_of(self.runner, linear)
            if physical is not None and memory.find(physical) is not None:
                image += memory.read(physical, 1)
            elif physical in given:
                image.append(given[physical])
            else:
                return None
        return int.from_bytes(image, "little")

    def event_waits(self) -> bool:
        """Whether KVM is about to deliver an exception or interrupt, before the instruction at pc.

        Of #BP and #OF it does not tell.
        An exception that is pending is made an injected one: KVM drops it where registers are written before it runs.
        RF is in the frame of a fault, which KVM sees to for pending ones only.
        """
        vcpu = self.runner.vcpu
        events = vcpu.get_events()
        if events.exception.injected or events.exception.pending:
            events.flags &= ~abi.KVM_VCPUEVENT_VALID_PAYLOAD
            events.exception.injected, events.exception.pending = 1, 0
            vcpu.set_events(events)
            if events.exception.nr not in NO_FAULTS and not vcpu.regs.rflags & EFLAGS_RF:
                self.runner.set_general("rflags", vcpu.regs.rflags | EFLAGS_RF)
            return True
        return bool(events.interrupt.injected or events.nmi.injected)

    def _enter(self) -> None:
        """KVM_RUN for one step; a kick reads as KVM_EXIT_INTR.

        The step's TF is asked for each time: KVM drops it from the guest's flags when it
        emulates an instruction, and so do popf, iret and INIT. KVM hides it when it gives
        the flags back.
        """
        vcpu = self.runner.vcpu
        while True:
            vcpu.page[U8_RFLAGS_TF] |= 1
            vcpu.u64[U64_DIRTY_REGS] |= abi.KVM_SYNC_X86_REGS
            try:
                fcntl.ioctl(vcpu.fd, abi.KVM_RUN, 0)
            except InterruptedError:
                vcpu.u32[U32_EXIT_REASON] = exits.KVM_EXIT_INTR
            except BlockingIOError:  # INIT or SIPI woke it
                continue
            return

    def _jumps(self) -> bool:
        """Whether the instruction at pc may end where it began with no register changed: ``jmp $``."""
        runner = self.runner
        info = runner.guest.space.classify_at(runner, runner.pc)
        return info is not None and info.is_jump

    # --- events that are delivered during a step ----------------------------------------------------

    @contextmanager
    def _handlers_trapped(self) -> Iterator[None]:
        """While inside, the entries of the guest's handlers end a step, where it would run through them.

        They are held in debug registers as far as there are any, which the guest cannot read; by traps beyond.
        """
        self._note_dr6()
        try:
            self._trap_handlers()
            yield
        finally:
            self._release_handlers()
            self.runner.take_waiting_trap()

    def _release_handlers(self) -> None:
        runner = self.runner
        runner.guest.traps.lift(*self._entries - runner.plan.traps)
        self._entries.clear()
        self._entry_points.clear()
        runner.step_entries, runner.step_trap = (), None

    def _note_table(self) -> None:
        """Remember the guest's table of handlers, to see when it is another one."""
        runner = self.runner
        guest, idt = runner.guest, runner.sregs.idt
        self._idtr = runner.vcpu.raw[IDTR:IDTR_END]
        self._table = []
        at, end = idt.base, idt.base + min(idt.limit + 1, 1024 if runner.mode.segmented else 4096)
        while at < end:
            size = min(end - at, 4096 - at % 4096)
            physical = guest.space.physical_of(runner, at)
            region = None if physical is None else guest.machine.memory.find(physical)
            if physical is not None and region is not None:
                start = physical - region.address
                self._table.append((region.mapping, start, start + size, region.mapping[start : start + size]))
            at += size

    def _trap_handlers(self) -> None:
        runner = self.runner
        guest = runner.guest
        self._note_table()
        if host_profile().steps_into_handlers:
            return
        trap = self._kernel_trap
        self._dx_serves = self._out_exits()
        if trap is None or host_profile().by_mode["user"].step < bool(runner.cpl):
            return
        if trap == OUT and not self._dx_serves:
            return
        sregs = runner.sregs
        entries = handler_entries(
            lambda at, size: guest.space.read_linear(runner, at, size),
            sregs.idt.base,
            sregs.idt.limit,
            runner.mode,
        )
        table = min(sregs.idt.limit + 1, 1024 if runner.mode.segmented else 4096)
        idt = range(sregs.idt.base, sregs.idt.base + table)
        plantable = {}
        others = []
        for linear in entries:
            physical = guest.space.physical_of(runner, linear)
            known = physical is not None and linear not in idt and guest.machine.memory.find(physical)
            if physical is not None and known and guest.vectors.is_handler(runner, linear):
                plantable[linear] = physical
            else:
                others.append(linear)
        free = runner.free_debug_registers if host_profile().kernel_execute_dr else 0
        held = (others + list(plantable))[:free]
        self._entry_points.update(dict.fromkeys(held))
        runner.step_entries, runner.step_trap = tuple(held), trap
        for linear, physical in plantable.items():
            if linear not in self._entry_points:
                self._entry_points[linear] = physical
                self._trap(physical)

    @property
    def _kernel_trap(self) -> int | None:
        """The byte to plant at handlers' entries, if any exits there."""
        guest = self.runner.guest
        trap = self.runner.plan.trap or host_profile().kernel_trap
        if trap != HLT or not guest.machine.irqchip:
            return trap
        return None if host_profile().out_is_past or len(guest.world.runners) > 1 else OUT

    def _out_exits(self) -> bool:
        """Whether OUT is an exit, as DX is now: neither the kernel's chips nor a ring take what is written."""
        port = self.runner.vcpu.u16[U16_DX]
        return port not in KERNEL_PORTS and port not in self.runner.guest.coalescing.ports

    @property
    def entries(self) -> set[int]:
        """Guest-physical addresses of the traps at the entries of handlers."""
        return self._entries

    def _trap(self, physical: int) -> None:
        assert self.runner.step_trap is not None
        self._entries.add(physical)
        self.runner.guest.traps.plant(physical, self.runner.step_trap)

    def _untrap(self, physical: int) -> None:
        self._entries.discard(physical)
        self.runner.guest.traps.lift(physical)

    def _at_handler(self, reason: int, before: bytes) -> bool:
        """Whether the exit is at the entry of a handler that is trapped; ip is there then."""
        if not self._entry_points:
            return False
        runner = self.runner
        trap = runner.step_trap
        pc = runner.pc
        if reason == exits.KVM_EXIT_DEBUG and runner.vcpu.kvm_run.debug.exception != 3:
            fired = runner.vcpu.u64[U64_DEBUG_DR6] & 15
            if not fired or pc not in runner.step_entries:
                return False
        elif trap == HLT and reason == exits.KVM_EXIT_HLT:
            pc -= 1
            if runner.guest.space.physical_of(runner, pc) not in self._entries:
                return False
            runner.set_general("rip", runner.vcpu.regs.rip - 1)
        elif trap == OUT and reason == exits.KVM_EXIT_IO:
            if runner.guest.space.physical_of(runner, pc) not in self._entries:
                return False
            self._undo_out()
        elif (trap == INT3 and reason == exits.KVM_EXIT_DEBUG) or (
            trap == INT1 and reason == exits.KVM_EXIT_INTERNAL_ERROR
        ):
            if runner.guest.space.physical_of(runner, pc) not in self._entries:
                return False
        else:
            return False
        self.delivered = True
        self._correct_frame(before)
        self._clear_single_step()
        runner.debug_for_stepping()
        return True

    def _undo_out(self) -> None:
        """After the exit for an OUT of ours: have KVM end it, and ip at it again."""
        runner = self.runner
        entry = runner.vcpu.regs.rip
        runner.must_complete = True
        runner.complete()
        runner.set_general("rip", entry)

    def frame(self, before: bytes) -> tuple[int, int] | None:
        """Linear address and size of what the delivery of an event has just pushed, from registers ``before`` it.

        Known by the return address, that of the instruction or one behind it; None where it is none.
        """
        runner = self.runner
        width = runner.mode.bits // 8
        stack = runner.stack_pointer
        rip = int.from_bytes(before[RIP : RIP + 8], "little")
        mask = (1 << width * 8) - 1
        slots = 5 if width == 8 else 3
        for error_code in (0, width):
            try:
                back = runner.guest.space.read_linear(runner, stack + error_code, width)
            except MemoryFault:
                return None
            if (int.from_bytes(back, "little") - rip) & mask <= 15:
                return stack, error_code + slots * width
        return None

    def _clear_single_step(self) -> None:
        """Clear DR6.BS that KVM may have set in the guest's DR6 for its own step, if the guest had it clear."""
        vcpu = self.runner.vcpu
        debugregs = vcpu.get_debugregs()
        if debugregs.dr6 & DR6_BS and not self._had_bs:
            debugregs.dr6 &= ~DR6_BS
            vcpu.set_debugregs(debugregs)

    def _note_dr6(self) -> None:
        self._had_bs = bool(self.runner.vcpu.get_debugregs().dr6 & DR6_BS)

    def _correct_frame(self, before: bytes) -> None:
        """After the delivery of an event: have EFLAGS.TF in its frame as the guest had it."""
        frame = self.frame(before)
        if frame is not None:
            width = self.runner.mode.bits // 8
            _, size = frame
            error_code = size % (5 * width if width == 8 else 3 * width)
            self._correct_pushed(error_code + 2 * width, width, before)

    def _correct_pushf(self, before: bytes) -> None:
        """After a step over pushf: have EFLAGS.TF in the pushed image as the guest had it."""
        runner = self.runner
        rsp = int.from_bytes(before[RSP : RSP + 8], "little")
        width = (rsp - runner.vcpu.u64[U64_RSP]) & 0xFFFF
        if width not in (2, 4, 8):
            return
        rip = int.from_bytes(before[RIP : RIP + 8], "little")
        info = runner.guest.space.classify_at(runner, runner.cs_base + rip)
        if info is not None and info.is_pushf:
            self._correct_pushed(0, width, before)

    def _correct_pushed(self, offset: int, width: int, before: bytes) -> None:
        """Have EFLAGS.TF in an image of EFLAGS on the stack as the guest had it in registers ``before``."""
        runner = self.runner
        guest = runner.guest
        at = runner.stack_pointer + offset
        own = EFLAGS_TF if before[RFLAGS + 1] & 1 else 0
        try:
            flags = int.from_bytes(guest.space.read_linear(runner, at, width), "little")
            if flags & EFLAGS_TF != own and flags & 2 and not flags & 0x8028:
                guest.space.write_linear(runner, at, (flags ^ EFLAGS_TF).to_bytes(width, "little"))
        except MemoryFault:
            return

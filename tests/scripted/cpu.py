"""A vCPU that plays exits one after the other, or a few instructions given as Python functions."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from ctypes import Structure, addressof, memmove, sizeof
from typing import TypeVar

from kvmdbg.kvm import abi, exits
from kvmdbg.kvm.counted_port import CountedPort
from kvmdbg.kvm.run_page import UNFINISHED
from kvmdbg.kvm.stride_terms import StrideTerms
from kvmdbg.machine import kick
from kvmdbg.machine.memory import PAGE, Guard, GuestMemory
from kvmdbg.machine.strides import stride
from kvmdbg.x86.modes import mode_of
from kvmdbg.x86.registers import DR6_BS, EFLAGS_IF, EFLAGS_TF

P = TypeVar("P", bound=CountedPort)
S = TypeVar("S", bound=Structure)

Play = Callable[["ScriptedCpu"], None]
"""What one entry into the guest does: memory effects, registers, ``leave``; or it raises an OSError."""
Work = Generator[exits.Exit, None, None]
Instruction = Callable[["ScriptedCpu"], Work | None]
"""What an instruction does beside that rip goes on. It yields the exits that it has; behind the ``yield`` of a read
``io_data`` or ``mmio_data`` is what was read."""

LOW32 = (1 << 32) - 1


def copied(structure: S) -> S:
    return type(structure).from_buffer_copy(structure)


class EndOfScript(AssertionError):
    """The guest runs on behind what the test has written."""


class ScriptedCpu:
    """A ``Cpu`` (kvmdbg/machine/cpu.py) of a machine with ``memory``.

    It plays ``plays``, and runs ``program``, instructions by linear address, when there is none left. ``pieces`` are
    played when an exit's instruction is completed. ``out_is_past``: rip is behind an ``out`` at its exit.
    """

    counts_instructions = False
    instructions_left: int | None = None
    entered_handler = False

    def __init__(self, memory: GuestMemory, *, out_is_past: bool = False) -> None:
        self.index = 0
        self.memory = memory
        self.plays: list[Play] = []
        self.pieces: list[Play] = []
        self.program: Mapping[int, tuple[int, Instruction]] = {}
        """Each instruction's size, and what it does."""
        self.entries = self.completions = 0
        self.control, self.debugreg = 0, (0,) * 8
        """What ``set_guest_debug`` was given last."""
        self.msr_answer: int | None = None
        self.hypercall_answer: int | None = None
        self.ring = None
        self.exits_left = 0
        self.halted = self.wants_window = False
        self.interrupts: list[int] = []
        """The vectors that came in, in order."""
        self.regs = abi.kvm_regs(rflags=2)
        self.regs_written = False
        self._out_is_past = out_is_past
        self._taken = copied(self.regs)
        self._sregs = abi.kvm_sregs()
        self.sregs_at_reset = bytes(self._sregs)
        self.shares_sregs = False
        self._others: dict[type[Structure], Structure] = {}
        self._msrs: dict[int, int] = {}
        self._window = False
        self._work: Work | None = None
        self._behind = 0
        self._exit: exits.Exit = exits.UnknownExit(0, 0)
        self.reason = 0
        self._data = bytearray()
        self._mmio_data = bytearray(8)

    # --- running -----------------------------------------------------------------------------------

    def run(self) -> None:
        if self.regs_written:
            self.set_regs(self.regs)
            self.regs_written = False
        self.entries += 1
        self.reason = exits.KVM_EXIT_INTR
        try:
            if self.plays:
                self.plays.pop(0)(self)
            elif self.program:
                self._run_program()
            else:
                raise EndOfScript("the guest runs on behind the end of the script")
        finally:
            self._taken = copied(self.regs)

    def complete(self) -> bool:
        self.completions += 1
        self.reason = exits.KVM_EXIT_INTR
        if self.pieces:
            self.pieces.pop(0)(self)
            return True
        return self._work is not None and self._goes_on()

    def free_run(
        self, ports: Mapping[int, P], note: Callable[[tuple[P, bytes]], object], collected: Callable[[], None]
    ) -> Callable[[], P | None]:
        def enter() -> P | None:
            while True:
                self._window = self.wants_window
                try:
                    self.run()
                finally:
                    self._window = False
                port = ports.get(self.io_key) if self.reason == exits.KVM_EXIT_IO else None
                if port is None:
                    return None
                port.count += 1
                note((port, self.registers_at_exit()))
                if self.exits_left == 1 or not port.quiet:
                    return port
                self.exits_left -= 1

        return enter

    def step(self) -> int | None:
        rip = self.regs.rip
        try:
            self.run()
        except (InterruptedError, BlockingIOError):
            return None
        stepped = isinstance(self._exit, exits.DebugExit) and self._exit.exception == 1 and not self.debug_dr6 & 15
        return self.debug_pc if stepped and self.regs.rip != rip else None

    def stride(self, terms: StrideTerms, code: memoryview | bytes, pc: int, most: int) -> tuple[int, int | None, bytes]:
        return stride(self, terms, code, pc, most)

    def set_guest_debug(self, control: int, debugreg: tuple[int, ...] = ()) -> None:
        self.control, self.debugreg = control, debugreg or (0,) * 8

    def set_signal_mask(self, *unblocked: int) -> None:
        pass

    # --- instructions ------------------------------------------------------------------------------

    @property
    def pc(self) -> int:
        """The linear address of the next instruction."""
        sregs, rip = self._sregs, int(self.regs.rip)
        mode = mode_of(sregs.cr0, sregs.efer, self.regs.rflags, sregs.cs.l, sregs.cs.db)
        return rip if mode.bits == 64 else int(sregs.cs.base) + rip & LOW32

    @property
    def stack(self) -> int:
        """The linear address of the top of a 16-bit stack."""
        return int(self._sregs.ss.base) + (int(self.regs.rsp) & 0xFFFF)

    @property
    def _steps(self) -> bool:
        return bool(self.control & abi.KVM_GUESTDBG_SINGLESTEP)

    def _run_program(self) -> None:
        self.regs.rflags &= ~EFLAGS_TF
        self._deliver_interrupt()
        if self._work is not None and self._goes_on():
            return
        while True:
            if kick.pending():
                raise InterruptedError(errno.EINTR, "kicked")
            if self._window and self.takes_interrupt():
                self.leave(exits.IrqWindowExit())
                return
            pc = self.pc
            if self._meets_trap(pc):
                return
            if pc not in self.program:
                raise EndOfScript(f"there is no instruction at {pc:#x}")
            size, does = self.program[pc]
            before = self._watched()
            self._behind = self.regs.rip + size
            self._work = does(self)
            if self._work is None:
                self._end_instruction()
            elif self._goes_on():
                return
            if self._debug_exit(before):
                return

    def _debug_exit(self, before: list[bytes]) -> bool:
        """Whether the instruction that has just ended leads to an exit of its step, or of a data debug register."""
        fired = sum(1 << n for n, (old, new) in enumerate(zip(before, self._watched(), strict=True)) if old != new)
        if self._steps or fired:
            self.leave(exits.DebugExit(1, self.pc, fired | (DR6_BS if self._steps else 0), self.debugreg[7]))
        return bool(self._steps or fired)

    def _end_instruction(self) -> None:
        if self._behind:
            self.regs.rip = self._behind
        self._work, self._behind = None, 0

    def _goes_on(self) -> bool:
        """Run the instruction at hand on; whether it has another exit."""
        assert self._work is not None
        try:
            exit = next(self._work)
        except StopIteration:
            self._end_instruction()
            return False
        if isinstance(exit, exits.IoExit | exits.MmioExit) and self._is_past(exit):
            self.regs.rip, self._behind = self._behind or self.regs.rip, 0
        self.leave(exit)
        return True

    def _is_past(self, exit: exits.IoExit | exits.MmioExit) -> bool:
        return exit.direction == "write" or (exit.direction == "out" and self._out_is_past)

    def jump(self, rip: int) -> None:
        """For an instruction: what comes next is not what lies behind it."""
        self.regs.rip, self._behind = rip, 0

    def _meets_trap(self, pc: int) -> bool:
        """Whether an execute debug register or a trap in memory ends the run before the instruction at ``pc``."""
        for number in range(4):
            enabled = self.control & abi.KVM_GUESTDBG_USE_HW_BP and self.debugreg[7] >> 2 * number & 3
            if enabled and not self.debugreg[7] >> 16 + 4 * number & 3 and self.debugreg[number] == pc:
                self.leave(exits.DebugExit(1, pc, 1 << number, self.debugreg[7]))
                return True
        trap = self.memory.read(pc, 1)[0] if self.memory.find(pc) else 0
        if trap == 0xCC and self.control & abi.KVM_GUESTDBG_USE_SW_BP:
            self.leave(exits.DebugExit(3, pc, 0, 0))
        elif trap == 0xF1:
            self.leave(exits.InternalErrorExit(exits.SUBERROR_EMULATION, (), b""))
        elif trap == 0xF4:
            self.regs.rip += 1
            self.leave(exits.HltExit())
        else:
            return False
        return True

    def _watched(self) -> list[bytes]:
        """What the enabled data debug registers look at; empty for the others."""
        values = []
        for number in range(4):
            bits = self.debugreg[7] >> 16 + 4 * number & 15
            enabled = self.control & abi.KVM_GUESTDBG_USE_HW_BP and self.debugreg[7] >> 2 * number & 3
            size = {0: 1, 1: 2, 3: 4, 2: 8}[bits >> 2]
            values.append(self.memory.read(self.debugreg[number], size) if enabled and bits & 3 else b"")
        return values

    def store(self, address: int, data: bytes) -> Iterator[exits.Exit]:
        """For an instruction, by ``yield from``: write to guest-physical memory, or to where there is none."""
        if self.memory.restartable and self._guard(address) is not None:
            raise OSError(errno.EFAULT, "Bad address")
        if self.memory.find(address) is None or self._guard(address) is not None:
            yield exits.MmioExit("write", address, len(data), data)
        else:
            self.memory.write(address, data)

    def _guard(self, address: int) -> Guard | None:
        return self.memory.guards.get(address & -PAGE)

    # --- the last exit -----------------------------------------------------------------------------

    def leave(self, exit: exits.Exit, *, to: int | None = None) -> None:
        """The entry ends with this exit, with rip at ``to``."""
        self._exit = exit
        self.reason = exit.reason if isinstance(exit, exits.UnknownExit) else exit.number
        if to is not None:
            self.regs.rip = to
        if isinstance(exit, exits.IoExit):
            self._data = bytearray(exit.data.ljust(exit.size * exit.count, b"\xaa"))
        elif isinstance(exit, exits.MmioExit):
            self._mmio_data[:] = exit.data.ljust(8, b"\0")

    @property
    def unfinished(self) -> bool:
        return self.reason in UNFINISHED

    def exit(self) -> exits.Exit:
        return self._exit

    @property
    def io_key(self) -> int:
        exit = self._exit
        assert isinstance(exit, exits.IoExit)
        return exit.port << 16 | exit.size << 8 | (exit.direction == "out")

    @property
    def io_data(self) -> memoryview:
        return memoryview(self._data)

    @property
    def mmio(self) -> tuple[int, int, bool]:
        exit = self._exit
        assert isinstance(exit, exits.MmioExit)
        return exit.address, exit.size, exit.direction == "write"

    @property
    def mmio_data(self) -> memoryview:
        return memoryview(self._mmio_data)

    @property
    def _debug_exit_now(self) -> exits.DebugExit:
        assert isinstance(self._exit, exits.DebugExit)
        return self._exit

    @property
    def debug_exception(self) -> int:
        return self._debug_exit_now.exception

    @property
    def debug_pc(self) -> int:
        return self._debug_exit_now.pc

    @property
    def debug_dr6(self) -> int:
        return self._debug_exit_now.dr6

    def answer_msr(self, value: int | None) -> None:
        self.msr_answer = value

    def answer_hypercall(self, result: int) -> None:
        self.hypercall_answer = result

    # --- registers ---------------------------------------------------------------------------------

    def copy_of_regs(self) -> bytes:
        return bytes(self.regs)

    def registers_at_exit(self) -> bytes:
        return bytes(self.regs) + (bytes(self._sregs) if self.shares_sregs else b"")

    def write_regs(self, data: bytes | None = None) -> None:
        if data is not None:
            memmove(addressof(self.regs), data, sizeof(self.regs))
        self.regs_written = True

    def show_regs(self, data: bytes) -> None:
        memmove(addressof(self.regs), data, sizeof(self.regs))
        self.regs_written = False

    def flush_regs(self) -> None:
        if self.regs_written:
            self.set_regs(self.regs)
            self.regs_written = False

    def get_regs(self) -> abi.kvm_regs:
        return copied(self._taken)

    def set_regs(self, regs: abi.kvm_regs) -> None:
        self._taken = copied(regs)

    def get_sregs(self) -> abi.kvm_sregs:
        return copied(self._sregs)

    def set_sregs(self, sregs: abi.kvm_sregs) -> None:
        self._sregs = copied(sregs)

    def share_sregs(self, now: abi.kvm_sregs) -> None:
        self.shares_sregs = True

    def unshare_sregs(self) -> None:
        self.shares_sregs = False

    @property
    def shared_sregs(self) -> abi.kvm_sregs | None:
        return copied(self._sregs) if self.shares_sregs else None

    @property
    def shared_idtr(self) -> bytes:
        return bytes(self._sregs.idt)

    @property
    def shared_cr3(self) -> int:
        return int(self._sregs.cr3)

    # --- other state -------------------------------------------------------------------------------

    def _get(self, kind: type[S]) -> S:
        return kind.from_buffer_copy(self._others.get(kind, kind()))

    def _set(self, structure: Structure) -> None:
        self._others[type(structure)] = copied(structure)

    def get_xsave(self) -> abi.kvm_xsave:
        return self._get(abi.kvm_xsave)

    def set_xsave(self, xsave: abi.kvm_xsave) -> None:
        self._set(xsave)

    def get_xcrs(self) -> abi.kvm_xcrs:
        return self._get(abi.kvm_xcrs)

    def set_xcrs(self, xcrs: abi.kvm_xcrs) -> None:
        self._set(xcrs)

    def get_debugregs(self) -> abi.kvm_debugregs:
        return self._get(abi.kvm_debugregs)

    def set_debugregs(self, debugregs: abi.kvm_debugregs) -> None:
        self._set(debugregs)

    def get_msr(self, index: int) -> int | None:
        return self._msrs.get(index)

    def set_msr(self, index: int, value: int) -> bool:
        self._msrs[index] = value
        return True

    def get_msrs(self, indices: Sequence[int]) -> bytes:
        return b""

    def set_msrs(self, entries: bytes) -> None:
        pass

    def get_events(self) -> abi.kvm_vcpu_events:
        return self._get(abi.kvm_vcpu_events)

    def holds_event(self) -> bool:
        events = self.get_events()
        return bool(events.exception.injected or events.interrupt.injected or events.nmi.injected)

    def set_events(self, events: abi.kvm_vcpu_events) -> None:
        self._set(events)

    def takes_interrupt(self) -> bool:
        return bool(self.regs.rflags & EFLAGS_IF) and not self.holds_event()

    def interrupt(self, vector: int) -> None:
        self.interrupts.append(vector)
        events = self.get_events()
        events.interrupt.injected, events.interrupt.nr = 1, vector
        self.set_events(events)

    def _deliver_interrupt(self) -> None:
        """In real mode, on the stack and by the table at 0; after the instruction whose exit has been served."""
        events = self.get_events()
        if not events.interrupt.injected:
            return
        if self._work is not None:
            self._goes_on()
        for value in (self.regs.rflags, self._sregs.cs.selector, self.regs.rip):
            self.regs.rsp = self.regs.rsp - 2 & 0xFFFF
            self.memory.write(self.stack, int(value & 0xFFFF).to_bytes(2, "little"))
        vector = self.memory.read(4 * events.interrupt.nr, 4)
        self.regs.rip = int.from_bytes(vector[:2], "little")
        self._sregs.cs.selector = int.from_bytes(vector[2:], "little")
        self._sregs.cs.base = self._sregs.cs.selector << 4
        self.regs.rflags &= ~(EFLAGS_IF | EFLAGS_TF)
        events.interrupt.injected = 0
        self.set_events(events)

    def interrupt_return(self) -> None:
        """For an instruction: what iret does, in real mode."""
        words = [self.memory.read(self.stack + 2 * n, 2) for n in range(3)]
        ip, cs, flags = (int.from_bytes(word, "little") for word in words)
        self.regs.rsp = self.regs.rsp + 6 & 0xFFFF
        self._sregs.cs.selector, self._sregs.cs.base = cs, cs << 4
        self.regs.rflags = flags | 2
        self.jump(ip)

    def get_tsc_khz(self) -> int:
        return 0

    def get_mp_state(self) -> int:
        return abi.KVM_MP_STATE_HALTED if self.halted else abi.KVM_MP_STATE_RUNNABLE

    def set_mp_state(self, state: int) -> None:
        self.halted = state == abi.KVM_MP_STATE_HALTED

    def get_lapic(self) -> abi.kvm_lapic_state:
        return self._get(abi.kvm_lapic_state)

    def set_lapic(self, lapic: abi.kvm_lapic_state) -> None:
        self._set(lapic)

    def get_cpuid(self) -> abi.kvm_cpuid2:
        return abi.kvm_cpuid2()

    def close(self) -> None:
        pass

"""What this host's KVM really does with traps, debug registers and single steps.

KVM's flavours differ (hardware, nested, in software), so each behaviour that the
debugger builds on is tried once in a process on a throw-away VM of a few
instructions, in each mode, and never derived from the module's name.
"""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from kvmdbg.kvm import System, Vcpu, abi, exits
from kvmdbg.machine.kick import KICK_SIGNAL
from kvmdbg.machine.layout import TSS_ADDRESS
from kvmdbg.machine.memory import Guard, GuestMemory
from kvmdbg.record import record
from kvmdbg.x86 import modes
from kvmdbg.x86.registers import EFLAGS_TF

INT3, INT1, HLT = 0xCC, 0xF1, 0xF4
EFER_SCE, MSR_STAR, MSR_LSTAR, MSR_FMASK = 1, 0xC0000081, 0xC0000082, 0xC0000084
TRAP_NAMES = {INT3: "int3", INT1: "int1", HLT: "hlt"}

CODE, DATA, HANDLER, TABLES, GDT = 0x1000, 0x500, 0x800, 0x4000, 0x7000
WHENCE = ("real", "prot32", "long", "user")


@record
class Behaviour:
    """What works in one mode. ``trap`` is the byte to plant, None where none stops.

    ``execute_dr`` and ``data_dr``: debug registers fire for execution and for data.
    ``step``: KVM_GUESTDBG_SINGLESTEP ends in an exit after one instruction.
    """

    trap: int | None
    execute_dr: bool
    data_dr: bool
    step: bool


@record
class HostProfile:
    """Behaviour by mode: "real", "prot32", "long" (all CPL 0) and "user" (long mode, CPL 3)."""

    by_mode: dict[str, Behaviour]
    steps_into_handlers: bool
    """A step over ``int n`` or a faulting instruction ends at the handler's entry, not somewhere behind it."""
    leaks_trap_flag: bool
    """A step over ``pushf`` leaves TF in the pushed image."""
    steps_iret: bool
    """A step over ``iretq`` ends at the instruction it returns to."""
    halts_late: bool
    """A step over ``hlt`` ends as any other; KVM_EXIT_HLT comes after the instruction behind it."""
    runs_on: bool
    """A step over a fence or ``endbr64`` runs the next instruction, too."""
    int1_before: bool
    """The debug exit for an ``int1`` of the guest's own stands at it, not behind it."""

    out_is_past: bool
    """At the exit for an ``out`` rip is behind the instruction."""

    guards_restart: bool
    """An access to a page that the host's protection guards ends KVM_RUN with EFAULT before anything of the instruction
    is done."""
    step_trap_waits: bool
    """After a step over an instruction that KVM itself completes the step's trap still waits: a guest that runs on
    freely gets it as a #DB of its own."""

    steps_system_calls: bool = True
    """A step over SYSCALL ends where that leads, with no TF in R11 where IA32_FMASK clears it, and one over SYSRET."""

    def behaviour(self, mode: modes.Mode, cpl: int = 0) -> Behaviour:
        """The behaviour in this mode and privilege level."""
        if cpl == 3 and mode.name != "v86":
            return self.by_mode["user"]
        if mode.segmented:
            return self.by_mode["real"]
        return self.by_mode["long" if mode.bits == 64 else "prot32"]

    @property
    def emulates(self) -> bool:
        """Whether KVM's emulator runs all kernel code. It then forgets the #DB of the guest's own EFLAGS.TF behind a
        write to a port or a device, and behind what the CPU runs instead, and raises one behind ``int n``. (Behind
        ``outs`` it forgets it on every KVM.)"""
        return self.runs_on

    @property
    def kernel_trap(self) -> int | None:
        """One byte that stops at CPL 0 in every mode, or None."""
        traps = {self.by_mode[name].trap for name in ("real", "prot32", "long")}
        return traps.pop() if len(traps) == 1 else None

    @property
    def kernel_execute_dr(self) -> bool:
        return all(self.by_mode[name].execute_dr for name in ("real", "prot32", "long"))

    @property
    def kernel_data_dr(self) -> bool:
        return all(self.by_mode[name].data_dr for name in ("real", "prot32", "long"))


class _Prober:
    """One VM of 64 KiB, set up anew for each question."""

    def __init__(self) -> None:
        self.system = System()
        self.vm = self.system.create_vm()
        if self.system.check_extension(abi.KVM_CAP_EXIT_ON_EMULATION_FAILURE):
            self.vm.enable_capability(abi.KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1)
        self.vm.set_tss_address(TSS_ADDRESS)
        self.memory = GuestMemory(self.vm)
        self.memory.add(0, 0x10000)
        self.vcpu: Vcpu = self.vm.create_vcpu(0)
        self.vcpu.set_cpuid(self.system.supported_cpuid())
        self.vcpu.set_signal_mask(KICK_SIGNAL)
        self.reset = self.vcpu.get_sregs()
        self.memory.write(HANDLER, bytes((HLT,)))
        for vector in range(32):
            self.memory.write(vector * 4, HANDLER.to_bytes(4, "little"))
        self.memory.write(TABLES, (TABLES + 0x1000 | 7).to_bytes(8, "little"))
        self.memory.write(TABLES + 0x1000, (TABLES + 0x2000 | 7).to_bytes(8, "little"))
        self.memory.write(TABLES + 0x2000, (0x87).to_bytes(8, "little"))

    def set_up(self, whence: str, code: bytes) -> None:
        sregs = abi.kvm_sregs.from_buffer_copy(self.reset)
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            segment: Any = getattr(sregs, name)
            segment.base = 0
            segment.selector = 0
            if whence == "real":
                continue
            ring = 3 if whence == "user" else 0
            segment.limit = 0xFFFFFFFF
            segment.g = segment.s = segment.present = 1
            segment.type = 11 if name == "cs" else 3
            segment.l = 1 if name == "cs" and whence != "prot32" else 0
            segment.db = 0 if segment.l else 1
            segment.dpl = ring
            segment.selector = (8 if name == "cs" else 16) | ring
        if whence != "real":
            sregs.cr0 |= modes.CR0_PE
            sregs.idt.limit = 0
        if whence in ("long", "user"):
            sregs.cr3 = TABLES
            sregs.cr4 |= modes.CR4_PAE
            sregs.efer |= modes.EFER_LME | modes.EFER_LMA
            sregs.cr0 |= modes.CR0_PG
        self.memory.write(CODE, code + b"\xf4" * 8)
        self.memory.write(DATA, bytes(8))
        self.vcpu.set_guest_debug(0)
        self.vcpu.set_sregs(sregs)
        self.vcpu.set_regs(abi.kvm_regs(rip=CODE, rflags=2, rsp=0x3000, rbx=DATA, rdi=DATA))
        events = self.vcpu.get_events()
        self.vcpu.set_events(abi.kvm_vcpu_events(flags=events.flags & 0))

    def run(self) -> exits.Exit | None:
        """The next exit, or None when there is none within 200 ms or KVM refuses to run.

        That is time of the CPU's: on a busy host the clock's may pass before the guest has done anything.
        """
        thread, ended = threading.get_ident(), threading.Event()
        clock = time.pthread_getcpuclockid(thread)
        limit, last = time.clock_gettime(clock) + 0.2, time.monotonic() + 10

        def watch() -> None:
            while not ended.wait(0.05):
                if time.clock_gettime(clock) > limit or time.monotonic() > last:
                    signal.pthread_kill(thread, KICK_SIGNAL)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            self.vcpu.run()
        except OSError:
            return None
        finally:
            ended.set()
            watcher.join()
            while signal.sigtimedwait([KICK_SIGNAL], 0) is not None:
                pass
        return self.vcpu.exit()

    def trap_works(self, whence: str, trap: int) -> bool:
        self.set_up(whence, bytes((0x90, trap, 0x90)))
        if trap == INT3:
            self.vcpu.set_guest_debug(abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_USE_SW_BP)
        end, rip = self.run(), self.vcpu.regs.rip
        if trap == INT3:
            return isinstance(end, exits.DebugExit) and end.exception == 3 and rip == CODE + 1
        if trap == INT1:
            failed = isinstance(end, exits.InternalErrorExit) and end.suberror == exits.SUBERROR_EMULATION
            return failed and rip == CODE + 1
        return isinstance(end, exits.HltExit) and rip == CODE + 2

    def debug_register_works(self, whence: str, *, data: bool) -> bool:
        self.set_up(whence, b"\x90\x88\x07\x90\x90")  # nop; mov [rdi or bx], al; nop
        control = abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_USE_HW_BP
        address, dr7 = (DATA, 0x402 | 1 << 16) if data else (CODE + 3, 0x402)
        self.vcpu.set_guest_debug(control, (address, 0, 0, 0, 0, 0, 0, dr7))
        end = self.run()
        return isinstance(end, exits.DebugExit) and bool(end.dr6 & 1) and self.vcpu.regs.rip == CODE + 3

    def step_once(self) -> bool:
        """Step until rip moves; whether it did."""
        self.vcpu.set_guest_debug(abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP)
        for _ in range(8):  # the first touch of a page may end a step before it began
            if not isinstance(self.run(), exits.DebugExit):
                return False
            if self.vcpu.regs.rip != CODE:
                return True
        return False

    def step_works(self, whence: str) -> bool:
        self.set_up(whence, b"\x90\x90\x90")
        return self.step_once() and int(self.vcpu.regs.rip) == CODE + 1

    def steps_into_handlers(self) -> bool:
        entered = []
        for code in (b"\xcd\x00", b"\xf7\xf1"):  # int 0; div cx, by zero
            self.set_up("real", code + b"\x90\x90")
            self.memory.write(HANDLER, b"\x90\x90\xf4")  # an iret would lead back to the div for ever
            entered.append(self.step_once() and int(self.vcpu.regs.rip) == HANDLER)
        self.memory.write(HANDLER, bytes((HLT,)))
        return all(entered)

    def leaks_trap_flag(self) -> bool:
        self.set_up("real", b"\x9c\x90\x90")  # pushf
        return self.step_once() and bool(self.memory.read(0x2FFE, 2)[1] & 1)

    def steps_iret(self) -> bool:
        self.set_up("long", b"\x48\xcf\x90\x90\x90")  # iretq to the second of three nops
        for at, value in enumerate((0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)):
            self.memory.write(GDT + at * 8, value.to_bytes(8, "little"))
        for at, value in enumerate((CODE + 3, 8, 2, 0x3000, 16)):
            self.memory.write(0x2F00 + at * 8, value.to_bytes(8, "little"))
        sregs = self.vcpu.get_sregs()
        sregs.gdt.base, sregs.gdt.limit = GDT, 23
        self.vcpu.set_sregs(sregs)
        self.vcpu.set_regs(abi.kvm_regs(rip=CODE, rflags=2, rsp=0x2F00))
        return self.step_once() and int(self.vcpu.regs.rip) == CODE + 3

    def steps_system_calls(self) -> bool:
        there, set_up = CODE + 4, self.set_up
        for code, r11 in ((b"\x0f\x05\x90\x90\x90\x90", 0), (b"\x48\x0f\x07\x90\x90\x90", 2)):  # syscall; sysretq
            set_up("long", code)
            sregs = self.vcpu.get_sregs()
            sregs.efer |= EFER_SCE
            self.vcpu.set_sregs(sregs)
            for number, value in ((MSR_STAR, 8 << 32 | 16 << 48), (MSR_LSTAR, there), (MSR_FMASK, EFLAGS_TF)):
                self.vcpu.set_msr(number, value)
            self.vcpu.set_regs(abi.kvm_regs(rip=CODE, rflags=2, rsp=0x3000, rcx=there, r11=r11))
            if not (self.step_once() and int(self.vcpu.regs.rip) == there and int(self.vcpu.regs.r11) == 2):
                return False
        return True

    def halts_late(self) -> bool:
        self.set_up("real", b"\xf4\x90\x90")
        self.vcpu.set_guest_debug(abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_SINGLESTEP)
        end = self.run()
        for _ in range(8):
            if self.vcpu.regs.rip != CODE:
                break
            end = self.run()
        return isinstance(end, exits.DebugExit)

    def runs_on(self) -> bool:
        self.set_up("real", b"\x0f\xae\xe8\x90\x90")  # lfence; nop; nop
        return self.step_once() and int(self.vcpu.regs.rip) == CODE + 4

    def int1_before(self) -> bool:
        self.set_up("real", bytes((0x90, INT1, 0x90)))
        self.vcpu.set_guest_debug(abi.KVM_GUESTDBG_ENABLE | abi.KVM_GUESTDBG_USE_HW_BP, (0, 0, 0, 0, 0, 0, 0, 0x400))
        for _ in range(8):  # what an earlier question left behind may come first
            end = self.run()
            if self.vcpu.regs.rip != CODE:
                break
        return isinstance(end, exits.DebugExit) and end.exception == 1 and self.vcpu.regs.rip == CODE + 1

    def shutdown_resets(self) -> bool:
        self.set_up("prot32", b"\x0f\x0b")  # ud2, without any handler
        return isinstance(self.run(), exits.ShutdownExit) and int(self.vcpu.regs.rip) != CODE

    def legacy_paging_works(self) -> bool:
        self.set_up("prot32", b"\xf4")
        self.memory.write(TABLES + 0x3000, (0x87).to_bytes(4, "little"))  # 4 MiB from 0
        sregs = self.vcpu.get_sregs()
        sregs.cr3, sregs.cr4, sregs.cr0 = TABLES + 0x3000, sregs.cr4 | modes.CR4_PSE, sregs.cr0 | modes.CR0_PG
        self.vcpu.set_sregs(sregs)
        return isinstance(self.run(), exits.HltExit)

    def misses_windows(self) -> bool:
        # again: sti; nop; cli; mov cx, 200; loop to itself; inc bx; jmp again
        self.set_up("real", bytes.fromhex("fb90fa b9c800 e2fe 43 ebf5"))
        self.vcpu.set_regs(abi.kvm_regs(rip=CODE, rflags=2, rsp=0x3000))
        self.vcpu.ask_for_window(True)
        end = self.run()
        self.vcpu.ask_for_window(False)
        return not isinstance(end, exits.IrqWindowExit) or int(self.vcpu.regs.rbx) > 1

    def out_is_past(self) -> bool:
        self.set_up("real", b"\x90\xe6\x80\x90")  # nop; out 0x80, al
        return isinstance(self.run(), exits.IoExit) and int(self.vcpu.regs.rip) == CODE + 3

    def guards_restart(self, whence: str) -> bool:
        push = 0x51 if whence == "long" else 0x60  # push rcx; pusha
        self.set_up(whence, bytes((0x90, push)))
        self.memory.write(0x2F00, b"\x5a" * 0x100)
        self.memory.guard({0x2000: Guard.READ_ONLY}, restartable=True)
        try:
            self.vcpu.run()
            return False
        except OSError as error:
            untouched = self.memory.read(0x2F00, 0x100) == b"\x5a" * 0x100
            if error.errno != errno.EFAULT or self.vcpu.regs.rip != CODE + 1 or not untouched:
                return False
        finally:
            self.memory.guard({})
        return isinstance(self.run(), exits.HltExit) and self.memory.read(0x2FFC, 2) != b"\x5a\x5a"

    def step_trap_waits(self) -> bool:
        self.set_up("prot32", b"\x0f\xa2\x90\x90")  # cpuid; without a handler for #DB
        if not self.step_once():
            return False
        self.vcpu.set_guest_debug(0)
        return not isinstance(self.run(), exits.HltExit)

    def behaviour(self, whence: str) -> Behaviour:
        trap = next((t for t in (INT3, INT1, HLT) if self.trap_works(whence, t)), None)
        return Behaviour(
            trap,
            self.debug_register_works(whence, data=False),
            self.debug_register_works(whence, data=True),
            self.step_works(whence),
        )

    def close(self) -> None:
        self.vcpu.close()
        self.memory.close()
        self.vm.close()
        self.system.close()


T = TypeVar("T")


def _ask(question: Callable[[_Prober], T]) -> T:
    """What the prober answers, on a thread of its own whose signals are its own."""
    answers: list[T | BaseException] = []

    def ask() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {KICK_SIGNAL})
        try:
            prober = _Prober()
            try:
                answers.append(question(prober))
            finally:
                prober.close()
        except BaseException as error:  # handed to the thread that asked
            answers.append(error)

    thread = threading.Thread(target=ask, name="kvmdbg-probe")
    thread.start()
    thread.join()
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]


@lru_cache(maxsize=1)
def host_profile() -> HostProfile:
    """The probe's answers, asked once in a process."""
    return _ask(
        lambda prober: HostProfile(
            {whence: prober.behaviour(whence) for whence in WHENCE},
            steps_into_handlers=prober.steps_into_handlers(),
            leaks_trap_flag=prober.leaks_trap_flag(),
            steps_iret=prober.steps_iret(),
            steps_system_calls=prober.steps_system_calls(),
            runs_on=prober.runs_on(),
            halts_late=prober.halts_late(),  # behind what its late halt would disturb
            int1_before=prober.int1_before(),
            out_is_past=prober.out_is_past(),
            guards_restart=all(prober.guards_restart(whence) for whence in ("real", "prot32", "long")),
            step_trap_waits=prober.step_trap_waits(),
        )
    )


@lru_cache(maxsize=1)
def shutdown_resets() -> bool:
    """Whether the vCPU has been reset at KVM_EXIT_SHUTDOWN, so that what it was before is lost.

    Asked by itself, as it is asked before the first run, and the other questions take ten times as long.
    """
    return _ask(_Prober.shutdown_resets)


@lru_cache(maxsize=1)
def legacy_paging_works() -> bool:
    """Whether a guest runs with paging in 32-bit protected mode; asked when somebody wants to know."""
    return _ask(_Prober.legacy_paging_works)


@lru_cache(maxsize=1)
def misses_windows() -> bool:
    """Whether KVM looks now and then only whether an interrupt may come in; asked when somebody wants to know."""
    return _ask(_Prober.misses_windows)


def in_words(profile: HostProfile, blocks_interrupts: bool) -> list[tuple[str, str]]:
    """What the probe has found out, by what it is about."""
    rows = []
    for name, behaviour in profile.by_mode.items():
        trap = TRAP_NAMES[behaviour.trap] if behaviour.trap is not None else "none"
        able = [
            f"trap {trap}",
            f"execute debug registers {'fire' if behaviour.execute_dr else 'do not fire'}",
            f"data debug registers {'fire' if behaviour.data_dr else 'do not fire'}",
            f"single step {'works' if behaviour.step else 'does not work'}",
        ]
        rows.append((name if name == "user" else f"{name} (CPL 0)", ", ".join(able)))
    into = "enter the handler of an event" if profile.steps_into_handlers else "need traps to enter handlers"
    quiet = "can keep interrupts out" if blocks_interrupts else "cannot keep interrupts out"
    rows.append(("steps", f"{into}, {quiet}"))
    return rows

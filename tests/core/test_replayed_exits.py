"""The exit loop over a vCPU that replays exits: no /dev/kvm, and traps of every flavour of KVM.

Everything is real but the kernel: ``fcntl`` of the modules that issue ioctls is replaced by a
script, the shared page is a file in memory, and the machine is put together without a VM.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from kvmdbg.core.session import Session
from kvmdbg.devices.uart import COM1
from kvmdbg.engine import stops
from kvmdbg.engine.arming import STEPPING, Plan
from kvmdbg.engine.probe import HLT, INT1, INT3, Behaviour, HostProfile
from kvmdbg.errors import KvmdbgError
from kvmdbg.kvm import Vcpu, abi, exits
from kvmdbg.machine.bus import Bus
from kvmdbg.machine.image import Entry, Image, LoadOptions, Segment
from kvmdbg.machine.machine import Machine
from kvmdbg.machine.memory import GuestMemory
from kvmdbg.x86.paging import ANY_CPU

START = 0x1000
CODE = bytes.fromhex("90 90 90 f4 90 90 f4")
KERNEL = ("real", "prot32", "long")
Exit = Callable[[Vcpu], None]
"""What the kernel does at one KVM_RUN: writes an exit into the page, or raises an OSError."""


class Script:
    """Stands in for the module fcntl: answers ioctls of a vCPU, and KVM_RUN with the next exit of ``exits``."""

    def __init__(self) -> None:
        self.vcpu: Vcpu | None = None
        """Until there is one, ioctls are those that make it."""
        self.exits: list[Exit] = []
        self.pieces: list[Exit] = []
        """Exits that come while an instruction is completed, with immediate_exit set."""
        self.runs = 0
        self.completions = 0
        self.state: dict[int, bytes] = {}
        self.debug = abi.kvm_guest_debug()

    def ioctl(self, fd: int, request: int, argument: Any = 0) -> int:
        if self.vcpu is not None and fd != self.vcpu.fd:
            raise OSError(errno.ENODEV, "no other machine can be made here")
        if request == abi.KVM_RUN:
            return self._run()
        if request == abi.KVM_SET_GUEST_DEBUG:
            self.debug = abi.kvm_guest_debug.from_buffer_copy(bytes(argument))
        elif request == abi.KVM_GET_CPUID2:
            memoryview(argument).cast("B")[:8] = bytes(8)
        elif request >> 30 == 1:  # a setter's number is its getter's + 1
            self.state[(request & 0xFF) - 1] = bytes(argument)
        elif request & 0xFF in self.state:
            memoryview(argument).cast("B")[:] = self.state[request & 0xFF]
        return 0

    def _run(self) -> int:
        if self.vcpu.kvm_run.immediate_exit:
            self.completions += 1
            if not self.pieces:
                raise InterruptedError(errno.EINTR, "immediate_exit")
            self.pieces.pop(0)(self.vcpu)
            return 0
        self.vcpu.kvm_run.kvm_dirty_regs = 0
        assert self.exits, "the guest runs on behind the end of the script"
        self.runs += 1
        self.exits.pop(0)(self.vcpu)
        return 0


class ScriptedMachine(Machine):
    """64 KiB, a UART, one vCPU whose page is a file in memory."""

    def __init__(self, memory: int, cpus: int, irqchip: bool = False, change: object = None) -> None:
        nothing: Any = SimpleNamespace(
            close=lambda: None,
            check_extension=lambda which: 0 if which == abi.KVM_CAP_COALESCED_PIO else 64,
            vcpu_mmap_size=3 * 4096,
            set_memory_region=lambda *_: None,
            dirty_log=lambda slot, pages: bytes((pages + 7) // 8),
            msr_indices=list,
        )
        nothing.system = nothing
        self.system = self.vm = nothing
        self.irqchip = False
        self.paging_limits = ANY_CPU
        self.memory = GuestMemory(nothing)
        self.memory.add(0, memory)
        self.bus = Bus()
        page = os.memfd_create("kvm_run")
        os.ftruncate(page, nothing.vcpu_mmap_size)
        self.vcpus = [Vcpu(nothing, page, 0)]


def host(trap: int | None = INT3, registers: bool = False) -> HostProfile:
    behaviour = Behaviour(trap, registers, registers, True)
    return HostProfile(
        dict.fromkeys((*KERNEL, "user"), behaviour),
        steps_into_handlers=True,
        leaks_trap_flag=False,
        steps_iret=True,
        halts_late=False,
        runs_on=False,
        int1_before=False,
        out_is_past=False,
        guards_restart=False,
        step_trap_waits=False,
    )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    found = Script()
    for module in ("kvm.run_page", "kvm.system"):
        monkeypatch.setattr(f"kvmdbg.{module}.fcntl", found)
    return found


def let_probe_find(monkeypatch: pytest.MonkeyPatch, made: Callable[[], HostProfile]) -> None:
    for user in (
        "core.points",
        "engine.inspection",
        "engine.holding",
        "engine.runner",
        "engine.stepping",
        "engine.single_step",
        "engine.handler_traps",
        "engine.post_mortem",
        "engine.debugged_vcpu",
    ):
        monkeypatch.setattr(f"kvmdbg.{user}.host_profile", made)


@pytest.fixture
def dbg(script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    let_probe_find(monkeypatch, host)
    monkeypatch.setattr("kvmdbg.engine.runner.shutdown_resets", lambda: False)

    def machine(*given: Any) -> Machine:
        made = ScriptedMachine(*given)
        script.vcpu = made.vcpus[0]
        return made

    monkeypatch.setattr("kvmdbg.engine.hardware.Machine", machine)
    image = Image("guest", "flat", [Segment(START, CODE)], "real", Entry(None, START))
    with Session(image, LoadOptions(memory=0x10000)) as session:
        yield session


# --- exits ---------------------------------------------------------------------------------------------


def leave(reason: int, *, to: int | None = None, **fields: Any) -> Exit:
    """KVM_RUN ends for ``reason`` with rip at ``to``; ``io__port=…`` sets run.io.port."""

    def exit(vcpu: Vcpu) -> None:
        vcpu.kvm_run.exit_reason = reason
        if to is not None:
            vcpu.regs.rip = to
        for name, value in fields.items():
            *path, last = name.split("__")
            target: Any = vcpu.kvm_run
            for part in path:
                target = getattr(target, part)
            if isinstance(value, bytes):
                target = getattr(target, last)
                target[: len(value)] = value
            else:
                setattr(target, last, value)

    return exit


def port(out: bool, number: int, size: int = 1, data: bytes = b"", count: int = 1) -> Exit:
    def exit(vcpu: Vcpu) -> None:
        io = vcpu.kvm_run.io
        vcpu.kvm_run.exit_reason = exits.KVM_EXIT_IO
        io.direction, io.port, io.size, io.count, io.data_offset = int(out), number, size, count, 4096
        vcpu.page[4096 : 4096 + 64] = data.ljust(64, b"\xaa")

    return exit


def fails(number: int) -> Exit:
    def exit(vcpu: Vcpu) -> None:
        raise OSError(number, os.strerror(number))

    return exit


HALT = leave(exits.KVM_EXIT_HLT, to=START + 4)


def played(dbg: Session, script: Script, *sequence: Exit, **limits: Any) -> stops.Stop:
    script.exits = list(sequence)
    stop = dbg.run(**limits)
    assert script.exits == []
    return stop


# --- ports ---------------------------------------------------------------------------------------------


def test_a_write_to_a_device(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, port(True, COM1, data=b"4"), port(True, COM1, data=b"\n"), HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert stop.pc == START + 4
    assert dbg.output == b"4\n"
    assert dbg.exits.by_port == {("out", COM1): 2}
    assert dbg.exits.by_reason == {"io": 2, "hlt": 1}


@pytest.mark.parametrize(("number", "size", "expected"), [(COM1 + 5, 1, b"\x60"), (COM1 + 6, 2, b"\xb0\x00")])
def test_a_read_from_a_device(dbg: Session, script: Script, number: int, size: int, expected: bytes) -> None:
    played(dbg, script, port(False, number, size), HALT)
    assert script.vcpu.page[4096 : 4096 + size + 1] == expected + b"\xaa"


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_read_that_nobody_answers_gives_all_ones(dbg: Session, script: Script, size: int, count: int) -> None:
    stop = played(dbg, script, port(False, 0x80, size, count=count), HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert script.vcpu.page[4096 : 4096 + size * count + 1] == b"\xff" * size * count + b"\xaa"


def test_string_output_sends_each_item(dbg: Session, script: Script) -> None:
    played(dbg, script, port(True, COM1, data=b"hello", count=5), port(True, 0x80, 4, count=4), HALT)
    assert dbg.output == b"hello"
    assert dbg.exits.by_port == {("out", COM1): 1, ("out", 0x80): 1}


def test_a_caught_port_stops_after_its_instruction(dbg: Session, script: Script) -> None:
    dbg.catch("io", port=0x80)
    stop = played(dbg, script, port(True, 0x81), port(False, 0x80, 2, count=2))
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert stop.exit == exits.IoExit("in", 0x80, 2, 2, b"\xff" * 4)
    assert script.completions == 1


def test_a_device_that_fails_is_a_stop(dbg: Session, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dbg.devices[0], "sink", lambda data: 1 // 0)
    stop = played(dbg, script, port(True, COM1))
    assert isinstance(stop, stops.ErrorStop)
    assert "ZeroDivisionError" in stop.message


# --- limits, signals, errors -----------------------------------------------------------------------------


def test_a_limit_of_exits(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, *[port(True, 0x10)] * 3, exits=3)
    assert isinstance(stop, stops.LimitStop), stop.describe()
    assert stop.limit == "3 exits"
    assert (script.runs, script.completions) == (3, 1)


def test_other_exits_count_for_the_limit_too(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, port(True, COM1), leave(exits.KVM_EXIT_IRQ_WINDOW_OPEN), exits=2)
    assert isinstance(stop, stops.LimitStop), stop.describe()


def test_a_limit_holds_while_a_breakpoint_is_stepped_to(
    dbg: Session, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_probe_find(monkeypatch, lambda: host(None))
    point = dbg.break_at(0x2000)
    stop = played(dbg, script, *[port(True, 0x10)] * 3, exits=3)
    assert point.held_by == STEPPING
    assert isinstance(stop, stops.LimitStop), stop.describe()


def test_eintr_while_all_stop_ends_the_run_without_a_stop(dbg: Session, script: Script) -> None:
    runner = dbg.runner
    dbg.world.stopping = True
    script.exits = [fails(errno.EINTR)]
    assert runner.call(runner.go) is None
    runner.call(runner.drain)


def test_eintr_for_nothing_goes_on(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, port(True, COM1, data=b"a"), fails(errno.EINTR), port(True, COM1, data=b"b"), HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert dbg.output == b"ab"


def test_an_interrupt(dbg: Session, script: Script) -> None:
    def interrupted(vcpu: Vcpu) -> None:
        dbg.world.stop()
        raise InterruptedError(errno.EINTR, "kicked")

    stop = played(dbg, script, port(True, COM1), interrupted)
    assert isinstance(stop, stops.InterruptedStop), stop.describe()
    assert stop.pc == START


def test_eagain_is_tried_again(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, fails(errno.EAGAIN), fails(errno.EAGAIN), HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert dbg.exits.total == 1


@pytest.mark.parametrize(("number", "text"), [(errno.EFAULT, "Bad address"), (errno.EIO, "Input/output error")])
def test_a_refused_run_says_why(dbg: Session, script: Script, number: int, text: str) -> None:
    stop = played(dbg, script, fails(number))
    assert isinstance(stop, stops.ErrorStop)
    assert stop.message == f"KVM_RUN failed: {text}"
    assert dbg.state == "stopped"


# --- exits that stop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [0, 1, 16, 27, 32, 39, 999])
def test_an_exit_that_nobody_handles(dbg: Session, script: Script, reason: int) -> None:
    stop = played(dbg, script, leave(reason, to=START + 1))
    assert isinstance(stop, stops.ExitStop), stop.describe()
    assert stop.pc == START + 1
    assert isinstance(stop.exit, exits.BY_NUMBER.get(reason, exits.UnknownExit))
    assert stop.exit.describe() in stop.describe()


def test_shutdown(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, leave(exits.KVM_EXIT_SHUTDOWN, to=START + 2))
    assert isinstance(stop, stops.ShutdownStop), stop.describe()
    assert stop.pc == START + 2
    assert stop.autopsy is not None
    assert stop.autopsy.cause.startswith(f"Nothing wrong can be seen with nop at {START + 2:#x}")
    assert stop.autopsy.exits == ()


def test_fail_entry(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, leave(exits.KVM_EXIT_FAIL_ENTRY, fail_entry__hardware_entry_failure_reason=0x80000021))
    assert isinstance(stop, stops.FailEntryStop), stop.describe()
    assert "hardware reason 0x80000021" in stop.describe()


def test_internal_error(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, leave(exits.KVM_EXIT_INTERNAL_ERROR, internal__suberror=3, internal__ndata=0))
    assert isinstance(stop, stops.ExitStop), stop.describe()
    assert stop.exit == exits.InternalErrorExit(3, (), b"")


NO_EMULATION = leave(exits.KVM_EXIT_INTERNAL_ERROR, to=START, internal__suberror=1, internal__ndata=0)


def test_emulation_failure_names_the_instruction(dbg: Session, script: Script) -> None:
    dbg.memory.write(START, bytes.fromhex("f30fb8c3"))
    stop = played(dbg, script, NO_EMULATION)
    assert isinstance(stop, stops.EmulationFailureStop), stop.describe()
    assert stop.instruction == bytes.fromhex("f30fb8c3")
    assert stop.text == "popcnt ax, bx"


@pytest.mark.parametrize(("code", "vector", "length"), [("cc", 3, 1), ("f1", 1, 1), ("0f0b", 6, 0)])
def test_a_trap_of_the_guests_own_is_the_guests(
    dbg: Session, script: Script, code: str, vector: int, length: int
) -> None:
    """Where KVM's emulator lacks int3, int1 or ud2, the guest still gets its exception."""
    given: list[tuple[int, int, int]] = []

    def entered(vcpu: Vcpu) -> None:
        event = vcpu.get_events().exception
        given.append((event.injected, event.nr, vcpu.get_regs().rip))
        HALT(vcpu)

    dbg.memory.write(START, bytes.fromhex(code))
    stop = played(dbg, script, NO_EMULATION, entered)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert given == [(1, vector, START + length)]


def test_msrs_and_hypercalls_are_refused_in_the_guest(dbg: Session, script: Script) -> None:
    answers: list[int] = []

    def after(vcpu: Vcpu) -> None:
        answers.append(vcpu.kvm_run.msr.error)
        leave(exits.KVM_EXIT_HYPERCALL, hypercall__nr=9)(vcpu)

    played(dbg, script, leave(exits.KVM_EXIT_X86_RDMSR, msr__index=0x10), after, port(True, 0x80), HALT)
    assert answers == [1]
    assert dbg.exits.by_reason == {"msr_read": 1, "hypercall": 1, "io": 1, "hlt": 1}


def mmio(address: int, size: int, data: bytes | None = None) -> Exit:
    return leave(
        exits.KVM_EXIT_MMIO,
        mmio__phys_addr=address,
        mmio__len=size,
        mmio__is_write=data is not None,
        mmio__data=data or bytes(8),
    )


def test_mmio_that_nobody_answers(dbg: Session, script: Script) -> None:
    stop = played(dbg, script, mmio(1 << 32, 4, b"1234"), mmio(1 << 32, 4), exits=2)
    assert isinstance(stop, stops.LimitStop), stop.describe()
    assert bytes(script.vcpu.kvm_run.mmio.data) == b"\xff" * 4 + bytes(4)


def test_an_access_in_two_pieces_is_completed_before_the_stop(dbg: Session, script: Script) -> None:
    """KVM gives an access over a page's end as two exits, the second when the first is completed."""
    dbg.catch("mmio")
    script.pieces = [mmio(0x20002, 2, b"cd")]
    stop = played(dbg, script, mmio(0x20000, 2, b"ab"))
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert script.pieces == []
    assert dbg.exits.by_reason == {"mmio": 2}


# --- breakpoints and watchpoints, as each flavour of KVM reports them ------------------------------------

TRAPS = {
    INT3: leave(exits.KVM_EXIT_DEBUG, to=START + 2, debug__exception=3, debug__pc=START + 2),
    INT1: leave(exits.KVM_EXIT_INTERNAL_ERROR, to=START + 2, internal__suberror=1, internal__ndata=0),
    HLT: leave(exits.KVM_EXIT_HLT, to=START + 3),
}
STEPPED = leave(exits.KVM_EXIT_DEBUG, to=START + 3, debug__exception=1, debug__pc=START + 3, debug__dr6=1 << 14)


@pytest.mark.parametrize("trap", TRAPS, ids=["int3", "int1", "hlt"])
def test_a_trap(dbg: Session, script: Script, monkeypatch: pytest.MonkeyPatch, trap: int) -> None:
    let_probe_find(monkeypatch, lambda: host(trap))
    point = dbg.break_at(START + 2)
    memory = dbg.machine.memory
    seen: list[tuple[int, int]] = []

    def note(exit: Exit) -> Exit:
        def noted(vcpu: Vcpu) -> None:
            seen.append((memory.read(START + 2, 1)[0], script.debug.control & abi.KVM_GUESTDBG_SINGLESTEP))
            assert dbg.physical.read(START, len(CODE)) == CODE
            exit(vcpu)

        return noted

    stop = played(dbg, script, note(TRAPS[trap]))
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert (stop.pc, stop.hits, dbg.regs.rip, point.hits) == (START + 2, (point,), START + 2, 1)
    assert memory.read(START, len(CODE)) == CODE
    stop = played(dbg, script, note(STEPPED), note(HALT))
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert seen == [(trap, 0), (0x90, abi.KVM_GUESTDBG_SINGLESTEP), (trap, 0)]
    assert memory.read(START, len(CODE)) == CODE


def test_a_breakpoint_outside_memory_leaves_no_trap_of_another(dbg: Session, script: Script) -> None:
    script.exits = [HALT]
    with suppress(KvmdbgError):
        dbg.break_at(START + 2)
        dbg.break_at("phys:0xd0000000")
        dbg.run()
    assert dbg.machine.memory.read(START, len(CODE)) == CODE


def test_a_false_condition_never_leaves_the_loop(dbg: Session, script: Script) -> None:
    point = dbg.break_at(START + 2, when="$cx == 2")

    def counting(vcpu: Vcpu) -> None:
        vcpu.regs.rcx += 1
        TRAPS[INT3](vcpu)

    stop = played(dbg, script, counting, STEPPED, counting)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert (point.hits, dbg.regs.rcx) == (1, 2)


@pytest.fixture
def with_registers(dbg: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    let_probe_find(monkeypatch, lambda: host(registers=True))


@pytest.mark.usefixtures("with_registers")
def test_a_debug_register_for_execution(dbg: Session, script: Script) -> None:
    point = dbg.break_at(START + 2)
    fired = leave(
        exits.KVM_EXIT_DEBUG, to=START + 2, debug__exception=1, debug__pc=START + 2, debug__dr6=1, debug__dr7=0x402
    )
    stop = played(dbg, script, fired)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert (stop.pc, stop.hits) == (START + 2, (point,))
    assert script.debug.control & abi.KVM_GUESTDBG_USE_HW_BP
    assert (script.debug.debugreg[0], script.debug.debugreg[7]) == (START + 2, 0x402)


@pytest.mark.usefixtures("with_registers")
def test_a_debug_register_for_data(dbg: Session, script: Script) -> None:
    dbg.watch(0x5000, 2)

    def written(vcpu: Vcpu) -> None:
        dbg.machine.memory.write(0x5000, b"\x34\x12")
        at = START + 1
        leave(exits.KVM_EXIT_DEBUG, to=at, debug__exception=1, debug__pc=at, debug__dr6=1)(vcpu)

    stop = played(dbg, script, written)
    assert isinstance(stop, stops.WatchpointStop), stop.describe()
    assert (stop.address, stop.size, stop.old, stop.new) == (0x5000, 2, b"\0\0", b"\x34\x12")
    assert script.debug.debugreg[7] == 0x402 | 1 << 16 | 1 << 18


@pytest.mark.parametrize("registers", [False, True], ids=["page", "debug register"])
def test_a_write_to_a_watched_page_is_done_and_reported(
    dbg: Session, script: Script, registers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No debug register fires for an access that KVM emulates: the exit has to tell."""
    let_probe_find(monkeypatch, lambda: host(registers=registers))
    assert dbg.watch(0x5004, 4).number == 1
    beside, inside = mmio(0x5000, 4, b"abcd"), mmio(0x5002, 4, b"efgh")
    stop = played(dbg, script, beside, inside)
    assert isinstance(stop, stops.WatchpointStop), stop.describe()
    assert dbg.memory.read(0x5000, 8) == b"abefgh\0\0"
    assert (stop.old, stop.new) == (bytes(2), b"gh")
    assert script.completions == 1


def test_a_register_that_is_written_reaches_kvm_before_an_ioctl_looks_at_it(dbg: Session, script: Script) -> None:
    dbg.regs.set("rip", START + 1)
    assert dbg.runner.call(script.vcpu.get_regs).rip == START
    dbg.runner.arm(Plan())
    dbg.runner.call(dbg.runner.debug_for_stepping)
    assert dbg.runner.call(script.vcpu.get_regs).rip == START + 1

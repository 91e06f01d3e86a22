"""Breakpoints and watchpoints, as each flavour of KVM reports them."""

from __future__ import annotations

from contextlib import suppress

import pytest

from kvmdbg.engine import stops
from kvmdbg.engine.probe import HLT, INT1, INT3
from kvmdbg.errors import KvmdbgError
from kvmdbg.kvm import abi, exits
from kvmdbg.x86.registers import DR6_BS, EFLAGS_TF
from tests.engine.conftest import CODE
from tests.scripted.cpu import Play, ScriptedCpu
from tests.scripted.machine import START, ScriptedSession, profile
from tests.scripted.plays import HALT, debugs, leaves, mmio_write, played

TRAPS = {
    INT3: debugs(START + 2, 0, exception=3),
    INT1: leaves(exits.InternalErrorExit(exits.SUBERROR_EMULATION, (), b""), to=START + 2),
    HLT: leaves(exits.HltExit(), to=START + 3),
}
STEPPED = debugs(START + 3, DR6_BS)


@pytest.mark.parametrize("trap", TRAPS, ids=["int3", "int1", "hlt"])
def test_a_trap(dbg: ScriptedSession, trap: int) -> None:
    dbg.let_probe_find(profile(trap))
    point = dbg.break_at(START + 2)
    memory = dbg.machine.memory
    seen: list[tuple[int, int]] = []

    def note(play: Play) -> Play:
        def noted(cpu: ScriptedCpu) -> None:
            seen.append((memory.read(START + 2, 1)[0], cpu.control & abi.KVM_GUESTDBG_SINGLESTEP))
            assert dbg.physical.read(START, len(CODE)) == CODE
            play(cpu)

        return noted

    stop = played(dbg, note(TRAPS[trap]))
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert (stop.pc, stop.hits, dbg.regs.rip, point.hits) == (START + 2, (point,), START + 2, 1)
    assert memory.read(START, len(CODE)) == CODE
    stop = played(dbg, note(STEPPED), note(HALT))
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert seen == [(trap, 0), (0x90, abi.KVM_GUESTDBG_SINGLESTEP), (trap, 0)]
    assert memory.read(START, len(CODE)) == CODE


def test_a_breakpoint_outside_memory_leaves_no_trap_of_another(dbg: ScriptedSession) -> None:
    dbg.cpu.plays = [HALT]
    with suppress(KvmdbgError):
        dbg.break_at(START + 2)
        dbg.break_at("phys:0xd0000000")
        dbg.run()
    assert dbg.machine.memory.read(START, len(CODE)) == CODE


def test_a_false_condition_never_leaves_the_loop(dbg: ScriptedSession) -> None:
    point = dbg.break_at(START + 2, when="$cx == 2")

    def counting(cpu: ScriptedCpu) -> None:
        cpu.regs.rcx += 1
        TRAPS[INT3](cpu)

    stop = played(dbg, counting, STEPPED, counting)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert (point.hits, dbg.regs.rcx) == (1, 2)


def test_a_debug_register_for_execution(dbg: ScriptedSession) -> None:
    dbg.let_probe_find(profile(registers=True))
    point = dbg.break_at(START + 2)
    stop = played(dbg, debugs(START + 2, 1, dr7=0x402))
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert (stop.pc, stop.hits) == (START + 2, (point,))
    assert dbg.cpu.control & abi.KVM_GUESTDBG_USE_HW_BP
    assert (dbg.cpu.debugreg[0], dbg.cpu.debugreg[7]) == (START + 2, 0x402)


def test_a_debug_register_for_data(dbg: ScriptedSession) -> None:
    dbg.let_probe_find(profile(registers=True))
    dbg.watch(0x5000, 2)

    def written(cpu: ScriptedCpu) -> None:
        cpu.memory.write(0x5000, b"\x34\x12")
        debugs(START + 1, 1)(cpu)

    stop = played(dbg, written)
    assert isinstance(stop, stops.WatchpointStop), stop.describe()
    assert (stop.address, stop.size, stop.old, stop.new) == (0x5000, 2, b"\0\0", b"\x34\x12")
    assert dbg.cpu.debugreg[7] == 0x402 | 1 << 16 | 1 << 18


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_read_of_the_stack_is_the_pops_that_ends_here_unless_an_iret_may_have_come_here(
    dbg: ScriptedSession, interrupted: bool
) -> None:
    dbg.let_probe_find(profile(registers=True))
    dbg.physical.write(START, b"\x9d")  # popf
    dbg.watch(0x600C, 2, "access")
    if interrupted:
        dbg.physical.write(0x6008, (START + 1).to_bytes(2, "little") + bytes(2))

    def popped(cpu: ScriptedCpu) -> None:
        cpu.regs.rsp = 0x600E
        debugs(START + 1, 1)(cpu)

    stop = played(dbg, popped)
    assert isinstance(stop, stops.WatchpointStop), stop.describe()
    assert (stop.kind, stop.instruction) == ("read", None if interrupted else START)


@pytest.mark.parametrize("registers", [False, True], ids=["page", "debug register"])
def test_a_write_to_a_watched_page_is_done_and_reported(dbg: ScriptedSession, registers: bool) -> None:
    """No debug register fires for an access that KVM emulates: the exit has to tell."""
    dbg.let_probe_find(profile(registers=registers))
    assert dbg.watch(0x5004, 4).number == 1
    stop = played(dbg, mmio_write(0x5000, b"abcd"), mmio_write(0x5002, b"efgh"))
    assert isinstance(stop, stops.WatchpointStop), stop.describe()
    assert dbg.memory.read(0x5000, 8) == b"abefgh\0\0"
    assert (stop.old, stop.new) == (bytes(2), b"gh")
    assert dbg.cpu.completions == 1


@pytest.mark.parametrize("waits", [False, True])
def test_the_trap_of_the_guests_own_before_its_instruction(dbg: ScriptedSession, waits: bool) -> None:
    """An emulated CPU brings it where KVM had to map a page first; the guest gets it behind the instruction."""
    dbg.let_probe_find(profile(registers=True, step_trap_waits=waits))
    dbg.break_at(START + 4)
    given: list[int] = []

    def trap(at: int) -> Play:
        def play(cpu: ScriptedCpu) -> None:
            events = cpu.get_events()
            given.append(events.exception.nr if events.exception.injected else 0)
            cpu.set_events(abi.kvm_vcpu_events())
            debugs(at, DR6_BS)(cpu)

        return play

    dbg.regs.eflags |= EFLAGS_TF
    played(dbg, trap(START), trap(START + 1), trap(START + 2), HALT)
    assert given == [0, 0 if waits else 1, 1]


def test_a_data_register_that_fires_in_a_try_without_progress_is_no_hit(dbg: ScriptedSession) -> None:
    """As where a guard has refused the instruction behind its first access."""
    dbg.let_probe_find(profile(registers=True))
    watch = dbg.watch(0x5000, 2, kind="access")
    dbg.cpu.plays = [debugs(START, 1), debugs(START + 1, DR6_BS | 1)]
    stop = dbg.step()
    assert isinstance(stop, stops.WatchpointStop), stop.describe()
    assert (stop.pc, watch.hits, dbg.cpu.plays) == (START + 1, 1, [])


def test_flags_pushed_to_what_a_data_register_watches_have_no_trap_flag_of_the_step(dbg: ScriptedSession) -> None:
    dbg.let_probe_find(profile(registers=True, leaks_trap_flag=True))
    dbg.memory.write(START, b"\x9c")  # pushf
    dbg.regs.rsp = 0x5002
    dbg.watch(0x5000, 2)

    def pushf(cpu: ScriptedCpu) -> None:
        cpu.regs.rsp -= 2
        dbg.machine.memory.write(0x5000, (cpu.regs.rflags | EFLAGS_TF).to_bytes(2, "little"))
        debugs(START + 1, DR6_BS | 1)(cpu)

    dbg.cpu.plays = [pushf]
    stop = dbg.step()
    assert isinstance(stop, stops.WatchpointStop), stop.describe()
    assert stop.new == dbg.memory.read(0x5000, 2) == (dbg.regs.rflags & 0xFFFF).to_bytes(2, "little")

"""Exits that end the guest or stop it, and what it gets for its own traps, MSRs, hypercalls and MMIO."""

from __future__ import annotations

import pytest

from kvmdbg.engine import stops
from kvmdbg.engine.arming import Plan
from kvmdbg.kvm import exits
from tests.scripted.cpu import ScriptedCpu
from tests.scripted.machine import START, ScriptedHost, ScriptedSession, profile
from tests.scripted.plays import HALT, NO_EMULATION, leaves, mmio_read, mmio_write, played, port_out


def unhandled(reason: int) -> exits.Exit:
    """An exit for this reason, its fields all zero."""
    kind = exits.BY_NUMBER.get(reason)
    if kind is None:
        return exits.UnknownExit(reason, 0)
    names = [name for name in kind.__annotations__ if name not in ("kind", "number")]
    return kind(*[0] * len(names))


@pytest.mark.parametrize("reason", [0, 1, 16, 27, 32, 39, 999])
def test_an_exit_that_nobody_handles(dbg: ScriptedSession, reason: int) -> None:
    stop = played(dbg, leaves(unhandled(reason), to=START + 1))
    assert isinstance(stop, stops.ExitStop), stop.describe()
    assert stop.pc == START + 1
    assert isinstance(stop.exit, exits.BY_NUMBER.get(reason, exits.UnknownExit))
    assert stop.exit.describe() in stop.describe()


def test_shutdown(dbg: ScriptedSession) -> None:
    stop = played(dbg, leaves(exits.ShutdownExit(), to=START + 2))
    assert isinstance(stop, stops.ShutdownStop), stop.describe()
    assert stop.pc == START + 2
    assert stop.autopsy is not None
    assert stop.autopsy.cause.startswith(f"Nothing wrong can be seen with nop at {START + 2:#x}")
    assert stop.autopsy.exits == ()


def test_the_last_exits_before_a_shutdown_are_told(dbg: ScriptedSession) -> None:
    stop = played(dbg, port_out(0x80), port_out(0x3F8, b"a"), leaves(exits.ShutdownExit(), to=START + 2))
    assert isinstance(stop, stops.ShutdownStop), stop.describe()
    assert stop.autopsy is not None
    assert [text.partition(",")[0] for text in stop.autopsy.exits] == ["out port 0x80", "out port 0x3f8"]


def test_fail_entry(dbg: ScriptedSession) -> None:
    stop = played(dbg, leaves(exits.FailEntryExit(0x80000021, 0)))
    assert isinstance(stop, stops.FailEntryStop), stop.describe()
    assert "hardware reason 0x80000021" in stop.describe()


def test_internal_error(dbg: ScriptedSession) -> None:
    stop = played(dbg, leaves(exits.InternalErrorExit(3, (), b"")))
    assert isinstance(stop, stops.ExitStop), stop.describe()
    assert stop.exit == exits.InternalErrorExit(3, (), b"")


def test_emulation_failure_names_the_instruction(dbg: ScriptedSession) -> None:
    dbg.memory.write(START, bytes.fromhex("f30fb8c3"))
    stop = played(dbg, NO_EMULATION)
    assert isinstance(stop, stops.EmulationFailureStop), stop.describe()
    assert stop.instruction == bytes.fromhex("f30fb8c3")
    assert stop.text == "popcnt ax, bx"


@pytest.mark.parametrize(("code", "vector", "length"), [("cc", 3, 1), ("f1", 1, 1), ("0f0b", 6, 0)])
def test_a_trap_of_the_guests_own_is_the_guests(dbg: ScriptedSession, code: str, vector: int, length: int) -> None:
    """Where KVM's emulator lacks int3, int1 or ud2, the guest still gets its exception."""
    given: list[tuple[int, int, int]] = []

    def entered(cpu: ScriptedCpu) -> None:
        event = cpu.get_events().exception
        given.append((event.injected, event.nr, cpu.get_regs().rip))
        HALT(cpu)

    dbg.memory.write(START, bytes.fromhex(code))
    stop = played(dbg, NO_EMULATION, entered)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert given == [(1, vector, START + length)]


@pytest.mark.parametrize("code", ["cc", "f1", "0f0b"])
def test_a_kvm_that_lacks_the_guests_own_trap_is_no_exit_of_the_guests(dbg: ScriptedSession, code: str) -> None:
    caught = dbg.catch("internal_error")
    dbg.memory.write(START, bytes.fromhex(code))
    stop = played(dbg, NO_EMULATION, HALT)
    assert isinstance(stop, stops.HaltedStop), stop.describe()
    assert not caught.hits


def test_msrs_and_hypercalls_are_refused_in_the_guest(dbg: ScriptedSession) -> None:
    dbg.cpu.msr_answer = 1
    hypercall = leaves(exits.HypercallExit(9, (0,) * 6, False))
    played(dbg, leaves(exits.MsrReadExit(0x10, 2)), hypercall, port_out(0x80), HALT)
    assert dbg.cpu.msr_answer is None
    assert dbg.cpu.hypercall_answer == (1 << 64) - 1000  # -KVM_ENOSYS
    assert dbg.exits.by_reason == {"msr_read": 1, "hypercall": 1, "io": 1, "hlt": 1}


def test_an_msr_that_is_caught_is_the_cpus(dbg: ScriptedSession) -> None:
    dbg.catch("msr_read")
    dbg.cpu.set_msr(0x10, 0x1234)
    stop = played(dbg, leaves(exits.MsrReadExit(0x10, 1 << 2)))
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert stop.exit == exits.MsrReadExit(0x10, 1 << 2, 0x1234)
    assert dbg.cpu.msr_answer == 0x1234


def test_mmio_that_nobody_answers(dbg: ScriptedSession) -> None:
    stop = played(dbg, mmio_write(1 << 32, b"1234"), mmio_read(1 << 32, 4), exits=2)
    assert isinstance(stop, stops.LimitStop), stop.describe()
    assert bytes(dbg.cpu.mmio_data) == b"\xff" * 4 + bytes(4)


def test_an_access_in_two_pieces_is_completed_before_the_stop(dbg: ScriptedSession) -> None:
    """KVM gives an access over a page's end as two exits, the second when the first is completed."""
    dbg.catch("mmio")
    dbg.cpu.pieces = [mmio_write(0x20002, b"cd")]
    stop = played(dbg, mmio_write(0x20000, b"ab"))
    assert isinstance(stop, stops.CaughtStop), stop.describe()
    assert dbg.cpu.pieces == []
    assert dbg.exits.by_reason == {"mmio": 2}


def test_a_register_that_is_written_reaches_kvm_before_an_ioctl_looks_at_it(dbg: ScriptedSession) -> None:
    dbg.regs.set("rip", START + 1)
    assert dbg.runner.call(dbg.cpu.get_regs).rip == START
    dbg.runner.arm(Plan())
    dbg.runner.call(dbg.runner.debug_for_stepping)
    assert dbg.runner.call(dbg.cpu.get_regs).rip == START + 1


@pytest.mark.parametrize(("works", "rax"), [(False, 0x80000011), (False, 0x11), (True, 0x80000011)])
def test_a_kvm_that_ends_guests_that_switch_paging_on(works: bool, rax: int) -> None:
    host = ScriptedHost(profile())
    host.legacy_paging_works = works
    with ScriptedSession(b"\x0f\x22\xc0", None, host, registers={"rax": rax}) as dbg:  # mov cr0, eax
        stop = played(dbg, leaves(exits.ShutdownExit(), to=START))
    assert isinstance(stop, stops.ShutdownStop), stop.describe()
    told = stop.describe().count("cannot run a guest with paging outside of long mode")
    assert told == (not works and rax > 0x11)


@pytest.mark.parametrize("caught", [None, 0x80, 0x604])
def test_a_device_ends_the_guest_whatever_is_looked_at(dbg: ScriptedSession, caught: int | None) -> None:
    if caught is not None:
        dbg.catch("io", port=caught, when="0")
    stop = played(dbg, port_out(0x604, (0x2000).to_bytes(2, "little"), size=2))
    assert isinstance(stop, stops.ExitedStop), stop.describe()

"""Interrupts of the machine's own controllers: they come in time, and the debugger's ways of stopping stay right."""

from __future__ import annotations

import time

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.errors import UsageError
from kvmdbg.pytest_plugin import Guests
from tests.core.test_halt_kvm import TICKS, ticks
from tests.devices.test_pc_kvm import typed

pytestmark = pytest.mark.kvm

BUSY = TICKS.replace("again:  hlt\n", "again:  inc dword ptr [0x604]\n")
"""The PIT ticks 290 times a second; [0x600] counts, and the code that it interrupts counts in [0x604]."""


def rounds(dbg: Session) -> int:
    return int.from_bytes(dbg.physical.read(0x604, 4), "little")


@pytest.mark.parametrize("asm", [TICKS, BUSY], ids=["hlt", "busy"])
def test_ticks_are_as_many_as_guest_time_says(kvm_guest: Guests, asm: str) -> None:
    dbg = kvm_guest(asm=asm)
    dbg.break_at("tick", when="*(u16*)0x600 == 200")
    dbg.run(timeout=60)
    assert ticks(dbg) == 200
    assert dbg.machine.board.time.now() / 1e9 > 200 * 0x1000 / 1193182


def test_the_guests_time_stands_still_at_a_stop(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    dbg.break_at("tick")
    dbg.run(timeout=60)
    now = dbg.machine.board.time.now()
    assert dbg.machine.board.time.now() == now
    dbg.run(timeout=60)
    assert dbg.machine.board.time.now() > now


def test_a_breakpoint_counts_each_time_once(kvm_guest: Guests) -> None:
    """An interrupt comes between two instructions, whatever has a breakpoint."""
    dbg = kvm_guest(asm=BUSY)
    point = dbg.break_at("again", when="*(u16*)0x600 >= 20")
    stop = dbg.run(timeout=60)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert point.hits == 1 and ticks(dbg) >= 20


def test_conditions_see_every_round_once(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    seen: list[int] = []

    @dbg.on.insn("again")
    def look(event: object) -> None:
        seen.append(rounds(dbg))

    dbg.break_at("tick", when="*(u16*)0x600 == 20")
    stop = dbg.run(timeout=60)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert seen == list(range(len(seen))) and len(seen) > 1


def test_watchpoints_and_steps_in_place_of_runs(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    dbg.watch(0x600, 2)
    dbg.run(timeout=60)
    for n in range(3):
        stop = dbg.run(timeout=60)
        assert isinstance(stop, stops.WatchpointStop), stop.describe()
        assert ticks(dbg) == n + 2
    dbg.breakpoint_hold = "stepping"
    for point in list(dbg.breakpoints):
        dbg.breakpoints.discard(point)
    dbg.break_at("tick")
    for n in range(3):
        stop = dbg.run(timeout=60)
        assert isinstance(stop, stops.BreakpointStop), stop.describe()
        assert ticks(dbg) == n + 4


def test_steps_keep_interrupts_out(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    dbg.break_at("again", temporary=True)
    dbg.run(timeout=60)
    before = ticks(dbg)
    inside = {dbg.symbols["again"], dbg.symbols["behind"]}
    for _ in range(200):
        assert dbg.step(20).pc in inside
    assert ticks(dbg) == before
    dbg.break_at("tick")
    assert isinstance(dbg.run(timeout=60), stops.BreakpointStop)


def test_steps_that_let_them_in_enter_the_handler(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    dbg.break_at("again", temporary=True)
    dbg.run(timeout=60)
    dbg.step_interrupts = True
    for _ in range(100_000):
        stop = dbg.step()
        if stop.pc == dbg.symbols["tick"]:
            break
    assert stop.pc == dbg.symbols["tick"]
    frame = dbg.memory.read(dbg.vcpu.stack, 6)
    assert int.from_bytes(frame[4:], "little") & 0x300 == 0x200  # IF set, no TF of ours


@pytest.mark.parametrize("filters", [{}, {"vector": 8}], ids=["any", "8"])
def test_catch_interrupt(kvm_guest: Guests, filters: dict[str, int]) -> None:
    """In real mode IRQ 0 mostly has the vector of a double fault; it is none."""
    dbg = kvm_guest(asm=BUSY)
    dbg.break_at("again", temporary=True)
    dbg.run(timeout=60)
    fault = dbg.catch("exception")
    dbg.catch("interrupt", **filters)
    for _ in range(3):
        stop = dbg.run(timeout=60)
        assert isinstance(stop, stops.CaughtStop), stop.describe()
        assert "0x8" in stop.describe() and not fault.hits


def test_snapshots_have_controllers_timer_and_time(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    dbg.break_at("tick", when="*(u16*)0x600 == 5", temporary=True)
    dbg.run(timeout=60)
    then, now = dbg.machine.bus.save(), dbg.machine.board.time.now()
    dbg.snapshots.save("a")
    dbg.break_at("tick", when="*(u16*)0x600 == 9")
    assert isinstance(dbg.run(timeout=60), stops.BreakpointStop)
    assert dbg.machine.board.time.now() > now
    dbg.snapshots.restore("a")
    assert dbg.machine.bus.save() == then and dbg.machine.board.time.now() == now
    assert isinstance(dbg.run(timeout=60), stops.BreakpointStop)
    assert ticks(dbg) == 9


def test_a_limit_of_instructions_runs_through_handlers(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    for _ in range(1000):
        assert isinstance(dbg.run(instructions=5000), stops.LimitStop)
        if ticks(dbg) > 3:
            break
    assert ticks(dbg) > 3


def test_a_line_raised_from_another_thread_ends_a_busy_loop(kvm_guest: Guests) -> None:
    asm = TICKS.replace("0xfe", "0xfd").replace("8 * 4", "9 * 4").replace("again:  hlt\n", "again:  nop\n")
    dbg = kvm_guest(asm=asm)
    dbg.break_at("tick")
    dbg.resume()
    assert dbg.wait(0.2) is None
    dbg.press("a")
    stop = dbg.wait(60)
    assert isinstance(stop, stops.BreakpointStop), stop
    assert dbg.physical.read(dbg.vcpu.stack, 2)


@pytest.mark.parametrize(("given", "machine", "expected"), [
    ("", "pc", "user"), ("", "bare", "none"), (True, "pc", "kernel"), (False, "pc", "none"), ("none", "pc", "none"),
    ("kernel", "bare", "kernel"), ("user", "bare", "user"),
])  # fmt: skip
def test_whose_controllers_there_are(kvm_guest: Guests, given: str | bool, machine: str, expected: str) -> None:
    dbg = kvm_guest(asm="in al, 0x21\nhlt", irqchip=given, machine=machine)
    board = dbg.machine.board
    found = "kernel" if dbg.machine.irqchip else "user" if board.pic is not None else "none"
    assert (found, board.has_interrupts) == (expected, expected != "none")


def test_several_vcpus_have_kvms(kvm_guest: Guests) -> None:
    assert kvm_guest(asm="hlt", cpus=2).machine.irqchip
    with pytest.raises(UsageError, match="--irqchip kernel"):
        kvm_guest(asm="hlt", cpus=2, irqchip="user")
    with pytest.raises(UsageError, match="kernel, user, none, not 'both'"):
        kvm_guest(asm="hlt", irqchip="both")


def test_guest_time_at_another_pace(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    dbg.break_at("again", temporary=True)
    typed(dbg, "set guest-time virtual 0.01")
    dbg.run(timeout=60)
    assert typed(dbg, "show guest-time") == "guest-time is virtual 0.01."
    before, began = dbg.machine.board.time.now(), time.monotonic_ns()
    dbg.run(timeout=0.3)
    assert 0 < dbg.machine.board.time.now() - before <= (time.monotonic_ns() - began) / 100
    assert "0.01 times the host's" in typed(dbg, "info device time")
    dbg.restart()
    dbg.run(timeout=0.1)
    assert dbg.machine.board.time.rate == 0.01
    typed(dbg, "set guest-time real")
    dbg.run(timeout=0.1)
    assert dbg.machine.board.time.rate == 1
    for wrong in ("virtual", "virtual 0", "virtual -1", "virtual x", "slow", "real 2"):
        with pytest.raises(UsageError, match="guest time is real, or virtual"):
            typed(dbg, f"set guest-time {wrong}")


def test_what_the_debugger_does_at_breakpoints_takes_no_guest_time(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=BUSY)
    dbg.break_at("again", temporary=True)
    dbg.run(timeout=60)

    @dbg.on.insn("again")
    def look(event: object) -> None:
        time.sleep(0.05)

    guest_time = dbg.machine.board.time
    before, began = guest_time.now(), time.monotonic_ns()
    dbg.watch(0x604, 4)
    dbg.run(timeout=60)
    for _ in range(5):
        dbg.run(timeout=60)
    assert guest_time.now() - before <= time.monotonic_ns() - began - 5 * 50_000_000

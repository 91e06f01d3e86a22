"""Interrupts of the machine's own controllers on a scripted vCPU: they are waited for, handed in, kept out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from kvmdbg.engine import stops
from kvmdbg.engine.arrivals import Arrivals
from kvmdbg.kvm import exits
from tests.scripted.cpu import ScriptedCpu, Work
from tests.scripted.machine import START, ScriptedSession, scripted_session

HANDLER, COUNT, LOOP = 0x1100, 0x3000, START + 1
CODE = bytes.fromhex("f4 eb fd")
"""hlt; jmp back. The handler counts, and ends the interrupt."""


def count(cpu: ScriptedCpu) -> None:
    cpu.memory.write(COUNT, bytes((cpu.memory.read(COUNT, 1)[0] + 1,)))


def end_of_interrupt(cpu: ScriptedCpu) -> Work:
    yield exits.IoExit("out", 0x20, 1, 1, b"\x20")


PROGRAM = {
    LOOP: (2, lambda cpu: cpu.jump(START)),
    HANDLER: (4, count),
    HANDLER + 4: (2, end_of_interrupt),
    HANDLER + 6: (1, ScriptedCpu.interrupt_return),
}


@pytest.fixture
def dbg() -> Iterator[ScriptedSession]:
    with scripted_session(CODE, PROGRAM) as session:
        session.physical.write(4 * 0x21, HANDLER.to_bytes(4, "little"))
        pic = session.machine.board.pic
        assert pic is not None
        pic.set_up(0x20, 0x28, (1,))
        session.regs.sp = 0x4000
        session.regs.rflags = 0x202
        yield session


def counted(dbg: ScriptedSession) -> int:
    return dbg.physical.read(COUNT, 1)[0]


def test_a_hlt_waits_until_a_line_is_raised(dbg: ScriptedSession) -> None:
    dbg.resume()
    assert dbg.wait(0.05) is None
    dbg.machine.board.pulse_irq(1)
    end = time.monotonic() + 30
    while (counted(dbg), dbg.cpu.halted) != (1, True) and time.monotonic() < end:
        time.sleep(0.01)
    stop = dbg.interrupt()
    assert isinstance(stop, stops.InterruptedStop) and stop.halted
    assert (counted(dbg), dbg.cpu.interrupts) == (1, [0x21])


def test_a_line_that_is_up_already_ends_it_at_once(dbg: ScriptedSession) -> None:
    dbg.machine.board.pulse_irq(1)
    dbg.break_at(HANDLER + 6)
    stop = dbg.run(timeout=10)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert counted(dbg) == 1


def test_deadlines_are_met_while_it_waits(dbg: ScriptedSession) -> None:
    board = dbg.machine.board
    board.time.at(20_000_000, lambda: board.pulse_irq(1))
    dbg.break_at(HANDLER)
    stop = dbg.run(timeout=10)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert board.time.now() >= 20_000_000


@pytest.mark.parametrize("hold", ["auto", "stepping"])
def test_a_line_that_is_raised_as_the_guest_is_stopped_ends_the_hlt(
    dbg: ScriptedSession, monkeypatch: pytest.MonkeyPatch, hold: str
) -> None:
    """Stepped in place of run it was handed in, and the hlt went on: the 8259 waited for the end of that interrupt."""
    wait = Arrivals.wait

    def until_stopped(arrivals: Arrivals) -> stops.Stop | None:
        stop = wait(arrivals)
        dbg.machine.board.pulse_irq(1)
        return stop

    dbg.breakpoint_hold = hold
    dbg.break_at(HANDLER + 0x40)
    with monkeypatch.context() as patch:
        patch.setattr(Arrivals, "wait", until_stopped)
        dbg.resume()
        end = time.monotonic() + 30
        while not dbg.cpu.halted and time.monotonic() < end:
            time.sleep(0.01)
        dbg.interrupt()
    dbg.break_at(HANDLER + 6)
    stop = dbg.run(timeout=10)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert (counted(dbg), dbg.cpu.interrupts) == (1, [0x21])


def test_nothing_can_come(dbg: ScriptedSession) -> None:
    dbg.regs.rflags = 2
    assert isinstance(dbg.run(timeout=10), stops.HaltedStop)
    dbg.regs.rip, dbg.regs.rflags = START, 0x202
    pic = dbg.machine.board.pic
    assert pic is not None
    pic.set_up(0x20, 0x28, (0, 2, 8))  # lines of clocks that do not run
    assert isinstance(dbg.run(timeout=10), stops.HaltedStop)


def test_interrupts_off_are_waited_for_to_go_on(dbg: ScriptedSession) -> None:
    """The vCPU exits as soon as it takes one; that is no exit of the guest's."""
    opened = START + 0x20
    dbg.cpu.program = PROGRAM | {
        opened: (1, lambda cpu: None),
        opened + 1: (1, lambda cpu: setattr(cpu.regs, "rflags", 0x202)),
        opened + 2: (2, lambda cpu: cpu.jump(START)),
    }
    dbg.regs.rip, dbg.regs.rflags = opened, 2
    dbg.machine.board.pulse_irq(1)
    dbg.break_at(HANDLER)
    stop = dbg.run(timeout=10)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()
    assert dbg.memory.read(dbg.vcpu.stack, 2) == (opened + 2).to_bytes(2, "little")
    assert "irq_window" not in dbg.exits.by_reason


def test_steps_keep_them_out_unless_told(dbg: ScriptedSession) -> None:
    dbg.regs.rip = LOOP
    dbg.machine.board.pulse_irq(1)
    assert dbg.step().pc == START
    assert not dbg.cpu.interrupts
    dbg.regs.rip = LOOP
    dbg.step_interrupts = True
    dbg.step()
    assert dbg.cpu.interrupts == [0x21]


def test_a_window_is_asked_for_in_free_runs_only(dbg: ScriptedSession) -> None:
    dbg.regs.rip, dbg.regs.rflags = LOOP, 2
    dbg.machine.board.pulse_irq(1)
    stop = dbg.step()
    assert isinstance(stop, stops.StepStop) and stop.pc == START

"""A hlt with the interrupt controllers in the kernel is no stop: it waits for an interrupt, stepped or not."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine.probe import host_profile
from kvmdbg.engine.stops import BreakpointStop, InterruptedStop, LimitStop, StepStop
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

TICKS = """
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7000
        mov word ptr [8 * 4], offset tick
        mov word ptr [8 * 4 + 2], 0
        mov al, 0x11
        out 0x20, al
        mov al, 8
        out 0x21, al
        mov al, 4
        out 0x21, al
        mov al, 1
        out 0x21, al
        mov al, 0xfe
        out 0x21, al
        mov al, 0x34
        out 0x43, al
        mov al, 0
        out 0x40, al
        mov al, 0x10
        out 0x40, al
        sti
again:  hlt
behind: jmp again
tick:   inc word ptr [0x600]
        mov al, 0x20
        out 0x20, al
        iret
"""
"""The PIT ticks 290 times a second; [0x600] counts."""


def ticking(kvm_guest: Guests) -> Session:
    dbg = kvm_guest(asm=TICKS, irqchip=True)
    dbg.break_at("again", temporary=True)
    assert isinstance(dbg.run(timeout=20), BreakpointStop)
    return dbg


def ticks(dbg: Session) -> int:
    return int.from_bytes(dbg.physical.read(0x600, 2), "little")


def test_a_step_over_it_ends_behind_it_and_the_ticks_go_on(kvm_guest: Guests) -> None:
    dbg = ticking(kvm_guest)
    before = ticks(dbg)
    stop = dbg.step()
    assert isinstance(stop, StepStop), stop.describe()
    assert (stop.pc, ticks(dbg)) == (dbg.symbols["behind"], before)
    dbg.break_at("tick", when=f"*(u16*)0x600 == {before + 20}")
    assert isinstance(dbg.run(timeout=20), BreakpointStop)


def test_a_breakpoint_on_it_with_a_condition(kvm_guest: Guests) -> None:
    dbg = ticking(kvm_guest)
    wanted = ticks(dbg) + 20
    dbg.break_at("again", when=f"*(u16*)0x600 >= {wanted}")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, BreakpointStop), stop.describe()
    assert stop.pc == dbg.symbols["again"]
    assert ticks(dbg) >= wanted


def test_steps_that_let_interrupts_in_come_to_the_handler(kvm_guest: Guests) -> None:
    dbg = ticking(kvm_guest)
    dbg.step_interrupts = True
    for _ in range(5):
        places = {dbg.step().pc for _ in range(50)}
        if host_profile().halts_late or not host_profile().steps_into_handlers:  # else the step waits in KVM alone
            assert dbg.symbols["tick"] in places
        assert dbg.symbols["behind"] in places  # where steps are slow, the next tick is due before the jump is done


def test_a_limit_and_an_interrupt_say_that_it_waits(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="cli\nhlt\nbehind: nop", irqchip=True)
    for _ in range(50):  # a machine that is slow may not have come to it at first
        stop = dbg.run(timeout=0.3)
        assert isinstance(stop, LimitStop)
        if stop.halted:
            break
    assert stop.pc == dbg.symbols["behind"]
    assert stop.describe().endswith("after 0.3 s, halted: it waits for an interrupt")
    dbg.resume()
    stop = dbg.interrupt()
    assert isinstance(stop, InterruptedStop)
    assert stop.halted


def test_a_step_that_waits_can_be_interrupted(kvm_guest: Guests) -> None:
    """A KVM whose own step ends behind the hlt waits in the next one."""
    dbg = kvm_guest(asm="cli\nhlt\nbehind: nop\nnop\nnop", irqchip=True)
    dbg.step()
    for _ in range(2):
        dbg.go({0: (0, 0)}, ())
        dbg.wait(timeout=0.3)
        stop = dbg.interrupt()
        assert stop is not None
        assert stop.pc == dbg.symbols["behind"]

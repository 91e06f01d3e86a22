"""A breakpoint that has fired is passed before an interrupt of KVM's own chips comes in, which would return to it."""

from __future__ import annotations

import time

import pytest

from kvmdbg.engine.stops import BreakpointStop, HaltedStop
from kvmdbg.pytest_plugin import Guests
from tests.interrupt_controllers import ticks

pytestmark = pytest.mark.kvm

TICKS = """
.code64
    mov rsp, 0x8000
    lidt [idtr]
    xor ecx, ecx
    {timer}
    sti
    nop
open:
    cli
    hlt
tick:
    inc ecx
    mov al, 0x20
    out 0x20, al
    iretq
.balign 16
idtr: .word 0x21 * 16 - 1
    .quad idt
idt: .skip 0x20 * 16
    .word tick, 8, 0x8e00, 0, 0, 0, 0, 0
"""


@pytest.mark.parametrize("hold", ["auto", "stepping"])
def test_it_fires_once(kvm_guest: Guests, hold: str) -> None:
    dbg = kvm_guest(asm=TICKS.format(timer=ticks(0x20)), mode="long", irqchip="kernel")
    dbg.breakpoint_hold = hold
    point = dbg.break_at("open")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, BreakpointStop), stop.describe()
    time.sleep(0.1)  # the next tick waits now
    stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert point.hits == 1

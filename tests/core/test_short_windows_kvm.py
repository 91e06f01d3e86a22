"""A guest that lets interrupts in for an instruction only, now and then, gets them: also on a KVM that hardly looks."""

from __future__ import annotations

import pytest

from kvmdbg.engine.stops import BreakpointStop
from kvmdbg.pytest_plugin import Guests
from tests.interrupt_controllers import TIMER_ONLY

pytestmark = pytest.mark.kvm

GUEST = (
    """
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7000
        mov word ptr [8 * 4], offset tick
        mov word ptr [8 * 4 + 2], ax
"""
    + TIMER_ONLY
    + """
        xor al, al
        out 0x40, al
        out 0x40, al
again:  sti
        nop
        cli
        mov cx, 3000
        loop .
        cmp byte ptr [0x600], 14
        jb again
enough: hlt
tick:   inc byte ptr [0x600]
        push ax
        mov al, 0x20
        out 0x20, al
        pop ax
        iret
"""
)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_it_gets_its_ticks(kvm_guest: Guests, elsewhere: bool, time_scale: float) -> None:
    dbg = kvm_guest(asm=GUEST)
    enough = dbg.break_at("enough")
    if elsewhere:
        dbg.break_at("tick").ignore = 1
    stops = [dbg.run(timeout=30 * time_scale)]
    while elsewhere and enough not in stops[-1].breakpoints and len(stops) < 30:
        stops.append(dbg.run(timeout=30 * time_scale))
    assert all(isinstance(stop, BreakpointStop) for stop in stops) and enough in stops[-1].breakpoints
    assert dbg.memory.read(0x600, 1)[0] >= 14  # more where the last ones come together, on a busy host

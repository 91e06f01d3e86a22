"""NMIs that the user raises."""

from __future__ import annotations

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.engine import stops
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

GUEST = """
        mov word ptr [8], offset nmi
        mov word ptr [10], 0
        mov sp, 0x8000
        cli
        hlt
        inc ax
        hlt
nmi:    inc bx
        iret
"""


def test_it_wakes_a_guest_that_keeps_interrupts_out(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=GUEST)
    assert dbg.run().reason == "halted"
    (said,) = Interpreter(dbg).execute("nmi")
    assert said.plain(100) == "An NMI waits for vCPU 0."
    assert dbg.run().reason == "halted"
    assert (dbg.regs.ax, dbg.regs.bx) == (1, 1)


def test_it_is_part_of_recordings(kvm_guest: Guests) -> None:
    first, second = (kvm_guest(asm=GUEST) for _ in range(2))
    with first.record() as log:
        first.run()
        first.nmi()
        first.run()
    assert isinstance(second.replay(log), stops.ReplayedStop)
    assert (second.regs.ax, second.regs.bx) == (1, 1)

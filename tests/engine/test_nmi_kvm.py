"""NMIs that wait while the guest is stepped: delivered as they are alone, with nothing of the step in their frames."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.pytest_plugin import Guests

pytestmark = pytest.mark.kvm

GUEST = """
        mov word ptr [8], offset nmi
        mov word ptr [10], 0
        mov word ptr [4], offset debug
        mov word ptr [6], 0
        mov sp, 0x8000
start:  inc ax
        inc ax
done:   hlt
nmi:    inc word ptr [0x600]
        iret
debug:  inc word ptr [0x602]
        iret
"""
VALID_NMI_PENDING = 1


def raise_nmi(dbg: Session) -> None:
    vcpu = dbg.runner.vcpu

    def raise_it() -> None:
        events = vcpu.get_events()
        events.nmi.pending = 1
        events.flags |= VALID_NMI_PENDING
        vcpu.set_events(events)

    dbg.runner.call(raise_it)


def place(dbg: Session, name: str) -> int:
    return dbg.points.resolve(name)[0]


def frame(dbg: Session) -> bytes:
    return dbg.physical.read(0x7FFA, 6)


@pytest.mark.parametrize("hold", ["auto", "stepping"])
def test_nothing_of_the_debugger_is_in_its_frame(kvm_guest: Guests, hold: str) -> None:
    dbg = kvm_guest(asm=GUEST)
    dbg.break_at("start", temporary=True)
    dbg.run()
    dbg.breakpoint_hold = hold
    dbg.break_at("nmi")
    raise_nmi(dbg)
    assert dbg.run().pc == place(dbg, "nmi")
    assert int.from_bytes(frame(dbg)[:2], "little") == place(dbg, "start") and not frame(dbg)[5] & 1
    assert dbg.run().reason == "halted"
    assert (dbg.physical.read(0x600, 2), dbg.physical.read(0x602, 2)) == (b"\1\0", b"\0\0")
    assert dbg.regs.ax == 2


def test_in_steps_a_second_comes_behind_the_firsts_handler(kvm_guest: Guests) -> None:
    """Alone it may come later on a KVM in software, which does not look for it at once."""
    dbg = kvm_guest(asm=GUEST)
    dbg.break_at("start", temporary=True)
    dbg.run()
    dbg.breakpoint_hold = "stepping"
    dbg.break_at("nmi")
    raise_nmi(dbg)
    dbg.run()
    first = frame(dbg)
    raise_nmi(dbg)
    assert dbg.run().pc == place(dbg, "nmi")
    assert frame(dbg) == first
    assert dbg.run().reason == "halted"
    assert (dbg.physical.read(0x600, 2), dbg.physical.read(0x602, 2)) == (b"\2\0", b"\0\0")


def test_steps_keep_one_out(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=GUEST)
    dbg.break_at("start", temporary=True)
    dbg.run()
    raise_nmi(dbg)
    dbg.step(2)
    assert dbg.regs.pc == place(dbg, "done") and dbg.physical.read(0x600, 2) == b"\0\0"

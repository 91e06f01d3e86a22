"""Runs with interrupts of the machine's own controllers are recorded, and given back at the same places."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.pytest_plugin import Guests
from kvmdbg.timeline.log import Interrupt, Log
from tests.conftest import SOFT, TIME_SCALE
from tests.core.test_halt_kvm import TICKS, ticks
from tests.engine.test_arrivals_kvm import BUSY

pytestmark = pytest.mark.kvm

FOLLOWED = TICKS.replace("behind: jmp again", "behind: in al, 0x40\n out 0x99, al\n inc dword ptr [0x608]\n jmp again")
"""After each tick it reads the timer's count, whose first byte is another each time."""
ON_KEYS = "cli\nxor ax, ax\nmov ds, ax\nmov word ptr [36], offset key\nmov word ptr [38], 0\n"
KEY = "\nkey: push ax\n in al, 0x60\n inc byte ptr [0x60c]\n mov al, 0x20\n out 0x20, al\n pop ax\n iret\n"
WITH_KEYS = FOLLOWED.replace("0xfe", "0xfc").replace("cli\n", ON_KEYS) + KEY


def guest(kvm_guest: Guests, asm: str) -> Session:
    """On a slow machine its time is slower, so that it gets on between two ticks; but a busy loop's is faster, as each
    round of it is a stop in the replay. The software engine makes many."""
    dbg = kvm_guest(asm=asm)
    dbg.world.guest_rate = TIME_SCALE * (30 if SOFT else 1) if asm == BUSY else 1 / TIME_SCALE
    return dbg


def replayed(dbg: Session, log: Log) -> stops.Stop:
    stop = dbg.replay(log)
    for _ in range(1000):
        if isinstance(stop, stops.ReplayedStop | stops.DivergedStop | stops.ErrorStop):
            break
        stop = dbg.replay(log)
    assert isinstance(stop, stops.ReplayedStop), stop.describe()
    return stop


def same(first: Session, second: Session) -> None:
    assert second.regs.snapshot() == first.regs.snapshot()
    assert second.physical.read(0, 0x10000) == first.physical.read(0, 0x10000)
    ours, theirs = (dict(dbg.machine.bus.save()) for dbg in (second, first))
    del ours["cmos"], theirs["cmos"]  # each has the date of its own start
    assert ours == theirs
    assert second.vcpu.halted == first.vcpu.halted


@pytest.mark.parametrize("asm", [TICKS, FOLLOWED, BUSY], ids=["hlt", "reads", "busy"])
def test_ticks_come_where_they_came(kvm_guest: Guests, asm: str) -> None:
    first, second = guest(kvm_guest, asm), guest(kvm_guest, asm)
    with first.record() as log:
        first.break_at("tick", when="*(u16*)0x600 == 5")
        first.run(timeout=60)
    assert sum(isinstance(one, Interrupt) for one in log.entries) == 6
    replayed(second, log)
    assert ticks(second) == ticks(first) == 5
    same(first, second)


def test_an_end_in_a_hlt_and_on_from_there(kvm_guest: Guests) -> None:
    first, second = guest(kvm_guest, TICKS), guest(kvm_guest, TICKS)
    with first.record() as log:
        for _ in range(100):
            stop = first.run(timeout=0.05)
            if isinstance(stop, stops.LimitStop) and stop.halted:
                break
    assert first.vcpu.halted
    replayed(second, log)
    same(first, second)
    before = ticks(second)
    second.break_at("tick", when=f"*(u16*)0x600 == {before + 3}")
    stop = second.run(timeout=60)
    assert isinstance(stop, stops.BreakpointStop), stop.describe()


def test_steps_that_pass_a_hlt_without_its_interrupt(kvm_guest: Guests) -> None:
    counting = TICKS.replace("behind: jmp again", "behind: inc cx\n jmp again")
    first, second = guest(kvm_guest, counting), guest(kvm_guest, counting)
    with first.record() as log:
        first.break_at("again", temporary=True)
        first.run(timeout=60)
        first.step(6)  # hlt, inc and jmp, twice
        first.physical.write(0x5000, b"changed")
        first.break_at("tick", when="*(u16*)0x600 == 3")
        first.run(timeout=60)
    assert ticks(first) == 3
    replayed(second, log)
    same(first, second)


def keys(dbg: Session) -> int:
    """How many bytes have come from the keyboard: two for a key."""
    return dbg.physical.read(0x60C, 1)[0]


def test_keys_ticks_and_a_change(kvm_guest: Guests) -> None:
    first, second = guest(kvm_guest, WITH_KEYS), guest(kvm_guest, WITH_KEYS)
    with first.record() as log:
        first.run(exits=60)
        first.press("a", hold=1)
        first.run(exits=60)
        first.regs.rbx = 0x1234
        first.physical.write(0x5000, b"changed")
        first.resume()
        first.press("b")
        while keys(first) < 4:
            first.wait(0.05)
        first.interrupt()
    assert {one.vector for one in log.entries if isinstance(one, Interrupt)} == {8, 9}
    replayed(second, log)
    same(first, second)
    assert second.physical.read(0x60C, 1) == b"\x04" and second.regs.rbx == 0x1234

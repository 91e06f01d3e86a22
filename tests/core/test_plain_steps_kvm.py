"""Steps over instructions that raise nothing, which are made without traps and several in a row."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine.stops import HaltedStop, LimitStop
from tests.conftest import TIME_SCALE
from tests.core.conftest import Boot

pytestmark = pytest.mark.kvm

COUNTER = bytes.fromhex("40 e710 89c3 66050000 0100 ebf3")  # again: inc ax; out 10h, ax; mov bx, ax; add eax; jmp
# mov eax, 0x1020; mov dr0, eax; mov eax, 2; mov dr7, eax; jmp 0x1020
OWN_BREAKPOINT = bytes.fromhex("66b820100000 0f23c0 66b802000000 0f23f8 eb0c").ljust(0x20, b"\x90")
BEHIND = "{} 40 f4"  # at 0x1020: …; inc ax; hlt
HANDLER = bytes.fromhex("6631c0 0f23f8 43 cf")  # at 0x2000: xor eax, eax; mov dr7, eax; inc bx; iret


def written(dbg: Session) -> int:
    return sum(entry.count for entry in dbg.control.runners[0].ports.values() if entry.port == 0x10)


def test_many_are_the_same_as_each_alone(boot: Boot) -> None:
    """Registers and what went to the port, where a stride begins and ends at all places."""
    alone, together = boot(COUNTER), boot(COUNTER)
    one_by_one: list[bytes] = []
    for _ in range(120):
        alone.step(record=one_by_one)
    in_a_row: list[bytes] = []
    for count in (1, 2, 3, 4, 10, 100):
        together.step(count, record=in_a_row)
    assert in_a_row == one_by_one
    assert written(alone) == written(together) == 24
    assert together.step().pc == alone.step().pc


def test_they_go_on_at_every_place_of_a_page(boot: Boot) -> None:
    dbg = boot(b"\x40" * 0x1010)  # inc ax
    assert dbg.step(0xFF0).pc == 0x1FF0
    assert dbg.step().pc == 0x1FF1
    assert dbg.step(0x1F).pc == 0x2010
    assert dbg.regs.ax == 0x1010


def test_a_breakpoint_within_ends_them(boot: Boot) -> None:
    dbg = boot(COUNTER)
    dbg.break_at(0x1003, when="$ax == 3")
    assert dbg.step(1000).pc == 0x1003
    assert dbg.regs.ax == 3


def test_a_limit_of_exits_ends_them(boot: Boot) -> None:
    dbg = boot(COUNTER)
    stop = dbg.run(instructions=1000, exits=7)
    assert isinstance(stop, LimitStop), stop.describe()
    assert (written(dbg), dbg.regs.ax & 0xFFFF) == (7, 7)


def test_they_end_from_outside(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("40 ebfd"))  # again: inc ax; jmp again
    assert isinstance(dbg.run(instructions=10**9, timeout=0.1 * TIME_SCALE), LimitStop)
    before = dbg.regs.ax
    dbg.step(2)
    assert dbg.regs.ax - before & 0xFFFF == 1


@pytest.mark.parametrize("instruction", ["90", "eb00", "43", "89c9"], ids=["nop", "jmp", "inc", "mov"])
def test_a_breakpoint_of_the_guests_own_fires_there(boot: Boot, instruction: str) -> None:
    """Also where a breakpoint of the debugger's is passed, or a step made."""

    def ready() -> Session:
        dbg = boot(OWN_BREAKPOINT + bytes.fromhex(BEHIND.format(instruction)), registers={"rsp": 0x8000})
        dbg.physical.write(4, bytes.fromhex("00200000"))
        dbg.physical.write(0x2000, HANDLER)
        return dbg

    free = ready()
    assert isinstance(free.run(), HaltedStop)
    passed = ready()
    passed.break_at(0x1020, when="0 == 1")
    assert isinstance(passed.run(), HaltedStop)
    stepped = ready()
    while not isinstance(stepped.step(3), HaltedStop):
        pass
    if free.guest.host.profile.kernel_execute_dr:  # else the CPU loads none, and KVM has them where it emulates alone
        assert [(one.regs.ax, one.regs.bx) for one in (passed, stepped)] == [(free.regs.ax, free.regs.bx)] * 2

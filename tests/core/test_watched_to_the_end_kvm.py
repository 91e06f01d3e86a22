"""Watched guests that die, and guards whose KVM cannot go back past what they have spoilt."""

from __future__ import annotations

import pytest

from kvmdbg.engine.probe import shutdown_resets
from kvmdbg.engine.retreat import Retreat
from kvmdbg.engine.stops import BreakpointStop, ErrorStop, FatalStop, HaltedStop
from kvmdbg.pytest_plugin import Guests
from tests.core.long_mode_handler import with_handler

pytestmark = pytest.mark.kvm

DIES = """
    lidt [none]
    mov esp, 0x7000
    mov dword ptr [0x4000], 1
last: {last}
    hlt
none: .skip 6
"""


@pytest.mark.parametrize("hold", ["auto", "stepping"])
@pytest.mark.parametrize("kind", ["write", "read", "access"])
@pytest.mark.parametrize("last", ["int 0x30", "ud2", "div dword ptr [0x4004]"])
def test_a_watched_instruction_that_shuts_the_cpu_down_ends(kvm_guest: Guests, last: str, kind: str, hold: str) -> None:
    """What is watched is the stack, and what the instruction reads."""
    dbg = kvm_guest(asm=DIES.format(last=last), mode="prot")
    dbg.breakpoints.hold = hold
    for place in (*range(0x6FF0, 0x7000, 4), 0x4004):
        dbg.watch(place, 4, kind)
    died = dbg.run(timeout=30)
    while not isinstance(died, FatalStop):
        assert dbg.vcpu.pc < dbg.symbols["last"] + 8 and dbg.state == "stopped", died.describe()
        died = dbg.run(timeout=30)
    assert died.pc == dbg.symbols["last"] or shutdown_resets()


def test_a_stepping_watch_beside_a_planted_breakpoint_gets_on(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="nop; nop; here: nop; nop; hlt", mode="prot")
    dbg.watch(0x4000, 4, "read")
    dbg.breakpoints.hold = "planted"
    here = dbg.break_at(dbg.symbols["here"])
    assert isinstance(dbg.run(timeout=30), BreakpointStop)
    assert isinstance(dbg.run(timeout=30), HaltedStop)
    assert here.hits == 1


SPOILS = with_handler(
    0,
    "mov rsp, 0x9000; xor ecx, ecx; mov eax, 1; cdq; div ecx; mov al, 'k'; mov dx, 0x3f8; out dx, al; hlt",
    "add qword ptr [rsp], 2",
)


@pytest.mark.kvm_alone
def test_what_a_guard_has_spoilt_is_told_before_wrong_state_goes_on(
    kvm_guest: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Retreat, "back", lambda self: False)
    dbg = kvm_guest(asm=SPOILS, mode="long", load=0x10000)
    watches = [dbg.watch(place, 1) for place in range(0x8100, 0x8128, 8)]
    stop = dbg.run(timeout=50)
    if dbg.guest.host.profile.guards_restart:
        assert isinstance(stop, HaltedStop), stop.describe()
    else:
        assert isinstance(stop, ErrorStop)
        assert f"the page at 0x8000, which watchpoint {watches[0].number} has guarded" in stop.message
        dbg.restart()
        stop = dbg.run(timeout=50)
        assert isinstance(stop, HaltedStop), stop.describe()
    assert dbg.output == b"k"

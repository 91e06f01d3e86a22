"""Steps while the timer interrupts: in the kernel's PIC and PIT, which a machine with two vCPUs has."""

from __future__ import annotations

import time

import pytest

from kvmdbg.core.session import Session
from kvmdbg.errors import NotSupportedHere
from tests.core.conftest import Boot, take_debug_registers

pytestmark = pytest.mark.kvm

# Real mode: PIC (ICW1 to ICW4: vectors from 8, automatic end of interrupt), IRQ 0 alone; PIT channel 0 as
# slow as it can be, 18 times a second; IVT entry 8 to 0:0x1100; sti
SET_UP = bytes.fromhex(
    "fa b011 e620 b008 e621 b004 e621 b003 e621 b0fe e621 b034 e643 b000 e640 b000 e640"
    "31c0 8ed8 c7062000 0011 c7062200 0000 fb"
)
LOOP = 0x1000 + len(SET_UP)
# again: inc bx; nop; nop; jmp again
CODE = SET_UP + bytes.fromhex("43 90 90 ebfb")
HANDLER = bytes.fromhex("ff060090 cf")  # inc word [0x9000]; iret
IN_HANDLER = range(0x1100, 0x1100 + len(HANDLER))


def ticks(dbg: Session) -> int:
    return int.from_bytes(dbg.physical.read(0x9000, 2), "little")


def run_for_ticks(dbg: Session) -> None:
    """Let it run until the timer has interrupted it, and stop it in the loop."""
    before, end = ticks(dbg), time.monotonic() + 30
    while ticks(dbg) == before or dbg.vcpu.pc not in range(LOOP, LOOP + 5):
        assert time.monotonic() < end
        dbg.resume()
        time.sleep(0.02)
        dbg.interrupt()


def ticking(boot: Boot) -> Session:
    dbg = boot(CODE.ljust(0x100, b"\x90") + HANDLER, cpus=2)
    run_for_ticks(dbg)
    return dbg


def test_a_step_does_not_land_in_the_timers_interrupt(boot: Boot) -> None:
    dbg = ticking(boot)
    if not dbg.control.blocks_interrupts:
        assert dbg.step_interrupts
        with pytest.raises(NotSupportedHere, match="interrupts"):
            dbg.step_interrupts = False
        return
    before = ticks(dbg)
    for _ in range(200):
        time.sleep(0.0005)
        dbg.step()
        assert dbg.vcpu.pc not in IN_HANDLER
    dbg.step(200)
    assert ticks(dbg) == before
    run_for_ticks(dbg)


def test_a_step_may_let_interrupts_in(boot: Boot) -> None:
    dbg = ticking(boot)
    dbg.step_interrupts = True
    before, end = ticks(dbg), time.monotonic() + 30
    while dbg.vcpu.pc not in IN_HANDLER and ticks(dbg) == before:
        assert time.monotonic() < end
        time.sleep(0.0005)
        dbg.step()
    if dbg.guest.host.profile.steps_into_handlers:
        assert dbg.vcpu.pc == 0x1100


@pytest.mark.parametrize("registers_taken", [False, True], ids=["first four", "beyond four"])
def test_a_breakpoint_is_passed_once_while_the_timer_interrupts(boot: Boot, registers_taken: bool) -> None:
    dbg = ticking(boot)
    if registers_taken:
        take_debug_registers(dbg)
    dbg.break_at(LOOP)
    dbg.run(timeout=30)
    first = dbg.regs.bx
    for count in range(1, 100):
        time.sleep(0.002)
        stop = dbg.run(timeout=30)
        assert (stop.pc, (dbg.regs.bx - first) & 0xFFFF) == (LOOP, count)


@pytest.mark.parametrize("registers_taken", [False, True], ids=["first four", "beyond four"])
def test_interrupts_come_where_each_instruction_has_a_breakpoint(boot: Boot, registers_taken: bool) -> None:
    """A loop waits for the timer: as the steps past breakpoints keep it out, it has to come between them."""
    wait = bytes.fromhex("833e009000 74f9 90 ebfd")  # again: cmp word [0x9000], 0; je again; done: nop; jmp $
    dbg = boot((SET_UP + wait).ljust(0x100, b"\x90") + HANDLER, cpus=2)
    if registers_taken:
        take_debug_registers(dbg)
    again, done = LOOP, LOOP + 7
    for place in (again, again + 5):
        dbg.break_at(place, when="$bx == 1")
    dbg.break_at(done)
    assert dbg.run(timeout=30).pc == done
    assert ticks(dbg) >= 1
    assert [point.hits for point in dbg.breakpoints][-1] == 1

"""A hlt that an interrupt may end is no stop: it waits for it, stepped or not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.engine.stops import BreakpointStop, HaltedStop, InterruptedStop, LimitStop, StepStop
from kvmdbg.pytest_plugin import Guests
from tests.conftest import TIME_SCALE
from tests.interrupt_controllers import TIMER_ONLY

pytestmark = pytest.mark.kvm

TICKS = (
    """
        cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7000
        mov word ptr [8 * 4], offset tick
        mov word ptr [8 * 4 + 2], 0
"""
    + TIMER_ONLY
    + """
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
)
"""The PIT ticks 290 times a second; [0x600] counts."""


@pytest.fixture(params=["kernel", "user"])
def irqchip(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ticking(kvm_guest: Guests, irqchip: str, asm: str = TICKS) -> Session:
    dbg = kvm_guest(asm=asm, irqchip=irqchip)
    dbg.break_at("again", temporary=True)
    assert isinstance(dbg.run(timeout=20 * TIME_SCALE), BreakpointStop)
    return dbg


def ticks(dbg: Session) -> int:
    return int.from_bytes(dbg.physical.read(0x600, 2), "little")


def test_waiting_takes_no_processor_time(kvm_guest: Guests, irqchip: str) -> None:
    dbg = ticking(kvm_guest, irqchip, TICKS.replace("al, 0x10", "al, 0xff"))  # 18 times a second
    before, used = ticks(dbg), time.process_time()
    stop = dbg.run(timeout=2)
    used = time.process_time() - used
    assert isinstance(stop, LimitStop), stop.describe()
    assert ticks(dbg) > before
    assert used < 0.3 * TIME_SCALE, "all threads of the debugger, and what the guest ran"


def test_a_step_over_it_ends_behind_it_and_the_ticks_go_on(kvm_guest: Guests, irqchip: str) -> None:
    dbg = ticking(kvm_guest, irqchip)
    before = ticks(dbg)
    stop = dbg.step()
    assert isinstance(stop, StepStop), stop.describe()
    assert (stop.pc, ticks(dbg)) == (dbg.symbols["behind"], before)
    stop = dbg.step()  # interrupts are kept out, but not what ends the hlt
    assert isinstance(stop, StepStop), stop.describe()
    assert (stop.pc, ticks(dbg)) == (dbg.symbols["again"], before)
    dbg.break_at("tick", when=f"*(u16*)0x600 == {before + 20}")
    assert isinstance(dbg.run(timeout=20 * TIME_SCALE), BreakpointStop)


LOCAL_TIMER = """
        lidt [idtr]
        mov al, 0xff
        out 0x21, al
        out 0xa1, al
        mov dword ptr [0xfee000f0], 0x1ff
        mov dword ptr [0xfee003e0], 3
        mov dword ptr [0xfee00320], 0x20020
        mov dword ptr [0xfee00380], 20000000
        mov esp, 0x7000
        sti
again:  hlt
behind: jmp again
tick:   mov dword ptr [0xfee000b0], 0
        iretd
idtr:   .word 0x21 * 8 - 1
        .long idt
idt:    .skip 0x20 * 8
        .word tick, 8, 0x8e00, 0
"""


def test_steps_over_it_where_the_timer_of_the_local_apic_ends_it(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=LOCAL_TIMER, mode="prot", irqchip="kernel")
    dbg.break_at("again")
    assert isinstance(dbg.run(timeout=20 * TIME_SCALE), BreakpointStop)
    with dbg.world.limited(20 * TIME_SCALE):
        stops = [dbg.step() for _ in range(2)]
    assert [stop.pc for stop in stops] == [dbg.symbols["behind"], dbg.symbols["again"]]


def test_a_breakpoint_on_it_with_a_condition(kvm_guest: Guests, irqchip: str) -> None:
    dbg = ticking(kvm_guest, irqchip)
    wanted = ticks(dbg) + 20
    dbg.break_at("again", when=f"*(u16*)0x600 >= {wanted}")
    stop = dbg.run(timeout=20 * TIME_SCALE)
    assert isinstance(stop, BreakpointStop), stop.describe()
    assert stop.pc == dbg.symbols["again"]
    assert ticks(dbg) >= wanted


def test_steps_that_let_interrupts_in_come_to_the_handler(kvm_guest: Guests, irqchip: str) -> None:
    dbg = ticking(kvm_guest, irqchip)
    dbg.world.guest_rate = 1 / TIME_SCALE
    dbg.step_interrupts = True
    for _ in range(5):
        places = {dbg.step().pc for _ in range(50)}
        profile = dbg.guest.host.profile
        if irqchip == "user" or profile.halts_late or not profile.steps_into_handlers:  # else it waits in KVM alone
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


def test_it_is_a_stop_where_nothing_can_end_it(kvm_guest: Guests) -> None:
    masked = "mov al, 0xff; out 0x21, al\n"
    for asm in ("cli\nhlt", "sti\nhlt", TICKS.replace("sti\n", f"{masked}sti\n"), TICKS.replace("sti\n", "")):
        dbg = kvm_guest(asm=asm)
        stop = dbg.run(timeout=60)
        assert isinstance(stop, HaltedStop), stop.describe()
        dbg.restart()
        dbg.break_at(dbg.vcpu.pc)
        stop = dbg.run(timeout=60)
        while not isinstance(stop, HaltedStop):
            stop = dbg.step()


def test_with_its_own_controllers_a_limit_and_an_interrupt_say_so_too(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=TICKS.replace("mov al, 0x34", "mov al, 0x30").replace("0xfe", "0xfd"))
    for _ in range(50):
        stop = dbg.run(timeout=0.3)
        assert isinstance(stop, LimitStop), stop.describe()
        if stop.halted:
            break
    assert stop.pc == dbg.symbols["behind"] and dbg.vcpu.state == "halted"
    dbg.snapshots.save("waiting")
    dbg.resume()
    stop = dbg.interrupt()
    assert isinstance(stop, InterruptedStop) and stop.halted
    dbg.restart()
    assert not dbg.vcpu.halted
    dbg.snapshots.restore("waiting")
    assert dbg.vcpu.halted
    stop = dbg.run(timeout=0.3)
    assert isinstance(stop, LimitStop) and stop.halted and stop.pc == dbg.symbols["behind"]


def test_a_hlt_that_nothing_ends_is_a_stop(kvm_guest: Guests, irqchip: str) -> None:
    """With interrupts off, also where KVM has the controllers: nobody would ever hear of it."""
    dbg = kvm_guest(asm="cli; mov al, 1; hlt; behind: mov al, 2; hlt", irqchip=irqchip)
    stop = dbg.run(timeout=30)
    assert isinstance(stop, HaltedStop), stop.describe()
    assert (dbg.regs.rax & 0xFF, stop.pc) == (1, dbg.symbols["behind"])


def test_several_halt_for_good_together() -> None:
    """guests/smp.elf without its loops: the last processor to halt stops all, and none before."""
    with kvmdbg.open(Path(__file__).resolve().parents[2] / "guests" / "smp.elf", cpus=2, serial="none") as dbg:
        dbg.break_at("count", temporary=True, when="started && counted[0] && counted[1]")
        assert isinstance(dbg.run(timeout=60), BreakpointStop)
        dbg.memory.write(dbg.symbols["count"], b"\xf4")  # its loop goes on behind the hlt of the one that is woken
        stop = dbg.run(timeout=60)
        assert isinstance(stop, HaltedStop), stop.describe()
        assert [view.registers.get("rip") for view in dbg.vcpus] == [dbg.symbols["count"] + 1] * 2

"""Two vCPUs: the second waits for INIT and SIPI, then both run, stop and are looked at together."""

from __future__ import annotations

import pytest

from kvmdbg.core.session import Session
from kvmdbg.debuginfo.backtrace import backtrace
from kvmdbg.engine.stops import BreakpointStop, CaughtStop, InterruptedStop, LimitStop, WatchpointStop
from kvmdbg.errors import UsageError
from tests.core.conftest import Boot, take_debug_registers

pytestmark = pytest.mark.kvm

# Protected mode. mov dword [0xfee000f0], 0x1ff (APIC on); mov dword [0xfee00310], 1 << 24 (to APIC 1);
# mov dword [0xfee00300], 0x4500 (INIT); mov dword [0xfee00300], 0x4608 (SIPI to 0x8000);
# again: inc dword [0x9000]; jmp again
BOOT = bytes.fromhex(
    "c705f000e0fe ff010000 c7051003e0fe 00000001 c7050003e0fe 00450000 c7050003e0fe 08460000 ff0500900000 ebf8"
)
LOOP = 0x1000 + 40
# real mode at 0x8000: again: inc cx; mov [0x9004], cx; jmp again
SECOND = bytes.fromhex("41 890e0490 ebf9")


def start(boot: Boot) -> Session:
    dbg = boot(BOOT, 32, cpus=2)
    dbg.physical.write(0x8000, SECOND)
    return dbg


def test_the_second_waits(boot: Boot) -> None:
    dbg = boot(b"\xeb\xfe", 16, cpus=2)
    assert "uninitialized" in dbg.vcpus[1].state
    dbg.resume()
    stop = dbg.interrupt()
    assert isinstance(stop, InterruptedStop)
    assert "uninitialized" in dbg.vcpus[1].state
    assert dbg.vcpu.pc == 0x1000


def test_the_second_begins_where_it_is_told_though_its_state_is_asked(boot: Boot) -> None:
    """KVM takes INIT and SIPI when it is asked for the state, too."""
    dbg = start(boot)
    dbg.breakpoint_hold = "stepping"
    dbg.step(4)
    assert dbg.vcpus[1].state == "runnable"
    assert (dbg.vcpus[1].pc, dbg.vcpus[1].registers["rip"]) == (0x8000, 0)
    dbg.break_at(0x8001)
    stop = dbg.run(timeout=30)
    assert (stop.vcpu, stop.pc, dbg.regs.cx) == (1, 0x8001, 1)


@pytest.mark.parametrize("registers_taken", [False, True], ids=["first four", "beyond four"])
def test_a_breakpoint_on_the_second_stops_both(boot: Boot, registers_taken: bool) -> None:
    dbg = start(boot)
    if registers_taken:
        take_debug_registers(dbg)
    dbg.break_at(0x8001)
    stop = dbg.run(timeout=30)
    assert isinstance(stop, BreakpointStop), stop.describe()
    assert (stop.vcpu, stop.pc) == (1, 0x8001)
    assert dbg.vcpu.index == 1
    assert (dbg.vcpu.mode.name, dbg.vcpus[0].mode.name) == ("real", "prot32")
    before = dbg.physical.read(0x9000, 4)
    assert dbg.physical.read(0x9000, 4) == before
    for count in range(2, 6):
        stop = dbg.run(timeout=30)
        assert (stop.vcpu, stop.pc, dbg.regs.cx) == (1, 0x8001, count)
    assert dbg.physical.read(0x8000, len(SECOND)) == SECOND


@pytest.mark.parametrize("registers_taken", [False, True], ids=["first four", "beyond four"])
def test_false_conditions_on_both(boot: Boot, registers_taken: bool) -> None:
    dbg = start(boot)
    if registers_taken:
        take_debug_registers(dbg)
    dbg.break_at(LOOP, when="0")
    dbg.break_at(0x8000, when="$cx == 200")
    stop = dbg.run(timeout=50)
    assert isinstance(stop, BreakpointStop), stop.describe()
    assert (stop.vcpu, dbg.regs.cx) == (1, 200)


def test_a_watchpoint_and_steps_on_the_second(boot: Boot) -> None:
    dbg = start(boot)
    dbg.watch(0x9004, 2)
    stop = dbg.run(timeout=30)
    assert isinstance(stop, WatchpointStop), stop.describe()
    assert (stop.vcpu, stop.instruction) == (1, 0x8001)
    dbg.breakpoints.clear()
    first = dbg.vcpus[0].pc
    assert [dbg.step().pc for _ in range(3)] == [0x8000, 0x8001, 0x8005]
    assert dbg.vcpus[0].pc == first
    dbg.select(0)
    assert dbg.vcpu.mode.name == "prot32"
    with pytest.raises(UsageError, match="no vCPU 2"):
        dbg.select(2)


def test_no_hit_is_lost_where_both_hit_at_once(boot: Boot) -> None:
    dbg = start(boot)
    dbg.break_at(LOOP)  # before the first vCPU's inc of [0x9000]
    dbg.break_at(0x8001)  # behind the second's inc of cx
    seen: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(400):
        stop = dbg.run(timeout=30)
        assert isinstance(stop, BreakpointStop), stop.describe()
        seen[stop.vcpu].append(int.from_bytes(dbg.physical.read(0x9000, 4), "little") if not stop.vcpu else dbg.regs.cx)
    for values in seen.values():
        assert values
        assert values == list(range(values[0], values[0] + len(values)))


def test_a_hit_that_was_not_told(boot: Boot) -> None:
    dbg = start(boot)
    dbg.physical.write(0x8000, b"\xfb" + SECOND)  # sti first: Bochs needs EFLAGS.IF (see conftest)
    point = dbg.break_at(0x8002)
    stop = dbg.run(timeout=30)
    count = dbg.regs.cx
    second = dbg.runners[1]
    second.unreported.stop = stop  # as if the first vCPU had stopped before
    assert (dbg.run(timeout=30), dbg.regs.cx) == (stop, count)
    second.unreported.stop = stop
    dbg.step()
    assert second.unreported.stop is None
    second.unreported.stop = dbg.run(timeout=30)
    dbg.breakpoints.discard(point)
    assert isinstance(dbg.run(timeout=0.2), LimitStop)
    assert second.unreported.stop is None


# real mode at 0x8000: xor ax, ax; mov ds, ax; mov word [0], 0x8100; mov word [2], 0; xor cx, cx; div cx; jmp $
DIVIDES = bytes.fromhex("31c0 8ed8 c70600000081 c70602000000 31c9 f7f1 ebfe")
HANDLER = bytes.fromhex("41 ebfd")  # at 0x8100: inc cx; jmp


@pytest.mark.parametrize("chosen", [0, 1])
@pytest.mark.parametrize("registers_taken", [False, True], ids=["first four", "beyond four"])
def test_an_exception_of_the_second(boot: Boot, registers_taken: bool, chosen: int) -> None:
    """It writes its table of handlers while it runs, whichever vCPU the user looks at."""
    dbg = start(boot)
    dbg.physical.write(0x8000, DIVIDES)
    dbg.physical.write(0x8100, HANDLER)
    dbg.catch("exception")
    if registers_taken:
        take_debug_registers(dbg)
    dbg.select(chosen)
    stop = dbg.run(timeout=30)
    assert isinstance(stop, CaughtStop), stop.describe()
    assert (stop.vcpu, stop.pc, stop.exit.describe()) == (1, 0x8100, "exception 0 (#DE) at 0x8012")


def test_an_exception_of_the_second_by_a_table_that_was_there_before(boot: Boot) -> None:
    dbg = start(boot)
    dbg.physical.write(0x8000, DIVIDES[-6:])
    dbg.physical.write(0, (0x8100).to_bytes(4, "little"))
    dbg.physical.write(0x8100, HANDLER)
    dbg.catch("exception")
    stop = dbg.run(timeout=30)
    assert isinstance(stop, CaughtStop), stop.describe()
    assert (stop.vcpu, stop.exit.describe()) == (1, "exception 0 (#DE) at 0x8002")


def test_an_address_means_the_same_memory_on_all_or_is_held_by_none(
    boot: Boot, monkeypatch: pytest.MonkeyPatch
) -> None:
    dbg = boot(b"\xeb\xfe", 16, cpus=2)
    monkeypatch.setattr(dbg.space, "physical_of", lambda runner, linear: linear + 0x1000 * runner.index)
    assert dbg.guest.holding._view().translate(0x1000) == 0x1000  # the second waits for INIT
    monkeypatch.setattr(type(dbg.runners[1]), "may_run", True)
    assert dbg.guest.holding._view().translate(0x1000) is None


def test_the_frames_of_a_vcpu_that_is_not_chosen(boot: Boot) -> None:
    """Conditions ask for them while the guest runs."""
    dbg = start(boot)
    dbg.break_at(0x8001)
    dbg.run(timeout=30)
    dbg.select(0)
    assert [frame.pc for frame in backtrace(dbg.vcpus[1], dbg.files).frames] == [0x8001]

"""Snapshots: going back, files, and running variants from one moment."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine import stops
from kvmdbg.errors import KvmdbgError, LoadError, MemoryFault, UsageError
from kvmdbg.pytest_plugin import Guests
from tests.core.long_mode_handler import with_handler

pytestmark = pytest.mark.kvm

COUNTER = """
    mov dx, 0x3f8
    mov al, 'a'
again:
    out dx, al
    inc word ptr [0x5000]
    inc al
    cmp al, 'd'
    jne again
    hlt
"""


def state(dbg: Session) -> dict[str, object]:
    return {
        **dbg.regs.snapshot(),
        "memory": dbg.physical.read(0, 0x10000),
        "output": dbg.output,
        "dr0": dbg.regs.dr0,
    }


def test_going_back_gives_the_same_run_again(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=COUNTER)
    dbg.step(5)
    dbg.regs.dr0 = 0x1234
    before = state(dbg)
    dbg.snapshots.save("early")
    dbg.run()
    after = state(dbg)
    assert after != before
    dbg.regs.dr0 = 0
    for _ in range(3):
        dbg.snapshots.restore("early")
        assert state(dbg) == before
        dbg.run()
        assert state(dbg) == after


def test_a_second_snapshot_shares_what_did_not_change(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=COUNTER)
    dbg.physical.write(0x9000, b"far away")
    first = dbg.snapshots.save("first")
    dbg.run()
    second = dbg.snapshots.save("second")
    assert first.state.pages[0x9000] is second.state.pages[0x9000]
    assert second.state.pages[0x5000] != first.state.pages.get(0x5000)
    assert dbg.physical.read(0x5000, 1) == b"\x03"
    dbg.snapshots.restore("first")
    assert dbg.physical.read(0x5000, 1) == b"\x00"
    dbg.physical.write(0x9000, b"changed!")
    dbg.snapshots.restore("second")
    assert (dbg.physical.read(0x5000, 1), dbg.physical.read(0x9000, 8)) == (b"\x03", b"far away")


def test_breakpoints_and_watchpoints_live_on(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=COUNTER)
    dbg.watch(0x5000, 2)
    dbg.break_at("again", when="$al == 0x62")
    dbg.snapshots.save("start")
    for _ in range(2):
        assert isinstance(dbg.run(), stops.WatchpointStop)
        assert isinstance(dbg.run(), stops.BreakpointStop)
        dbg.snapshots.restore("start")
        assert dbg.physical.read(0x5000, 2) == b"\0\0"
        code = dbg.physical.read(dbg.symbols["again"], 1)
        assert code == dbg.machine.memory.read(dbg.symbols["again"], 1) == b"\xee"


def test_restart_and_restore(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=COUNTER)
    dbg.run()
    end = state(dbg)
    dbg.snapshots.save("end")
    dbg.restart()
    dbg.physical.write(0x7000, b"new")
    dbg.snapshots.restore("end")
    assert state(dbg) == end


def test_the_fpu_comes_back(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm=COUNTER)
    runner = dbg.runner
    xsave = runner.call(runner.vcpu.get_xsave)
    before = bytes(xsave)
    dbg.snapshots.save("here")
    xsave.region[40] = 0x12345678
    runner.call(lambda: runner.vcpu.set_xsave(xsave))
    dbg.snapshots.restore("here")
    assert bytes(runner.call(runner.vcpu.get_xsave)) == before


def test_a_file(kvm_guest: Guests, tmp_path: Path) -> None:
    dbg = kvm_guest(asm=COUNTER)
    dbg.step(7)
    before = state(dbg)
    dbg.snapshots.save("here")
    path = tmp_path / "here.snapshot"
    dbg.snapshots.write("here", path)
    other = kvm_guest(asm=COUNTER)
    found = other.snapshots.read(path)
    assert (found.name, found.pc, found.output) == ("here", dbg.vcpu.pc, dbg.output)
    other.snapshots.restore("here")
    assert state(other) == before
    data = path.read_bytes()
    for damaged in (data[:-1], data[:100] + bytes((data[100] ^ 1,)) + data[101:], data[:20], b""):
        path.write_bytes(damaged)
        with pytest.raises(LoadError, match=r"is damaged|is no snapshot"):
            other.snapshots.read(path, "bad")
    path.write_bytes(data.replace(b"snapshot 1", b"snapshot 9", 1))
    with pytest.raises(LoadError, match="of another version"):
        other.snapshots.read(path)
    with pytest.raises(LoadError, match="cannot read"):
        other.snapshots.read(tmp_path / "nowhere")
    with pytest.raises(LoadError, match="cannot write"):
        dbg.snapshots.write("here", tmp_path / "no" / "folder")


def test_a_snapshot_of_another_kind_of_guest_is_refused(kvm_guest: Guests, tmp_path: Path) -> None:
    dbg = kvm_guest(asm=COUNTER, memory="1M")
    dbg.snapshots.save("here")
    dbg.snapshots.write("here", tmp_path / "x")
    with pytest.raises(UsageError, match="of memory"):
        kvm_guest(asm=COUNTER, memory="2M").snapshots.read(tmp_path / "x")
    with pytest.raises(UsageError, match="its devices were uart"):
        other = kvm_guest(asm=COUNTER, memory="1M", devices=["isa-debugcon"])
        other.snapshots.read(tmp_path / "x")
        other.snapshots.restore("here")


def test_names(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt")
    with pytest.raises(UsageError, match="there is no snapshot 'x'; there are: none"):
        dbg.snapshots.restore("x")
    dbg.snapshots.save("x")
    assert [one.name for one in dbg.snapshots] == ["x"]
    dbg.snapshots.delete("x")
    assert len(dbg.snapshots) == 0


def test_a_fork_runs_variants_from_one_point(kvm_guest: Guests) -> None:
    dbg = kvm_guest(
        asm="mov al, [0x5000]; inc byte ptr [0x5001]; cmp al, 7; jne good; sti\nbad: jmp bad\ngood: hlt", memory="1M"
    )
    dbg.step()
    dbg.regs.rip = 0x1000

    def put(session: Session, value: int) -> None:
        session.memory[0x5000] = value

    found = {value: (stop.reason, dbg.memory[0x5001]) for value, stop in dbg.fork(range(5, 9), put, timeout=0.3)}
    assert {value: count for value, (_, count) in found.items()} == dict.fromkeys(range(5, 9), 1)
    assert [found[value][0] == "halted" for value in range(5, 9)] == [True, True, False, True]
    assert (dbg.memory[0x5000:0x5002], dbg.vcpu.pc) == (b"\0\0", 0x1000)


def test_two_vcpus_come_back(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="sti; again: inc dword ptr [0x5000]; jmp again", cpus=2)
    dbg.snapshots.save("start")
    dbg.run(timeout=0.1)
    assert dbg.memory[0x5000:0x5004] != bytes(4)
    dbg.snapshots.restore("start")
    assert dbg.memory[0x5000:0x5004] == bytes(4)
    assert dbg.vcpus[1].state.startswith("uninitialized")
    stop = dbg.run(timeout=0.1)
    assert isinstance(stop, stops.LimitStop)


def test_a_limit_of_instructions(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="again: inc eax; jmp again", registers={"rflags": 0x202})
    stop = dbg.run(instructions=101)
    assert isinstance(stop, stops.LimitStop), stop.describe()
    assert (stop.limit, dbg.regs.eax, stop.pc) == ("101 instructions", 51, dbg.symbols["again"] + 2)
    dbg.break_at("again", when="$eax == 60")
    assert isinstance(dbg.run(instructions=1000), stops.BreakpointStop)
    with pytest.raises(UsageError, match="cannot run 0 instructions"):
        dbg.run(instructions=0)
    with pytest.raises(KvmdbgError, match="one vCPU"):
        kvm_guest(asm="again: jmp again", cpus=2).run(instructions=5)


def test_an_awaited_run_lets_other_tasks_go_on(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="sti; again: jmp again")
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def main() -> stops.Stop:
        ticker = asyncio.create_task(tick())
        stop = await dbg.run_async(timeout=0.3)
        ticker.cancel()
        run = asyncio.create_task(dbg.run_async())
        await asyncio.sleep(0.05)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        return stop

    stop = asyncio.run(main())
    assert isinstance(stop, stops.LimitStop), stop.describe()
    assert len(ticks) > 5
    assert dbg.state == "stopped"


def test_a_moment_that_was_taken_can_be_restored(kvm_guest: Guests, tmp_path: Path) -> None:
    dbg = kvm_guest(asm="again: inc dword ptr [0x5000]; jmp again")
    here = dbg.snapshots.take()
    dbg.step(4)
    there = dbg.snapshots.take("there")
    assert dbg.snapshots.restore(here) is here and dbg.memory[0x5000] == 0 and len(dbg.snapshots) == 0
    assert dbg.snapshots.restore(there) is there and dbg.memory[0x5000] == 2
    assert re.fullmatch(r"<Snapshot 'there' at 0x[0-9a-f]+, \d+ KiB>", repr(there))
    saved = dbg.snapshots.save("saved")
    dbg.snapshots.write("saved", tmp_path / "saved.snap")
    dbg.step(2)
    assert dbg.snapshots.restore(saved) is saved and dbg.memory[0x5000] == 2
    dbg.snapshots.restore(here)
    dbg.snapshots.restore(dbg.snapshots.read(tmp_path / "saved.snap"))
    assert dbg.memory[0x5000] == 2


def test_memory_by_index(kvm_guest: Guests) -> None:
    dbg = kvm_guest(asm="hlt")
    for memory in (dbg.memory, dbg.physical):
        memory[0x5000] = 0xAB
        memory[0x5001:0x5003] = b"\x01\x02"
        memory[0x5003] = b"xy"
        assert memory[0x5000] == 0xAB and memory[0x5000:0x5005] == b"\xab\x01\x02xy"
        assert memory[0x5000:0x5000] == b""
        for part in (slice(None, 5), slice(5, None), slice(5, 3), slice(0, 8, 2)):
            with pytest.raises(UsageError, match="a slice of memory needs a start and an end"):
                memory[part]
        for value in (-1, 256):
            with pytest.raises(UsageError, match="is no byte"):
                memory[0x5000] = value
        with pytest.raises(MemoryFault, match="1 bytes do not fill 2"):
            memory[0x5000:0x5002] = b"x"


def test_no_limit_ends_between_a_trap_and_its_handler(kvm_guest: Guests) -> None:
    """Where KVM gives us the guest's own int3, a snapshot that was taken then would lack the #BP."""
    code = with_handler(3, "xor ebx, ebx; int3; out 0x80, al; hlt", "inc ebx")
    dbg = kvm_guest(asm=code, mode="long", load=0x10000)
    assert isinstance(dbg.run(exits=1, timeout=50), stops.LimitStop)
    here = dbg.snapshots.take()
    assert isinstance(dbg.run(timeout=50), stops.HaltedStop)
    dbg.snapshots.restore(here)
    assert isinstance(dbg.run(timeout=50), stops.HaltedStop)
    assert dbg.regs.ebx == 1


def test_the_frame_of_a_fault_that_waits_has_the_resume_flag(kvm_guest: Guests) -> None:
    """An RDMSR that nobody has is about to raise #GP where the catchpoint stops."""
    code = with_handler(13, "mov ecx, 0x12345; rdmsr", "mov rbx, [rsp + 24]; hlt")
    alone, dbg = (kvm_guest(asm=code, mode="long", load=0x10000) for _ in range(2))
    assert isinstance(alone.run(timeout=50), stops.HaltedStop)
    dbg.catch("msr")
    assert isinstance(dbg.run(timeout=50), stops.CaughtStop)
    here = dbg.snapshots.take()
    for _ in range(2):
        assert isinstance(dbg.run(timeout=50), stops.HaltedStop)
        assert dbg.regs.rbx == alone.regs.rbx
        dbg.snapshots.restore(here)


@pytest.mark.parametrize("last", ["nop", "int 0"], ids=["alive", "dead"])
def test_special_registers_come_back_after_steps(kvm_guest: Guests, last: str) -> None:
    dbg = kvm_guest(asm=f"lidt [none]; mov ax, 0x1234; mov ds, ax; {last}; hlt; none: .word 0, 0, 0", mode="real")
    dbg.step(2)
    dbg.snapshots.save("before")
    was = dbg.regs.snapshot()
    while isinstance(stop := dbg.step(), stops.StepStop):
        pass
    assert dbg.regs.ds == 0x1234 or isinstance(stop, stops.ShutdownStop), stop.describe()  # SVM resets it then
    dbg.snapshots.restore("before")
    assert dbg.regs.ds == 0
    assert dbg.regs.snapshot() == was

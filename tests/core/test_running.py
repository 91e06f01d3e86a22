"""The two first guests, run control, and interrupts, on the real /dev/kvm."""

from __future__ import annotations

import _thread
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.engine.stops import BreakpointStop, CaughtStop, HaltedStop, InterruptedStop, LimitStop, StepStop, Stop
from kvmdbg.errors import SessionStateError
from tests.core.conftest import Boot

pytestmark = pytest.mark.kvm
GUESTS = Path(__file__).parents[2] / "guests"


def test_hello16_prints_four_and_halts() -> None:
    with kvmdbg.open(GUESTS / "hello16.bin", load=0x1000, memory="2M", registers={"rax": 2, "rbx": 2}) as dbg:
        assert (dbg.regs.cs, dbg.regs.cs_base, dbg.regs.rip, dbg.regs.rflags) == (0, 0, 0x1000, 2)
        stop = dbg.run(timeout=10)
        assert isinstance(stop, HaltedStop)
        assert stop.pc == 0x100C
        assert dbg.output == b"4\n"


def test_counter16_counts_on_port_16() -> None:
    with kvmdbg.open(GUESTS / "counter16.bin", load=0x10000, entry="0x1000:0", memory="512M") as dbg:
        for name in ("cs", "ds", "es", "ss"):
            assert dbg.regs[name] == 0x1000
            assert dbg.regs[f"{name}_base"] == 0x10000
        assert (dbg.regs.rip, dbg.regs.rsp) == (0, 0xFFFF)
        dbg.catch("io", port=0x10)
        for number in range(4):
            stop = dbg.run(timeout=10)
            assert isinstance(stop, CaughtStop)
            assert stop.exit.describe() == f"out port 0x10, 2 bytes, data 0x{number:04x}"
            assert stop.pc == 0x10004
        assert dbg.exits.by_port == {("out", 0x10): 4}


def test_limits_stop_the_guest(boot: Boot) -> None:
    dbg = boot(b"\xe7\x10\xeb\xfc")  # again: out 0x10, ax; jmp again
    stop = dbg.run(exits=100)
    assert isinstance(stop, LimitStop)
    assert stop.limit == "100 exits"
    assert dbg.exits.by_port[("out", 0x10)] == 100
    stop = dbg.run(timeout=0.05)
    assert isinstance(stop, LimitStop)
    assert "0.05 s" in stop.describe()


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("code", [b"\xeb\xfe", b"\xe6\x80\xeb\xfc"], ids=["busy loop", "flood of exits"])
def test_interrupt(boot: Boot, bits: int, code: bytes) -> None:
    dbg = boot(code, bits)
    dbg.resume()
    assert dbg.state == "running"
    with pytest.raises(SessionStateError):
        _ = dbg.regs.rax
    time.sleep(0.02)
    began = time.monotonic()
    stop = dbg.interrupt()
    assert time.monotonic() - began < 2
    assert isinstance(stop, InterruptedStop)
    assert stop.pc in range(0x1000, 0x1004)
    assert dbg.step().pc in range(0x1000, 0x1004)


def when_it_runs(dbg: Session, action: Callable[[], object]) -> None:
    while dbg.state != "running":
        time.sleep(0.01)
    action()


def test_interrupt_ends_a_long_step(boot: Boot) -> None:
    dbg = boot(b"\xeb\xfe")
    threading.Thread(target=when_it_runs, args=(dbg, dbg.interrupt)).start()
    assert isinstance(dbg.step(1_000_000_000), InterruptedStop)


def test_a_keyboard_interrupt_ends_a_step_and_goes_on(boot: Boot) -> None:
    dbg = boot(b"\xeb\xfe")
    threading.Thread(target=when_it_runs, args=(dbg, _thread.interrupt_main)).start()
    with pytest.raises(KeyboardInterrupt):
        dbg.step(1_000_000_000)
    assert dbg.state == "stopped"


def test_step_counts_and_records(boot: Boot) -> None:
    dbg = boot(b"\x40\x40\x40\xeb\xfb")  # inc ax three times; jmp back
    record: list[bytes] = []
    stop = dbg.step(10, record=record)
    assert isinstance(stop, StepStop)
    assert stop.steps == len(record) == 10
    assert [int.from_bytes(regs[0:8], "little") for regs in record] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8]
    assert all(len(regs) == 144 for regs in record)
    assert stop.pc == 0x1002


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_step_over_out_and_hlt(boot: Boot, bits: int) -> None:
    dbg = boot(b"\xb0\x41\xe6\x80\xf4\x90\x90\xf4", bits)  # mov al, 'A'; out 0x80, al; hlt; nop; nop; hlt
    found = [(stop.reason, stop.pc) for stop in (dbg.step() for _ in range(6))]
    assert found == [
        ("step", 0x1002), ("step", 0x1004), ("halted", 0x1005),
        ("step", 0x1006), ("step", 0x1007), ("halted", 0x1008),
    ]  # fmt: skip
    assert dbg.exits.by_port == {("out", 0x80): 1}


def test_continue_after_a_halt_goes_on_behind_it(boot: Boot) -> None:
    dbg = boot(b"\xf4\x40\x40\xf4")
    assert dbg.run(timeout=10).pc == 0x1001
    stop = dbg.run(timeout=10)
    assert isinstance(stop, HaltedStop)
    assert (stop.pc, dbg.regs.ax) == (0x1004, 2)


CALLS = {
    # call f; inc ax; hlt; nop; f: inc bx; call g; ret; g: inc cx; ret
    16: bytes.fromhex("e80300 40 f4 90 43 e80100 c3 41 c3"),
    32: bytes.fromhex("e803000000 40 f4 90 43 e801000000 c3 41 c3"),
}


@pytest.mark.parametrize("bits", [16, 32])
def test_next_steps_over_a_call_and_finish_leaves_one(boot: Boot, bits: int) -> None:
    dbg = boot(CALLS[bits], bits)
    after = 0x1000 + (3 if bits == 16 else 5)
    stop = dbg.next()
    assert isinstance(stop, StepStop)
    assert (stop.pc, dbg.regs.bx, dbg.regs.cx) == (after, 1, 1)
    dbg.restart()
    assert dbg.step().pc == after + 3
    assert dbg.finish().pc == after
    dbg.restart()
    dbg.step(3)  # in g
    outer = dbg.pc if hasattr(dbg, "pc") else dbg.vcpu.pc
    assert dbg.finish().pc < outer
    assert dbg.finish().pc == after


def test_next_of_many_is_interrupted_between_two_steps(boot: Boot) -> None:
    dbg = boot(b"\x90" * 20 + b"\xf4")
    seen: list[int] = []

    def stopped(stop: Stop) -> None:
        seen.append(stop.pc)
        if len(seen) == 3:
            dbg.interrupt()

    dbg.listeners.on_stop(stopped)
    assert dbg.next(10).pc == 0x1003
    assert dbg.next(2).pc == 0x1005


def test_next_over_rep_and_int(boot: Boot) -> None:
    # mov cx, 5; mov di, 0x5000; rep stosb; int 0x20; hlt  -- handler at 0x2000: inc bx; iret
    dbg = boot(bytes.fromhex("b90500 bf0050 f3aa cd20 f4"))
    dbg.physical.write(0x20 * 4, bytes.fromhex("00200000"))
    dbg.physical.write(0x2000, b"\x43\xcf")
    assert [dbg.next().pc for _ in range(4)] == [0x1003, 0x1006, 0x1008, 0x100A]
    assert (dbg.regs.cx, dbg.regs.bx) == (0, 1)


def test_steps_through_rep_come_out_behind_it(boot: Boot) -> None:
    """A step is one element or (where KVM emulates) the whole instruction; never more."""
    dbg = boot(bytes.fromhex("b90300 bf0050 f3aa f4"))
    dbg.step(2)
    for _ in range(4):
        stop = dbg.step()
        assert stop.pc in (0x1006, 0x1008)
        if stop.pc == 0x1008:
            break
    assert (stop.pc, dbg.regs.cx, dbg.regs.di) == (0x1008, 0, 0x5003)


def test_until_runs_through_a_loop(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("b90500 49 75fd f4"))  # mov cx, 5; again: dec cx; jnz again; hlt
    dbg.step(2)
    assert dbg.until().pc == 0x1006
    assert dbg.regs.cx == 0


def test_advance_stops_at_the_address_or_before(boot: Boot) -> None:
    dbg = boot(b"\x40" * 8 + b"\xf4")
    stop = dbg.advance(0x1004)
    assert isinstance(stop, BreakpointStop)
    assert (stop.pc, dbg.regs.ax) == (0x1004, 4)
    dbg.break_at(0x1006)
    stop = dbg.advance(0x1008)
    assert stop.pc == 0x1006
    assert [p.number for p in stop.breakpoints] == [1]


def test_restart_keeps_breakpoints_and_forgets_the_guest(boot: Boot) -> None:
    dbg = boot(b"\x40\x40\xf4")
    dbg.break_at(0x1001)
    dbg.physical.write(0x5000, b"gone")
    assert dbg.run(timeout=10).pc == 0x1001
    dbg.restart()
    assert (dbg.regs.ax, dbg.vcpu.pc) == (0, 0x1000)
    assert dbg.physical.read(0x5000, 4) == bytes(4)
    assert dbg.run(timeout=10).pc == 0x1001


def test_kill_leaves_memory_readable_and_restart_revives(boot: Boot) -> None:
    dbg = boot(b"\x40\xf4")
    dbg.kill()
    assert dbg.state == "dead"
    with pytest.raises(SessionStateError, match="not alive"):
        dbg.run()
    assert dbg.physical.read(0x1000, 2) == b"\x40\xf4"
    dbg.restart()
    assert isinstance(dbg.run(timeout=10), HaltedStop)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_triple_fault_is_a_stop(boot: Boot, bits: int) -> None:
    dbg = boot(b"\x90\x0f\x0b", bits)  # ud2
    dbg.regs.set("idtr_limit", 0)
    stop = dbg.run(timeout=10)
    assert stop.reason == "shutdown"
    assert "triple fault" in stop.describe()


def test_registers_by_every_kind_of_name(boot: Boot) -> None:
    dbg = boot(b"\xf4", 64)
    dbg.regs.rax = 0x1122334455667788
    assert (dbg.regs.eax, dbg.regs.ax, dbg.regs.ah, dbg.regs.al) == (0x55667788, 0x7788, 0x77, 0x88)
    dbg.regs.ah = 0xAB
    assert dbg.regs["RAX"] == 0x112233445566AB88
    dbg.regs.pc = 0x2000
    assert dbg.regs.rip == 0x2000
    dbg.regs.set("fs_base", 0x1234)
    assert dbg.regs.fs_base == 0x1234
    with pytest.raises(AttributeError):
        _ = dbg.regs.nonsense
    assert dbg.regs.cr3 != 0
    assert dbg.regs.efer & 0x500 == 0x500


def test_pc_of_real_mode_is_linear_and_maps_back(boot: Boot) -> None:
    dbg = boot(b"\x90" * 16, load=0x10000, entry="0x1000:0")
    assert (dbg.vcpu.pc, dbg.regs.ip) == (0x10000, 0)
    dbg.regs.pc = 0x10008
    assert dbg.regs.ip == 8
    with pytest.raises(kvmdbg.KvmdbgError, match="CS base"):
        dbg.regs.pc = 0x5000


def test_a_vcpus_thread_does_not_wait_for_whoever_starts_the_guest(boot: Boot) -> None:
    """The gdb stub resumes on that thread, and whoever holds the lock may be asking that thread for registers."""
    dbg = boot(b"\x90\xeb\xfd")
    with dbg.control._lock:
        with pytest.raises(SessionStateError, match="running"):
            dbg.runner.call(lambda: dbg.start({}, plant=False))
    assert dbg.step().pc == 0x1001


def test_a_listener_that_fails_does_not_end_the_vcpus_thread(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    dbg = boot(b"\x90\xeb\xfd")
    told: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_value))

    def fail(stop: object) -> None:
        raise RuntimeError("a mistake")

    dbg.listeners.on_stop(fail)
    assert [dbg.step().pc, dbg.step().pc] == [0x1001, 0x1000]
    assert dbg.regs.rip == 0x1000
    assert [str(error) for error in told] == ["a mistake"] * 2

"""The traps in memory: what lies there, and what whoever reads and writes sees of it. And on any KVM: none stays."""

from __future__ import annotations

import sys
import threading

import pytest

from kvmdbg.core.session import Session
from kvmdbg.engine.stops import BreakpointStop
from kvmdbg.engine.traps import Traps
from tests.core.conftest import Boot, take_debug_registers

TRAP = 0xF1


class Memory:
    """A page of RAM."""

    def __init__(self) -> None:
        self.data = bytearray(range(256)) * 16

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        self.data[address : address + len(data)] = data

    def exchange(self, new: dict[int, int], expected: dict[int, int] | None = None) -> dict[int, int]:
        old = {address: self.data[address] for address in new}
        for address, value in new.items():
            if expected is None or old[address] == expected[address]:
                self.data[address] = value
        return old


def planted(*addresses: int) -> tuple[Memory, Traps]:
    memory = Memory()
    traps = Traps(memory)  # type: ignore[arg-type]
    for address in addresses:
        traps.plant(address, TRAP)
    return memory, traps


def test_a_trap_lies_in_memory_and_nobody_sees_it() -> None:
    memory, traps = planted(3, 5)
    assert memory.read(2, 5) == bytes((2, TRAP, 4, TRAP, 6))
    assert traps.read(2, 5) == bytes((2, 3, 4, 5, 6))
    assert traps.under == {3: 3, 5: 5}


def test_planting_twice_and_lifting_twice_is_as_once() -> None:
    memory, traps = planted(3, 3)
    traps.lift(3)
    traps.lift(3)
    assert memory.data == Memory().data


def test_what_is_written_goes_under_the_traps() -> None:
    memory, traps = planted(3)
    traps.write(2, b"abc")
    assert (memory.read(2, 3), traps.read(2, 3)) == (bytes((ord("a"), TRAP, ord("c"))), b"abc")
    traps.lift_all()
    assert memory.read(2, 3) == b"abc"


def test_what_the_guest_has_written_over_a_trap_stays() -> None:
    memory, traps = planted(3)
    memory.write(3, b"\x55")
    assert (traps.read(3, 1), traps.under) == (b"\x55", {})
    traps.lift_all()
    assert memory.read(3, 1) == b"\x55"


def test_reading_and_lifting_take_turns() -> None:
    memory, traps = planted(3)
    lifting = threading.Thread(target=traps.lift, args=(3,))
    read = memory.read

    def read_slowly(address: int, size: int) -> bytes:
        data = read(address, size)
        if threading.current_thread() is not lifting:
            lifting.start()
            lifting.join(0.2)  # as long as it takes, if nothing keeps it waiting
        return data

    memory.read = read_slowly  # type: ignore[method-assign]
    assert traps.read(3, 1) == b"\x03"
    lifting.join()


@pytest.mark.kvm
def test_an_instruction_that_cannot_be_run_leaves_no_trap(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("90 9b f4"))  # nop; wait, which a KVM without hardware lacks; hlt
    take_debug_registers(dbg)
    point = dbg.break_at(0x1001, ignore=9)
    for _ in range(2):
        dbg.run(timeout=20)
        assert dbg.physical.read(0x1000, 3) == bytes(dbg.machine.memory.read(0x1000, 3)) == b"\x90\x9b\xf4"
    assert point.hits


@pytest.mark.kvm
def test_a_run_that_cannot_begin_leaves_no_trap(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    dbg = boot(b"\x90\x90\xf4")
    take_debug_registers(dbg)
    dbg.break_at(0x1001)

    def fails() -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(dbg.guest.coalescing, "arm", fails)
        with pytest.raises(RuntimeError):
            dbg.run(timeout=20)
    assert dbg.machine.memory.read(0x1000, 3) == b"\x90\x90\xf4"


@pytest.mark.kvm
def test_another_thread_reads_and_writes_under_the_traps(boot: Boot) -> None:
    dbg = boot(bytes.fromhex("40 43 41 42 40 43 f9 ebf7"))  # the fifth is inc ax or, as the thread writes, inc cx
    take_debug_registers(dbg)
    point = dbg.break_at(0x1004)
    seen = _seen_by_a_thread(dbg, 0x1004, (b"\x40", b"\x41"), rounds=40)
    assert (point.hits, seen) == (40, {b"\x40", b"\x41"})


def _seen_by_a_thread(dbg: Session, address: int, values: tuple[bytes, ...], rounds: int) -> set[bytes]:
    """What a thread that writes these values and reads them back reads, while the guest runs over a breakpoint."""
    seen: set[bytes] = set()
    done = threading.Event()

    def write_and_read() -> None:
        while not done.is_set():
            for value in values:
                dbg.physical.write(address, value)
                seen.update(dbg.physical.read(address, 1) for _ in range(20))

    thread = threading.Thread(target=write_and_read)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(rounds):
            assert isinstance(dbg.run(timeout=20), BreakpointStop)
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(interval)
    return seen

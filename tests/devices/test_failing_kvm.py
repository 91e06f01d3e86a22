"""Devices of strangers: their mistakes stop the guest and name the device; what they save is theirs no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.core.session import Session
from kvmdbg.devices import registry
from kvmdbg.engine.stops import ErrorStop, ExitedStop, HaltedStop
from kvmdbg.errors import DeviceFailure, KvmdbgError, UsageError
from kvmdbg.kvm.abi import KVM_CAP_COALESCED_PIO
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, GuestEnd
from tests.core.conftest import Boot, boot

__all__ = ["boot"]
pytestmark = pytest.mark.kvm
MMIO = 0xD0000000


class Odd:
    """A device that does as it is told."""

    name = "odd"

    def __init__(self, read: Callable[[], Any] = lambda: 0, write: Callable[[], Any] = lambda: None) -> None:
        self.on_read, self.on_write = read, write
        self.reads: list[int] = []
        self.state: Any = self.reads

    def read(self, offset: int, size: int) -> int:
        self.reads.append(size)
        return self.on_read()  # type: ignore[no-any-return]

    def write(self, offset: int, size: int, value: int) -> GuestEnd | None:
        return self.on_write()  # type: ignore[no-any-return]

    def describe(self) -> str:
        return self.on_read()  # type: ignore[no-any-return]

    def save(self) -> Any:
        return self.state

    def load(self, state: Any) -> None:
        self.reads = self.state = state


def fails() -> Any:
    raise ValueError("my bug")


def is_asked() -> Any:
    raise UsageError("in words")


class Number:
    """An integer of somebody's own."""

    def __index__(self) -> int:
        return 0x42


# The access is at 0x1004 and two bytes long with its prefix, a nop and a hlt follow.
READ_PORT = bytes.fromhex("66ba7001 ec 90 f4"), 0x1004, 0x1005, "read port 0x170"
WRITE_PORT = bytes.fromhex("66ba7001 ee 90 f4"), 0x1004, 0x1005, "wrote to port 0x170"
READ_MMIO = bytes.fromhex("90909090 a0000000d0 90 f4"), 0x1004, 0x1009, "read the MMIO address 0xd0000000"
WRITE_MMIO = bytes.fromhex("90909090 a2000000d0 90 f4"), 0x1004, 0x1009, "wrote to the MMIO address 0xd0000000"
# mov dx, 0x170; mov edi, 0x9000; mov ecx, 3; rep insb
STRING = bytes.fromhex("66ba7001 bf00900000 b903000000 f36c 90 f4"), 0x100E, 0x1010, "read port 0x170"


def with_odd(boot: Boot, code: bytes, odd: Odd) -> Session:
    dbg = boot(code, bits=32)
    dbg.machine.bus.add_ports(0x170, 2, odd)
    dbg.machine.bus.add_mmio(MMIO, 0x1000, odd)
    return dbg


def leaves() -> Any:
    raise SystemExit(3)


WRONG = {
    "raises": (fails, r"ValueError: my bug \(in fails, .*test_failing_kvm.py:\d+\)"),
    "leaves": (leaves, r"SystemExit: 3 \(in leaves, .*\)"),
    "raises what is for people": (is_asked, r"in words \(in is_asked, .*\)"),
    "too large": (lambda: 0x1234, "it answered 4660, which is not a number of 1 byte"),
    "negative": (lambda: -1, "it answered -1, which is not a number of 1 byte"),
    "nothing": (lambda: None, "it answered None, which is not a number of 1 byte"),
    "a text": (lambda: "a", "it answered 'a', which is not a number of 1 byte"),
    "a fraction": (lambda: 1.5, "it answered 1.5, which is not a number of 1 byte"),
}


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("access", [READ_PORT, READ_MMIO, STRING], ids=["port", "mmio", "string"])
def test_wrong_answer_stops_the_guest(
    boot: Boot, access: tuple[bytes, int, int, str], wrong: str, observed: bool
) -> None:
    code, at, behind, what = access
    read, says = WRONG[wrong]
    dbg = with_odd(boot, code, Odd(read))
    if observed:
        dbg.listeners.on_exit(lambda exit: None)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, ErrorStop) and stop.pc == dbg.regs.pc
    assert stop.pc == behind or (access is STRING and stop.pc == at)  # KVM may give one exit for all items or for each
    assert re.fullmatch(f"device odd failed when the instruction at {at:#x} {what}: {says}", stop.message)
    if access is STRING:
        while isinstance(stop, ErrorStop):
            stop = dbg.run(timeout=20)
        assert isinstance(stop, HaltedStop) and dbg.memory[0x9000:0x9003] == b"\xff" * 3
        return
    assert dbg.regs.al == 0xFF
    assert isinstance(dbg.run(timeout=20), HaltedStop)


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("access", [WRITE_PORT, WRITE_MMIO], ids=["port", "mmio"])
@pytest.mark.parametrize(
    ("write", "says"),
    [(fails, r"ValueError: my bug \(in fails, .*"), (lambda: 5, "its write returned 5, which is neither None nor .*")],
)
def test_write_that_fails_stops_the_guest(
    boot: Boot, access: tuple[bytes, int, int, str], write: Callable[[], Any], says: str, observed: bool
) -> None:
    code, at, behind, what = access
    dbg = with_odd(boot, code, Odd(write=write))
    if observed:
        dbg.listeners.on_exit(lambda exit: None)
    stop = dbg.run(timeout=20)
    assert isinstance(stop, ErrorStop) and stop.pc == behind
    assert re.fullmatch(f"device odd failed when the instruction at {at:#x} {what}: {says}", stop.message)
    assert isinstance(dbg.run(timeout=20), HaltedStop)


@pytest.mark.parametrize("observed", [False, True])
@pytest.mark.parametrize("access", [WRITE_PORT, WRITE_MMIO], ids=["port", "mmio"])
def test_write_ends_the_guest(boot: Boot, access: tuple[bytes, int, int, str], observed: bool) -> None:
    dbg = with_odd(boot, access[0], Odd(write=lambda: GuestEnd(7, "written")))
    if observed:
        dbg.catch("any")
    stop = dbg.run(timeout=20)
    assert isinstance(stop, ExitedStop) and stop.status == 7 and stop.pc == access[2]


def test_number_of_ones_own_is_an_answer(boot: Boot) -> None:
    dbg = with_odd(boot, READ_PORT[0], Odd(lambda: Number()))
    assert isinstance(dbg.run(timeout=20), HaltedStop) and dbg.regs.al == 0x42


def test_snapshot_holds_the_state_of_its_moment(boot: Boot) -> None:
    odd = Odd()
    dbg = with_odd(boot, bytes.fromhex("66ba7001 ec ec ec f4"), odd)
    dbg.step(2)
    dbg.snapshots.save("s")
    for _ in range(3):
        dbg.run(timeout=20)
        assert len(odd.reads) == 3
        dbg.snapshots.restore("s")
        assert len(odd.reads) == 1


def test_state_that_cannot_be_kept_is_told(boot: Boot, tmp_path: Path) -> None:
    odd = Odd()
    dbg = with_odd(boot, READ_PORT[0], odd)
    odd.state = (one for one in "x")
    with pytest.raises(KvmdbgError, match="device odd failed: TypeError: cannot pickle"):
        dbg.snapshots.save("s")
    odd.state = {1, 2}
    dbg.snapshots.save("s")
    with pytest.raises(KvmdbgError, match="the state of the device odd cannot be put into a file"):
        dbg.snapshots.write("s", tmp_path / "s.snap")
    assert not list(tmp_path.glob("s.snap*"))


def test_commands_name_the_device(boot: Boot) -> None:
    dbg = with_odd(boot, READ_PORT[0], Odd(fails))
    shell = Interpreter(dbg)
    (shown,) = shell.execute("info devices")
    assert "cannot be described: ValueError: my bug" in shown.plain() and "uart" in shown.plain()
    for line in ("info device odd", "print $port(0x170)"):
        with pytest.raises(KvmdbgError, match="device odd failed: ValueError: my bug"):
            list(shell.execute(line))


def test_device_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unmade(Odd):
        name = "unmade"
        options = {"iobase": 0x170, "iosize": 2}

        def __init__(self, board: Board, options: dict[str, int]) -> None:
            fails()

    monkeypatch.setitem(registry._known, "unmade", Unmade)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="device unmade cannot be made: ValueError: my bug"):
        registry.add(Bus(), "unmade", Board(lambda data: None))


def test_collected_output_of_a_device_that_fails(boot: Boot) -> None:
    class Collected(Odd):
        coalesced = (0x170,)

        def write_many(self, data: bytes) -> None:
            fails()

    # mov dx, 0x170; mov ecx, 1000; out dx, al; loop; hlt
    odd = Collected()
    dbg = with_odd(boot, bytes.fromhex("66ba7001 b9e8030000 ee e2fd f4"), odd)
    stop = dbg.run(timeout=20)
    if dbg.machine.system.check_extension(KVM_CAP_COALESCED_PIO):
        assert isinstance(stop, ErrorStop) and stop.pc == dbg.regs.pc
        where = "when the guest wrote to port 0x170, some instructions ago"
        assert stop.message.startswith(f"device odd failed {where}: ValueError: my bug (in fails, ")
        stop = dbg.run(timeout=20)
    assert isinstance(stop, HaltedStop)


def test_failure_passes_through_other_devices() -> None:
    bus = Bus()
    inner, outer = Odd(fails), Odd(lambda: bus.read_port(1, 1))
    inner.name = "inner"
    bus.add_ports(1, 1, inner)
    bus.add_ports(2, 1, outer)
    with pytest.raises(DeviceFailure, match="device inner failed"):
        bus.read_port(2, 1)

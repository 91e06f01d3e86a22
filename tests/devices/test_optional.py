"""The devices that --device puts on the bus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.core.session import Session
from kvmdbg.devices import registry
from kvmdbg.engine.stops import ExitedStop, HaltedStop
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, GuestEnd

Open = Callable[..., Session]


def added(text: str) -> tuple[Bus, bytearray]:
    bus, said = Bus(), bytearray()
    registry.add(bus, text, Board(said.extend))
    return bus, said


def test_the_exit_status_is_qemus() -> None:
    bus, _ = added("isa-debug-exit,iobase=0xf4,iosize=4")
    found = bus.port(0xF4)
    assert found is not None
    exit = found[0]
    assert [exit.write(0, 1, value) for value in (0, 0x10)] == [
        GuestEnd(1, "it wrote 0x0 to port 0xf4"),
        GuestEnd(33, "it wrote 0x10 to port 0xf4"),
    ]
    end = exit.write(2, 2, 0xFFFF)
    assert isinstance(end, GuestEnd) and end.status == 0xFF
    assert bus.read_port(0xF7, 1) == 0 and bus.port(0xF8) is None


def test_the_debug_console() -> None:
    bus, said = added("isa-debugcon")
    bus.write_port(0xE9, 1, 0x41)
    assert (bytes(said), bus.read_port(0xE9, 1)) == (b"A", 0xE9)
    (console,) = bus.devices
    (other,) = added("isa-debugcon")[0].devices
    assert "0 bytes" in other.describe()
    other.load(console.save())
    assert "1 bytes" in other.describe()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no device ''"),
        ("uart2", "no device 'uart2': the devices are acpi-pm, ata, cmos, .*i8042, .*isa-debugcon, .*pci"),
        ("isa-debugcon,", "does not take ''"),
        ("isa-debugcon,port=1", "its options are iobase, iosize"),
        ("isa-debugcon,iobase=x", "iobase is a number, not 'x'"),
        ("isa-debugcon,iobase=0x10000", "ports 0x10000 to 0x10000 are not there"),
        ("isa-debugcon,iosize=0", "are not there"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        added(text)


def test_ports_that_are_taken() -> None:
    bus, _ = added("isa-debugcon")
    with pytest.raises(UsageError, match="device isa-debug-exit: port 0xe9 belongs to isa-debugcon already"):
        registry.add(bus, "isa-debug-exit,iobase=0xe9", lambda data: None)


# mov al, 'H'; out 0xe9, al; mov al, 0x10; out 0xf4, al; in al, 0xe9; hlt
CODE = bytes.fromhex("b048 e6e9 b010 e6f4 e4e9 f4")


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    path = tmp_path / "guest.bin"
    path.write_bytes(CODE)
    return path


@pytest.mark.kvm
@pytest.mark.parametrize("way", ["run", "step", "a breakpoint before"])
def test_a_guest_ends_itself(guest: Path, way: str) -> None:
    with kvmdbg.open(guest, load=0x1000, devices=["isa-debug-exit,iobase=0xf4", "isa-debugcon"]) as dbg:
        if way == "a breakpoint before":
            dbg.break_at(0x1006)
            dbg.run(timeout=10)
        stop = dbg.step(9) if way == "step" else dbg.run(timeout=10)
        assert isinstance(stop, ExitedStop), stop.describe()
        assert (stop.status, stop.pc, dbg.output) == (33, 0x1008, b"H")
        assert dbg.regs.al == 0x10
        assert isinstance(dbg.run(timeout=10), HaltedStop)
        assert dbg.regs.al == 0xE9
        dbg.restart()
        dbg.breakpoints.clear()
        assert isinstance(dbg.run(timeout=10), ExitedStop)
        assert dbg.output == b"HH"


@pytest.mark.kvm
def test_a_device_that_cannot_be_had_leaves_nothing_open(guest: Path) -> None:
    with pytest.raises(UsageError, match="port 0x3f8 belongs to uart"):
        kvmdbg.open(guest, load=0x1000, devices=["isa-debugcon,iobase=0x3f8"])

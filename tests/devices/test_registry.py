"""Devices by name and option: where they are put, and where none can be."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from kvmdbg.devices import registry
from kvmdbg.errors import DeviceFailure, UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, GuestEnd

GIB = 1 << 30


class Window:
    """Answers MMIO only; keeps what it is asked."""

    name = "window"
    options: ClassVar[dict[str, int]] = {"mmiobase": 0xD0000000, "mmiosize": 0x1000}

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self.asked: list[tuple[int, ...]] = []

    def read(self, offset: int, size: int) -> int:
        self.asked.append((offset, size))
        return 7

    def write(self, offset: int, size: int, value: int) -> GuestEnd | None:
        self.asked.append((offset, size, value))
        return GuestEnd(value, "so it was written") if offset == 0xFFF else None

    def describe(self) -> str:
        return "a window"

    def save(self) -> Any:
        return self.asked

    def load(self, state: Any) -> None:
        self.asked = state


class Both(Window):
    """Answers ports and MMIO, each with methods of its own."""

    name = "both"
    options: ClassVar[dict[str, int]] = {"iobase": 0x170, "iosize": 2, "mmiobase": 0xD0000000, "mmiosize": 16}

    def read_mmio(self, offset: int, size: int) -> int:
        return 0x100 if offset == 15 else 0x40 + offset

    def write_mmio(self, offset: int, size: int, value: int) -> GuestEnd | None:
        return GuestEnd(3, "through memory")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for one in (Window, Both):
        monkeypatch.setitem(registry._known, one.name, one)


def made(text: str, memory: int = 0, irq: Any = None) -> Bus:
    bus = Bus()
    registry.add(bus, text, Board(lambda data: None, irq=irq, memory=memory))
    return bus


def test_device_of_addresses_only() -> None:
    bus = made("window")
    (window,) = bus.devices
    assert isinstance(window, Window)
    assert list(bus.port_ranges()) == []
    assert list(bus.mmio_ranges()) == [(0xD0000000, 0xD0000FFF, window)]
    assert bus.read_mmio(0xD0000010, 4) == 7
    assert bus.write_mmio(0xD0000020, 2, 0x1234) is None
    assert bus.write_mmio(0xD0000FFF, 1, 9) == GuestEnd(9, "so it was written")
    assert window.asked == [(0x10, 4), (0x20, 2, 0x1234), (0xFFF, 1, 9)]
    assert bus.read_mmio(0xCFFFFFFF, 1) == bus.read_mmio(0xD0001000, 1) == 0xFF


def test_options_move_it() -> None:
    bus = made("window,mmiobase=0xe0000000,mmiosize=0x10")
    assert [(first, last) for first, last, _ in bus.mmio_ranges()] == [(0xE0000000, 0xE000000F)]


def test_device_of_ports_and_addresses() -> None:
    bus = made("both")
    assert bus.read_port(0x171, 1) == 7
    assert bus.read_mmio(0xD0000002, 1) == 0x42
    assert bus.write_mmio(0xD0000000, 1, 0) == GuestEnd(3, "through memory")
    with pytest.raises(DeviceFailure, match="device both failed: it answered 256, which is not a number of 1 byte"):
        bus.read_mmio(0xD000000F, 1)
    assert [(first, last) for first, last, _ in bus.port_ranges()] == [(0x170, 0x171)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("window,mmiosize=0", "addresses 0xd0000000 to 0xcfffffff are not there"),
        ("window,mmiobase=-1", "addresses -0x1 to 0xffe are not there"),
        ("window,mmiobase=0xffffffffff001", "addresses 0xffffffffff001 to 0x10000000000000 are not there"),
        ("window,iobase=0x170", "its options are mmiobase, mmiosize"),
        ("window,mmiobase=0xbffff001", "the addresses 0xbffff001 to 0xc0000000 is the guest's memory already"),
        ("window,mmiobase=0x13fffffff", "is the guest's memory already"),
        ("window,mmiobase=0xfeffb001", "is pages of KVM's own already"),
        ("window,mmiobase=0xfeffffff", "is pages of KVM's own already"),
        ("window,mmiobase=0xfee00fff", "is an interrupt controller already"),
        ("window,mmiobase=0xfebff001", "is an interrupt controller already"),
    ],
)
def test_addresses_that_cannot_be_had(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=f"device window.*{says}"):
        made(text, memory=4 * GIB, irq=lambda line, level: None)


@pytest.mark.parametrize(
    "base", [0xC0000000, 0x140000000, 0xFEC00000, 0xFEE00000, 0xFFFBB000, 0xFFFC0000, 0xFFFFFFFFFF000]
)
def test_addresses_beside_those(base: int) -> None:
    """Without interrupt controllers theirs are free."""
    bus = made(f"window,mmiobase={base:#x}", memory=4 * GIB)
    assert bus.read_mmio(base, 1) == bus.read_mmio(base + 0xFFF, 1) == 7


def test_addresses_have_one_device() -> None:
    bus = made("window")
    board = Board(lambda data: None)
    for base in (0xCFFFF001, 0xD0000FFF, 0xD0000000):
        with pytest.raises(
            UsageError, match="device window: the addresses 0xd0000000 to 0xd0000fff belong to window already"
        ):
            registry.add(bus, f"window,mmiobase={base:#x}", board)
    registry.add(bus, "window,mmiobase=0xd0001000", board)
    registry.add(bus, "window,mmiobase=0xcffff000", board)
    assert len(list(bus.mmio_ranges())) == 3


def test_standard_devices_are_put_where_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "standard", True, raising=False)  # Both inherits it
    bus = made("isa-debugcon,iobase=0x171")
    registry.add_standard(bus, Board(lambda data: None, memory=1 << 20))
    assert [(first, one.name) for first, _, one in bus.mmio_ranges()] == [(0xD0000000, "both"), (0xA0000, "vga")]
    found = bus.port(0x171)
    assert found is not None and found[0].name == "isa-debugcon" and bus.port(0x170) is None
    names = [one.name for one in bus.devices]
    assert names[0] == "isa-debugcon" and {"cmos", "i8042", "pci", "post", "power", "vga", "both"} <= {*names}
    registry.add_standard(bus, Board(lambda data: None))
    assert [one.name for one in bus.devices] == names

"""Who answers a port or an address, and what is there when nobody does."""

from __future__ import annotations

import pytest

from kvmdbg.machine.bus import Bus


class Notebook:
    """A device that writes down what it is asked, and answers 0x11 times the size."""

    def __init__(self, name: str = "notebook") -> None:
        self.name = name
        self.asked: list[tuple[int, ...]] = []

    def read(self, offset: int, size: int) -> int:
        self.asked.append((offset, size))
        return 0x11 * size

    def write(self, offset: int, size: int, value: int) -> None:
        self.asked.append((offset, size, value))

    def describe(self) -> str:
        return self.name

    def save(self) -> list[tuple[int, ...]]:
        return self.asked

    def load(self, state: list[tuple[int, ...]]) -> None:
        self.asked = state


def test_ports_reach_their_device_with_the_offset() -> None:
    bus, device = Bus(), Notebook()
    bus.add_ports(0x3F8, 8, device)
    bus.write_port(0x3F8, 1, 0x41)
    bus.write_port(0x3FF, 2, 0x1234)
    assert bus.read_port(0x3FD, 1) == 0x11
    assert device.asked == [(0, 1, 0x41), (7, 2, 0x1234), (5, 1)]
    assert bus.port(0x3FB) == (device, 3)


def test_mmio_reaches_its_device_with_the_offset() -> None:
    bus, device = Bus(), Notebook()
    bus.add_mmio(0xB8000, 0x1000, device)
    bus.write_mmio(0xB8FFF, 1, 7)
    assert bus.read_mmio(0xB8000, 8) == 0x88
    assert device.asked == [(0xFFF, 1, 7), (0, 8)]


@pytest.mark.parametrize(("size", "ones"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF), (8, (1 << 64) - 1)])
def test_nobody_there_reads_as_all_ones(size: int, ones: int) -> None:
    bus, device = Bus(), Notebook()
    bus.add_ports(0x60, 1, device)
    bus.add_mmio(0x1000, 0x1000, device)
    for port in (0, 0x5F, 0x61, 0xFFFF):
        bus.write_port(port, size, 0)
        assert bus.read_port(port, size) == ones
        assert bus.port(port) is None
    for address in (0, 0xFFF, 0x2000, 1 << 40):
        bus.write_mmio(address, size, 0)
        assert bus.read_mmio(address, size) == ones
    assert device.asked == []


def test_devices_side_by_side() -> None:
    bus = Bus()
    one, two = Notebook("one"), Notebook("two")
    bus.add_ports(0x20, 2, one)
    bus.add_ports(0x22, 1, two)
    bus.add_mmio(0x1000, 0x1000, two)
    bus.add_mmio(0x2000, 0x1000, one)
    for access in (0x21, 0x22):
        bus.read_port(access, 1)
    for access in (0x1FFF, 0x2000):
        bus.read_mmio(access, 1)
    assert one.asked == [(1, 1), (0, 1)]
    assert two.asked == [(0, 1), (0xFFF, 1)]
    assert bus.devices == [one, two]
    assert list(bus.port_ranges()) == [(0x20, 0x21, one), (0x22, 0x22, two)]


def test_a_device_without_ports_has_no_port_range() -> None:
    bus, device = Bus(), Notebook()
    bus.add_mmio(0x1000, 0x1000, device)
    assert bus.devices == [device]
    assert list(bus.port_ranges()) == []


def test_a_port_has_one_device() -> None:
    bus = Bus()
    one = Notebook("one")
    bus.add_ports(0x60, 1, one)
    for base, count in ((0x60, 1), (0x5E, 4)):
        with pytest.raises(ValueError, match="port 0x60 belongs to one already"):
            bus.add_ports(base, count, Notebook("two"))
    assert bus.port(0x60) == (one, 0)


def test_a_refused_device_has_no_ports() -> None:
    bus, two = Bus(), Notebook("two")
    bus.add_ports(0x60, 1, Notebook("one"))
    with pytest.raises(ValueError):
        bus.add_ports(0x5E, 4, two)
    assert two not in bus.devices
    assert [port for port in range(0x5E, 0x62) if (found := bus.port(port)) and found[0] is two] == []

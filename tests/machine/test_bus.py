"""Who answers a port or an address, and what is there when nobody does."""

from __future__ import annotations

import pytest

from kvmdbg.errors import DeviceFailure, UsageError
from kvmdbg.machine.bus import Bus, GuestEnd, copy_of


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


def test_answers_and_writes_are_checked() -> None:
    class Odd(Notebook):
        answer: object = 0x100
        end: object = None

        def read(self, offset: int, size: int) -> int:
            return self.answer  # type: ignore[return-value]

        def write(self, offset: int, size: int, value: int) -> None:
            return self.end  # type: ignore[return-value]

    bus, odd = Bus(), Odd("odd")
    bus.add_ports(0x10, 1, odd)
    bus.add_mmio(0x1000, 8, odd)
    for size in (1, 2, 4, 8):
        odd.answer = (1 << 8 * size) - 1
        assert bus.read_mmio(0x1000, size) == odd.answer
        odd.answer = 1 << 8 * size
        plural = "s" if size > 1 else ""
        with pytest.raises(
            DeviceFailure, match=f"device odd failed: it answered .* is not a number of {size} byte{plural}$"
        ):
            bus.read_mmio(0x1000, size)
        with pytest.raises(DeviceFailure, match=f"number of {size} byte{plural}$"):
            bus.read_port(0x10, size)
    odd.answer = True
    assert bus.read_port(0x10, 1) == 1
    odd.end = GuestEnd(3, "so")
    assert bus.write_mmio(0x1007, 1, 0) == GuestEnd(3, "so")
    odd.end = 0
    for write in (lambda: bus.write_port(0x10, 1, 0), lambda: bus.write_mmio(0x1000, 1, 0)):
        with pytest.raises(DeviceFailure, match="its write returned 0, which is neither None nor a GuestEnd"):
            write()


def test_where_a_device_failed_is_told() -> None:
    class Odd(Notebook):
        error: BaseException = ValueError("bug")

        def read(self, offset: int, size: int) -> int:
            raise self.error

    bus, odd = Bus(), Odd("odd")
    bus.add_ports(0x10, 1, odd)
    for error, says in (
        (ValueError("bug"), r"ValueError: bug \(in read, .*test_bus.py:\d+\)"), (SystemExit(1), "SystemExit: 1"),
        (UsageError("in words"), r"in words \(in read"),
    ):  # fmt: skip
        odd.error = error
        with pytest.raises(DeviceFailure, match=f"^device odd failed: {says}") as caught:
            bus.read_port(0x10, 1)
        assert caught.value.device == "odd" and caught.value.__cause__ is error
    odd.error = inner = DeviceFailure("inner", "why")
    with pytest.raises(DeviceFailure) as caught:
        bus.read_port(0x10, 1)
    assert caught.value is inner
    odd.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        bus.read_port(0x10, 1)


def test_state_is_a_copy_both_ways() -> None:
    bus, one, two = Bus(), Notebook("one"), Notebook("two")
    bus.add_ports(0x10, 1, one)
    bus.add_ports(0x12, 1, two)
    bus.add_ports(0x14, 1, one)
    bus.read_port(0x10, 1)
    state = bus.save()
    assert state == [("one", [(0, 1)]), ("two", [])]
    bus.read_port(0x10, 1)
    assert state[0][1] == [(0, 1)]
    bus.load(state)
    bus.read_port(0x10, 1)
    assert state[0][1] == [(0, 1)] and len(one.asked) == 2
    for wrong in (state[:1], [state[1], state[0]], []):
        with pytest.raises(ValueError, match="its devices were"):
            bus.load(wrong)
    with pytest.raises(ValueError, match=r"^its devices were two, one$"):
        bus.load([("two", 0), ("one", 0)])
    assert [(first, last) for first, last, _ in bus.port_ranges()] == [(0x10, 0x14), (0x12, 0x12)]


def test_a_copy_of_a_state_shares_nothing_that_can_be_changed() -> None:
    data = bytearray(b"abc")
    state = [1, None, "text", [2.5, b"bytes", [True]], {"key": [3], "bytes": data}, (4, [5]), {6}]
    found = copy_of(state)
    assert found == state
    assert [type(one) for one in found] == [type(one) for one in state]
    state[3][2].append(7)
    state[4]["key"].append(8)
    data[0] = 0
    state[5][1].append(9)
    state[6].add(10)
    assert found == [1, None, "text", [2.5, b"bytes", [True]], {"key": [3], "bytes": b"abc"}, (4, [5]), {6}]


def test_ranges_of_mmio_do_not_overlap() -> None:
    bus = Bus()
    bus.add_mmio(0x2000, 0x1000, Notebook("one"))
    for base, size in ((0x1001, 0x1000), (0x2FFF, 1), (0x2000, 1), (0, 0x10000)):
        with pytest.raises(ValueError, match="the addresses 0x2000 to 0x2fff belong to one already"):
            bus.add_mmio(base, size, Notebook("two"))
    bus.add_mmio(0x1000, 0x1000, Notebook("below"))
    bus.add_mmio(0x3000, 1, Notebook("above"))
    assert [(first, last, one.name) for first, last, one in bus.mmio_ranges()] == [
        (0x2000, 0x2FFF, "one"), (0x1000, 0x1FFF, "below"), (0x3000, 0x3000, "above"),
    ]  # fmt: skip
    assert len(bus.devices) == 3


def test_first_port_may_have_any_offset() -> None:
    bus, device = Bus(), Notebook()
    bus.add_ports(0x604, 2, device, offset=0x604)
    bus.read_port(0x605, 1)
    assert device.asked == [(0x605, 1)]


def test_a_refused_device_has_no_ports() -> None:
    bus, two = Bus(), Notebook("two")
    bus.add_ports(0x60, 1, Notebook("one"))
    with pytest.raises(ValueError):
        bus.add_ports(0x5E, 4, two)
    assert two not in bus.devices
    assert [port for port in range(0x5E, 0x62) if (found := bus.port(port)) and found[0] is two] == []

"""Hypercalls of Solo5's hvt, one by one, and QEMU's test device."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmdbg.devices import registry
from kvmdbg.errors import DeviceFailure, UsageError
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus, GuestEnd, tell
from kvmdbg.machine.manifest import BLOCK, NET, Declared
from tests.devices.test_fw_cfg import Ram

WALLTIME, PUTS, POLL, BLOCK_WRITE, BLOCK_READ, NET_WRITE, NET_READ, HALT = range(1, 9)
ARGUMENTS = 0x100


class Machine:
    def __init__(self, folder: Path) -> None:
        (folder / "disk").write_bytes(b"first".ljust(512) + b"second".ljust(512))
        self.said = bytearray()
        board = self.board = Board(self.said.extend)
        board.disks.add(str(folder / "disk"), "disk")
        board.manifest = [Declared("", 1 << 30), Declared("net", NET), Declared("disk", BLOCK), Declared("more", BLOCK)]
        board.dma = self.ram = Ram()
        self.bus = Bus()
        registry.add(self.bus, "hvt", board)

    def call(self, number: int, layout: str, *arguments: int, size: int = 4) -> GuestEnd | None:
        self.ram.write(ARGUMENTS, struct.pack(layout, *arguments))
        found = self.bus.port(0x500 + number)
        assert found is not None
        return tell(*found, size, ARGUMENTS)

    def block(self, number: int, handle: int, offset: int, length: int = 512) -> int:
        """Its result."""
        self.call(number, "<QQQQi", handle, offset, 0x1000, length, -1)
        return self.result(32)

    def result(self, at: int) -> int:
        return int.from_bytes(self.ram.read(ARGUMENTS + at, 4), "little", signed=True)


@pytest.fixture
def hvt(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.board.disks.close()


def test_puts(hvt: Machine) -> None:
    hvt.ram.write(0x2000, b"some text")
    hvt.call(PUTS, "<QQ", 0x2000, 4)
    hvt.call(PUTS, "<QQ", 0x2000, 0)
    assert hvt.said == b"some"


def test_walltime_is_recorded_and_given_back(hvt: Machine) -> None:
    arrived: list[tuple[str, str, int]] = []
    hvt.board.arrived = lambda *what: arrived.append(what)
    hvt.call(WALLTIME, "<Q", 0)
    assert arrived == [("hvt", "set_clock", int.from_bytes(hvt.ram.read(ARGUMENTS, 8), "little"))]

    def refuse(*what: object) -> None:
        raise UsageError("only what was recorded comes in")

    hvt.board.arrived = refuse
    hvt.bus.devices[0].set_clock(1234)  # type: ignore[attr-defined]
    hvt.call(WALLTIME, "<Q", 0)
    assert hvt.ram.read(ARGUMENTS, 8) == (1234).to_bytes(8, "little")


def test_poll_ends_with_its_time_or_the_run(hvt: Machine) -> None:
    hvt.call(POLL, "<QQi", 1000, 9, -1)
    assert hvt.ram.read(ARGUMENTS + 8, 12) == bytes(12)
    hvt.board.stopping = lambda: True
    hvt.call(POLL, "<QQi", 1 << 60, 9, -1)
    assert hvt.result(16) == 0


def test_block_device(hvt: Machine) -> None:
    assert hvt.block(BLOCK_READ, 2, 512) == 0 and hvt.ram.read(0x1000, 6) == b"second"
    hvt.ram.write(0x1000, b"third".ljust(512))
    assert hvt.block(BLOCK_WRITE, 2, 0) == 0 and hvt.board.disks.hard_disks[0].read(0, 1) == b"third".ljust(512)


@pytest.mark.parametrize(
    ("handle", "offset", "length"), [(1, 0, 512), (3, 0, 512), (9, 0, 512), (2, 1024, 512), (2, 7, 512), (2, 0, 5)]
)
def test_what_is_no_block(hvt: Machine, handle: int, offset: int, length: int) -> None:
    assert hvt.block(BLOCK_READ, handle, offset, length) == 2
    assert hvt.block(BLOCK_WRITE, handle, offset, length) == 2


def test_the_network_is_silent(hvt: Machine) -> None:
    hvt.call(NET_WRITE, "<QQQi", 1, 0x1000, 60, -1)
    assert hvt.result(24) == 0
    hvt.call(NET_READ, "<QQQi", 1, 0x1000, 1514, -1)
    assert hvt.result(24) == 1
    hvt.call(NET_READ, "<QQQi", 2, 0x1000, 1514, -1)
    assert hvt.result(24) == 2


def test_halt(hvt: Machine) -> None:
    assert hvt.call(HALT, "<Qi", 0, 255) == GuestEnd(255, "it halted by hvt's hypercall with status 255")


def test_what_is_no_hypercall(hvt: Machine) -> None:
    with pytest.raises(DeviceFailure, match="a write of 4 bytes, not of 2"):
        hvt.call(PUTS, "<QQ", 0, 0, size=2)
    with pytest.raises(DeviceFailure, match="no memory"):
        hvt.call(PUTS, "<QQ", 0xFFFF0000, 4)
    assert hvt.bus.port(0x500) is None and hvt.bus.port(0x509) is None


# --- pc-testdev (QEMU, hw/misc/pc-testdev.c) ---------------------------------------------------------------


@pytest.fixture
def lines() -> dict[int, int]:
    return {}


@pytest.fixture
def testdev(lines: dict[int, int]) -> Bus:
    bus = Bus()
    board = Board(lambda data: None, irq=lines.__setitem__, memory=1 << 20)
    registry.add(bus, "pc-testdev", board)
    registry.add_needed(bus, board)
    return bus


def test_values_are_kept_byte_by_byte(testdev: Bus) -> None:
    testdev.write_port(0xE0, 4, 0x11223344)
    testdev.write_port(0xE1, 1, 0xAA)
    testdev.write_port(0xEA, 2, 0x5566)
    assert testdev.read_port(0xE0, 4) == testdev.read_port(0xE8, 4) == 0x5566AA44
    assert testdev.read_port(0xE2, 2) == 0x5566 and testdev.read_port(0xEB, 1) == 0x55


def test_interrupt_lines(testdev: Bus, lines: dict[int, int]) -> None:
    testdev.write_port(0x2000 + 9, 1, 1)
    testdev.write_port(0x2000 + 23, 1, 1)
    testdev.write_port(0x2000 + 9, 1, 0)
    assert lines == {9: 0, 23: 1} and testdev.port(0x2018) is None
    (device,) = (one for one in testdev.devices if one.name == "pc-testdev")
    assert device.details()["lines that are up"] == "23"  # type: ignore[attr-defined]


def test_its_memory(testdev: Bus) -> None:
    testdev.write_mmio(0xFF000100, 8, 0x1122334455667788)
    assert testdev.read_mmio(0xFF000102, 4) == 0x33445566 and testdev.read_mmio(0xFF00FFFF, 1) == 0
    states = testdev.save()
    testdev.write_mmio(0xFF000100, 1, 0)
    testdev.load(states)
    assert testdev.read_mmio(0xFF000100, 1) == 0x88


def test_it_brings_fw_cfg(testdev: Bus) -> None:
    testdev.write_port(0xE4, 4, 0x5123)
    assert {one.name for one in testdev.devices} == {"pc-testdev", "fw_cfg"}

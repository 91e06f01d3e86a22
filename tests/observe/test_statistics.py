"""Counts of exits, gathered from vCPUs that are only in this file."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from kvmdbg.devices.cmos import Cmos
from kvmdbg.kvm.exits import KVM_EXIT_HLT, KVM_EXIT_MMIO
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Device
from kvmdbg.observe.statistics import ExitStatistics


@dataclass
class Port:
    word: str
    port: int
    size: int
    count: int
    device: Device | None = None
    first: int | None = None


@dataclass
class Vcpu:
    exit_counts: dict[int, int]
    mmio_counts: dict[tuple[str, int], int] = field(default_factory=dict)
    ports: dict[int, Port] = field(default_factory=dict)
    unclaimed_mmio: dict[tuple[str, int], tuple[int, int | None]] = field(default_factory=dict)


@pytest.fixture
def both() -> ExitStatistics:
    com1 = Cmos(Board(print), {})
    ports = [Port("out", 0x3F8, 1, 5, com1), Port("in", 0x3FD, 1, 9, com1), Port("out", 0x80, 2, 1, None, 0x1010)]
    first = Vcpu({KVM_EXIT_HLT: 2, KVM_EXIT_MMIO: 3, 9999: 4}, {("read", 0xD0000000): 1, ("write", 0xD0000000): 2})
    first.ports = dict(enumerate(ports))
    second = Vcpu({KVM_EXIT_HLT: 1, KVM_EXIT_MMIO: 2}, {("write", 0xD0000000): 2}, {7: Port("out", 0x3F8, 1, 2, com1)})
    second.ports[8] = Port("in", 0x60, 1, 0, None, 0x2020)
    first.unclaimed_mmio["write", 0xD0000000] = 2, 0x3030
    second.unclaimed_mmio["read", 0xC0000000] = 8, None
    return ExitStatistics(lambda: [first, second])


def test_by_reason_the_most_frequent_first(both: ExitStatistics) -> None:
    assert list(both.by_reason.items()) == [("io", 17), ("mmio", 5), ("reason 9999", 4), ("hlt", 3)]
    assert both.total == 29


def test_by_port_and_direction(both: ExitStatistics) -> None:
    counts = {("in", 0x3FD): 9, ("out", 0x3F8): 7, ("out", 0x80): 1, ("in", 0x60): 0}
    assert list(both.by_port.items()) == list(counts.items())
    assert both.to_json()["by_port"][0] == {"direction": "in", "port": 0x3FD, "count": 9}


def test_ports_and_addresses_that_no_device_has(both: ExitStatistics) -> None:
    ports = [("in", 0x60, 1, 0, 0x2020), ("out", 0x80, 2, 1, 0x1010)]
    assert both.unclaimed == [*ports, ("read", 0xC0000000, 8, 0, None), ("write", 0xD0000000, 2, 2, 0x3030)]


def test_by_address(both: ExitStatistics) -> None:
    assert list(both.by_address.items()) == [(("write", 0xD0000000), 4), (("read", 0xD0000000), 1)]


def test_counting_anew(both: ExitStatistics) -> None:
    both.clear()
    assert both.total == 0
    assert not both.by_reason and not both.by_address
    assert set(both.by_port.values()) == {0}

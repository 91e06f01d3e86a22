"""What firmware finds beside a PC's devices: the host bridge that shadows it, and somebody who listens to its log."""

from __future__ import annotations

from typing import Any

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.firmware_log import KEPT, FirmwareLog
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus

Ranges = list[tuple[int, int]]


@pytest.fixture
def shadows() -> list[Ranges]:
    return []


@pytest.fixture
def pc(shadows: list[Ranges]) -> Bus:
    board, bus = Board(lambda data: None), Bus()
    board.firmware, board.shadow = True, shadows.append
    registry.add_standard(bus, board)
    return bus


def config(bus: Bus, function: int, at: int, size: int, value: int | None = None) -> int:
    """Read or write the configuration space of a device and function (by 8 bits) of bus 0."""
    bus.write_port(0xCF8, 4, 1 << 31 | function << 8 | at & 0xFC)
    if value is not None:
        bus.write_port(0xCFC + at % 4, size, value)
    return bus.read_port(0xCFC + at % 4, size)


@pytest.mark.parametrize(
    ("function", "ids", "kind"),
    [(0x00, 0x12378086, 0x060000), (0x08, 0x70008086, 0x060100), (0x09, 0x70108086, 0x010180)],
)
def test_the_functions(pc: Bus, function: int, ids: int, kind: int) -> None:
    assert config(pc, function, 0, 4) == ids and config(pc, function, 8, 4) == kind << 8
    assert config(pc, function, 0x2C, 4) == 0x11001AF4
    assert config(pc, function, 0, 2, 0) == 0x8086  # read-only
    assert config(pc, function, 0x10, 4, 0xFFFFFFFF) == 0  # no addresses of its own


def test_there_are_no_others(pc: Bus) -> None:
    assert config(pc, 0x0A, 0, 4) == config(pc, 0x10, 0, 4) == 0xFFFFFFFF
    pc.write_port(0xCF8, 4, 1 << 31 | 1 << 16)  # bus 1
    assert pc.read_port(0xCFC, 4) == 0xFFFFFFFF
    pc.write_port(0xCF8, 4, 0)  # not enabled
    assert pc.read_port(0xCFC, 4) == 0xFFFFFFFF


def test_pam_registers(pc: Bus, shadows: list[Ranges]) -> None:
    config(pc, 0, 0x59, 1, 0x30)
    assert shadows[-1] == [(0xF0000, 0x100000)]
    config(pc, 0, 0x5A, 1, 0x13)  # C0000 read and write, C4000 read only
    assert shadows[-1] == [(0xC0000, 0xC4000), (0xF0000, 0x100000)]
    config(pc, 0, 0x5C, 4, 0x33000000)  # 5F: E8000 and EC000
    assert shadows[-1] == [(0xC0000, 0xC4000), (0xE8000, 0xEC000), (0xEC000, 0xF0000), (0xF0000, 0x100000)]
    config(pc, 0, 0x59, 1, 0x10)
    assert shadows[-1][-1] == (0xEC000, 0xF0000)
    count = len(shadows)
    config(pc, 0x08, 0x59, 1, 0x30)  # the other bridge's
    config(pc, 0, 0x70, 1, 0xFF)
    assert len(shadows) == count


def test_snapshots_have_what_is_shadowed(pc: Bus, shadows: list[Ranges]) -> None:
    config(pc, 0, 0x59, 1, 0x30)
    states = pc.save()
    config(pc, 0, 0x59, 1, 0x10)
    pc.load(states)
    assert shadows[-1] == [(0xF0000, 0x100000)] and config(pc, 0, 0x59, 1) == 0x30


def log(bus: Bus) -> Any:
    return next(one for one in bus.devices if isinstance(one, FirmwareLog))


def test_the_log_is_kept(pc: Bus) -> None:
    assert pc.read_port(0x402, 1) == 0xE9
    for byte in b"first\nsecond":
        pc.write_port(0x402, 1, byte)
    assert log(pc).details() == {"1": "first", "2": "second"}
    assert log(pc).describe() == "firmware's log at port 0x402, 2 lines, the last: second"
    state = pc.save()
    log(pc).write_many(b"x" * KEPT + b"end")
    assert len(log(pc).text) == KEPT and log(pc).text.endswith(b"xend")
    pc.load(state)
    assert log(pc).text == b"first\nsecond"

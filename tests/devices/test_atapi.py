"""The CD drive, by packets. Sources: ATA/ATAPI-6 (T13/1410D), MMC-3 (T10/1363D)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.ata import Ata
from kvmdbg.devices.atapi import place
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus

DATA, ERROR, REASON, LOW, MIDDLE, HIGH, DEVICE, COMMAND = range(0x170, 0x178)
CONTROL = 0x376
ASKS, DATA_IN, ENDED = 1, 2, 3
"""Interrupt reasons."""
COUNT = 40


class Machine:
    def __init__(self, folder: Path) -> None:
        path = folder / "cd.iso"
        path.write_bytes(b"".join(bytes((n,)) * 2048 for n in range(COUNT)))
        self.raised = 0
        self.board = Board(lambda data: None, irq=self._irq)
        self.board.disks.add(str(path), "cdrom")
        self.bus = Bus()
        registry.add(self.bus, "ata", self.board)
        (device,) = self.bus.devices
        assert isinstance(device, Ata)
        self.device = device

    def _irq(self, line: int, level: int) -> None:
        assert line == 15 or not level
        self.raised += level

    def out(self, *pairs: tuple[int, int]) -> None:
        for port, value in pairs:
            self.bus.write_port(port, 1, value)

    def at(self, port: int) -> int:
        return self.bus.read_port(port, 1)

    def begin(self, packet: bytes, limit: int = 0x8000) -> None:
        self.out((ERROR, 0), (DEVICE, 0xA0), (MIDDLE, limit & 0xFF), (HIGH, limit >> 8), (COMMAND, 0xA0))
        assert self.at(COMMAND) & 8 and self.at(REASON) == ASKS
        self.device.write_string(DATA, 2, packet.ljust(12, b"\0"))

    def ask(self, packet: bytes, limit: int = 0x8000) -> bytes:
        """All that a command answers."""
        self.begin(packet, limit)
        data = b""
        while self.at(COMMAND) & 8:
            assert self.at(REASON) == DATA_IN
            size = self.at(MIDDLE) | self.at(HIGH) << 8
            assert 0 < size <= limit
            data += self.device.read_string(DATA, 2, -(-size // 2))[:size]
        assert self.at(REASON) == ENDED and self.at(COMMAND) == 0x50
        return data

    def fail(self, packet: bytes) -> tuple[int, int]:
        """Sense key and code of a command that fails."""
        self.begin(packet)
        assert self.at(COMMAND) == 0x51 and self.at(REASON) == ENDED
        key = self.at(ERROR) >> 4
        sense = self.ask(bytes((3, 0, 0, 0, 18)))
        assert sense == bytes((0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, sense[12], 0, 0, 0, 0, 0))
        assert self.ask(bytes((3, 0, 0, 0, 18)))[2] == 0
        return key, sense[12]


@pytest.fixture
def cd(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.board.disks.close()


def read10(first: int, count: int) -> bytes:
    return struct.pack(">BBIBHB", 0x28, 0, first, 0, count, 0)


def test_signature(cd: Machine) -> None:
    cd.out((CONTROL, 4), (CONTROL, 0))
    assert [cd.at(port) for port in (REASON, LOW, MIDDLE, HIGH)] == [1, 1, 0x14, 0xEB]
    cd.out((MIDDLE, 0), (HIGH, 0), (COMMAND, 0xEC))
    assert cd.at(COMMAND) == 0x51 and cd.at(ERROR) == 4
    assert [cd.at(port) for port in (MIDDLE, HIGH)] == [0x14, 0xEB]


def test_identify_packet_device(cd: Machine) -> None:
    cd.out((DEVICE, 0xA0), (COMMAND, 0xA1))
    words = struct.unpack("<256H", cd.device.read_string(DATA, 2, 256))
    assert words[0] == 0x85C0 and cd.at(COMMAND) == 0x50 and cd.raised == 1
    texts = {*range(10, 20), *range(23, 47)}
    fixed = {
        0: 0x85C0, 49: 0x0B00, 53: 6, 63: 0x0407, 64: 3, 65: 120, 66: 120, 67: 120, 68: 120, 80: 0x007E,
        82: 0x4210, 83: 0x4000, 84: 0x4000, 85: 0x4210, 87: 0x4000, 88: 0x003F,
    }  # fmt: skip
    assert {at: word for at, word in enumerate(words) if word and at not in texts} == fixed
    cd.board.firmware = True  # which has not switched the bus master on
    cd.out((COMMAND, 0xA1))
    words = struct.unpack("<256H", cd.device.read_string(DATA, 2, 256))
    assert {at: words[at] for at in fixed} == {**fixed, 49: 0x0A00, 53: 2, 63: 0, 65: 0, 66: 0, 88: 0}


def test_inquiry_and_capacity(cd: Machine) -> None:
    found = cd.ask(bytes((0x12, 0, 0, 0, 36)))
    assert len(found) == 36 and found[0] == 5 and found[1] & 0x80 and found[8:16] == b"kvmdbg  "
    assert cd.ask(bytes((0x12, 0, 0, 0, 5))) == found[:5]
    assert cd.ask(bytes((0x25,))) == struct.pack(">II", COUNT - 1, 2048)
    assert cd.ask(bytes(12)) == b""


@pytest.mark.parametrize("limit", [2048, 0x8000, 512, 0])
def test_reading(cd: Machine, limit: int) -> None:
    wanted = b"".join(bytes((n,)) * 2048 for n in range(3, 23))
    assert cd.ask(read10(3, 20), limit or 0x10000) == wanted
    assert cd.ask(struct.pack(">BBII", 0xA8, 0, 3, 20), limit or 0x10000) == wanted


def test_each_chunk_and_the_end_have_an_interrupt(cd: Machine) -> None:
    cd.ask(read10(0, 2), 2048)
    assert cd.raised == 3


def test_table_of_contents(cd: Machine) -> None:
    found = cd.ask(bytes((0x43, 0, 0, 0, 0, 0, 0, 0, 100)))
    assert found == bytes((0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xAA, 0, 0, 0, 0, COUNT))
    assert cd.ask(bytes((0x43, 0, 0, 0, 0, 0, 0, 0, 4))) == found[:4]
    assert cd.ask(bytes((0x43, 2, 0, 0, 0, 0, 0, 0, 100)))[8:12] == bytes((0, 0, 2, 0))
    assert cd.ask(bytes((0x43, 0, 0, 0, 0, 0, 0xAA, 0, 100))) == found[:4].replace(b"\x12", b"\x0a") + found[12:]
    assert cd.ask(bytes((0x43, 0xFD, 0, 0, 0, 0, 0, 0, 100))) == found  # one bit asks for minutes, seconds and frames
    session = bytes((0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0))
    assert cd.ask(bytes((0x43, 0xFD, 1, 0, 0, 0, 0, 0, 100))) == session + bytes(2)
    assert cd.ask(bytes((0x43, 2, 1, 0, 0, 0, 0, 0, 100))) == session + bytes((2, 0))


def test_minutes_seconds_and_frames() -> None:
    assert place(0, True) == bytes((0, 0, 2, 0)) and place(0, False) == bytes(4)
    assert place((61 * 60 + 59) * 75 + 74 - 150, True) == bytes((0, 61, 59, 74))


@pytest.mark.parametrize(
    ("packet", "sense"),
    [
        (bytes((0xFF,)), (5, 0x20)),
        (read10(COUNT, 1), (5, 0x21)),
        (read10(COUNT - 1, 2), (5, 0x21)),
        (bytes((0x5A, 0, 0x33)), (5, 0x24)),
        (bytes((0x12, 1, 0x80, 0, 36)), (5, 0x24)),
        (bytes((0x43, 0, 0, 0, 0, 0, 2, 0, 100)), (5, 0x24)),
    ],
)
def test_what_fails(cd: Machine, packet: bytes, sense: tuple[int, int]) -> None:
    assert cd.fail(packet) == sense


def test_its_state(cd: Machine) -> None:
    cd.begin(read10(1, 20), 2048)
    cd.device.read_string(DATA, 2, 1000)
    state = cd.bus.save()
    rest = cd.device.read_string(DATA, 2, 24)
    cd.out((CONTROL, 4), (CONTROL, 0))
    cd.bus.load(state)
    assert cd.device.read_string(DATA, 2, 24) == rest == b"\1" * 48
    assert cd.device.read_string(DATA, 2, 1024) == b"\2" * 2048

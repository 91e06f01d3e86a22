"""A machine whose state is saved in the middle of anything goes on from there as the one that it is of does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmdbg.devices.cmos import Cmos
from kvmdbg.devices.i8042 import Keyboard
from kvmdbg.devices.pic import Pic
from kvmdbg.devices.pit import Pit
from kvmdbg.devices.registry import add_standard
from kvmdbg.devices.uart import COM1, PORTS, Uart
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus
from tests.firmware.machine import Memory

DISKS = {"disk": 1 << 20, "floppy": 1440 << 10, "cdrom": 80 << 11}
COMMANDS = {
    0x20: (0x11, 0x20, 0x0B, 0x0A, 0x0C, 0x60, 0x68), 0xA0: (0x11, 0x20, 0x0B, 0x0A, 0x0C),
    0x43: (0x36, 0x34, 0xB0, 0xB2, 0xE2, 0xC2, 0x80, 0xDE),
    0x60: (0xF4, 0xFF, 0xF0, 0xED, 0xF2, 0xF3, 0xE9, 0xEB, 2, 1, 0x47),
    0x64: (0x60, 0xD4, 0xD2, 0x20, 0xAA, 0xAD, 0xAE, 0xA7, 0xA8), 0x70: (0, 2, 4, 10, 11, 12, 1, 3, 5),
    0x176: (0xA0, 0xB0), 0x177: (0xA0, 0xA1, 0x08, 0xEC), 0x1F6: (0xE0, 0xF0, 0xA0),
    0x1F7: (0x20, 0x24, 0xC4, 0x30, 0x34, 0xC5, 0xC8, 0xCA, 0xEC, 0xC6, 0x91, 0xEF, 0x90),
    0x3F5: (0x66, 0xE6, 0x45, 0x4D, 0x03, 0x07, 0x08, 0x0F, 0x4A, 0x0E),
}  # fmt: skip
"""What is mostly written to some ports."""
ALL_PORTS = (
    *(0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1, *range(0x40, 0x44), 0x61), *(0x60, 0x64, 0x70, 0x71) * 2,
    *range(COM1, COM1 + PORTS), *range(0x1F0, 0x1F8), 0x3F6, *range(0x170, 0x178), 0x376, *range(0xC000, 0xC010),
    *(0x3F0, 0x3F2, 0x3F4, 0x3F5, 0x3F5, 0x3F5), *range(16), 0x81, 0x87, *range(0xC0, 0xE0, 2),
    *range(0x3C0, 0x3E0), 0x80,
)  # fmt: skip
PACKETS = (
    bytes.fromhex("280000000003000002000000"), bytes.fromhex("120000002400000000000000"), bytes(12),
    bytes.fromhex("28000000ff03000002000000"), bytes.fromhex("430000000000000040000000"),
)  # fmt: skip
FLOPPY_DATA = 0x66, 0xE6, 0x45
SET_UP = (
    (0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0), (0xA0, 0x11), (0xA1, 0x70), (0xA1, 2), (0xA1, 1),
    (0xA1, 0), (0x3F2, 0x1C),
)  # fmt: skip
Step = tuple[str, int, int, int]
"""What is done, to which port, how many bytes, and the value."""


class Machine:
    """All devices of a PC, whose time goes on by steps."""

    def __init__(self, folder: Path) -> None:
        self.host = 0
        self.sent = bytearray()
        self.bus = Bus()
        board = self.board = Board(self.sent.extend, memory=16 << 20)
        board.time._host = lambda: self.host
        self.memory = Memory(1 << 20)
        board.ram, board.dma = self.memory, self.memory  # type: ignore[assignment]
        for kind in DISKS:
            board.disks.add(str(folder / kind), kind)
        self.bus.add(board.disks)
        self.uart = Uart(self.sent.extend, board)
        self.bus.add_ports(COM1, PORTS, self.uart)
        self.bus.add(board.time)
        self.pic, pit = Pic(board), Pit(board)
        board.pic, board.pit = self.pic, pit
        for device in (self.pic, pit):
            for port in device.ports:
                self.bus.add_ports(port, 1, device, offset=port)
        add_standard(self.bus, board)
        self.keyboard = next(one for one in self.bus.devices if isinstance(one, Keyboard))
        next(one for one in self.bus.devices if isinstance(one, Cmos))._began = 10**18
        board.time.start()
        for port, value in SET_UP:
            self.bus.write_port(port, 1, value)

    def do(self, step: Step) -> int | None:
        what, port, size, value = step
        if what == "read":
            return self.bus.read_port(port, size)
        if what == "write":
            self.bus.write_port(port, size, value)
        elif what == "time":
            self.host += value
            self.board.time.pass_to(self.board.time.now())
        elif what == "interrupt":
            return self.pic.acknowledge() if self.pic.pending else None
        elif what == "key":
            self.keyboard.press("abc"[value])
        elif what == "mouse":
            self.keyboard.move((400 * value - 300, value, value))
        else:
            self.uart.feed(bytes((value & 0xFF,)) * 3)
        return None


def steps(chance: random.Random, count: int) -> Iterator[Step]:
    for _ in range(count):
        kind, port = chance.random(), chance.choice(ALL_PORTS)
        size = chance.choice((1, 2, 4)) if port in (0x1F0, 0x170) else 1
        if kind < 0.35:
            yield "read", port, size, 0
        elif kind < 0.85:
            value = chance.choice(COMMANDS.get(port, (0, 1, 2, chance.getrandbits(8 * size))))
            yield "write", port, size, value
            if (port, value) == (0x177, 0xA0):
                packet = chance.choice(PACKETS)
                yield from (("write", 0x170, 2, packet[at] | packet[at + 1] << 8) for at in range(0, 12, 2))
            elif port == 0x3F5 and value in FLOPPY_DATA:
                place = 0, chance.randrange(3), chance.randrange(2), chance.randrange(1, 19), 2, 18, 0x1B, 0xFF
                yield from (("write", 0x3F5, 1, one) for one in place)
        elif kind < 0.91:
            yield "time", 0, 0, chance.choice((1, 1000, 50_000, 2_000_000, 30_000_000, 1_100_000_000))
        elif kind < 0.93:
            yield "interrupt", 0, 0, 0
        else:
            yield chance.choice(("key", "mouse", "feed")), 0, 0, chance.randrange(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("disks")
    for kind, size in DISKS.items():
        (found / kind).write_bytes(random.Random(kind).randbytes(size))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_it_goes_on_alike(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    one, other = Machine(folder), Machine(folder)
    for step in steps(chance, chance.randrange(5, 400)):
        one.do(step)
    one.board.time.stop()
    other.board.time.stop()
    other.host = one.host
    other.bus.load(one.bus.save())
    other.memory.data[:] = one.memory.data
    for machine in (one, other):
        machine.board.time.start()
    done: list[tuple[Step, int | None]] = []
    for step in steps(chance, 300):
        done.append((step, one.do(step)))
        assert other.do(step) == done[-1][1], done[-12:]
    assert other.bus.save() == one.bus.save() and other.memory.data == one.memory.data
    for machine in (one, other):
        machine.board.disks.close()

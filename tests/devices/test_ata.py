"""Hard disks by ATA PIO, port by port. Source: ATA/ATAPI-6 (T13/1410D)."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.ata import Ata
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus

DATA, ERROR, SECTORS, LOW, MIDDLE, HIGH, DEVICE, COMMAND = range(0x1F0, 0x1F8)
CONTROL = 0x3F6
READY, WAITS, FAILED, DONE = 0x50, 0x58, 0x51, 0x50
ABORTED, NOT_FOUND = 0x04, 0x10
SECTOR_COUNT = 40 * 16 * 63


class Machine:
    """A bus with IDE controllers; ``lines`` are interrupt lines that are up, ``raised`` how often each came up."""

    def __init__(self, folder: Path, disks: int = 1, write: bool = False, firmware: bool = False) -> None:
        self.path = folder / "hd0.img"
        content = b"".join(struct.pack("<I", n) * 128 for n in range(300))
        self.path.write_bytes(content)
        os.truncate(self.path, SECTOR_COUNT * 512)
        self.lines: set[int] = set()
        self.raised: list[int] = []
        self.board = Board(lambda data: None, irq=self._irq)
        self.board.firmware = firmware
        for number in range(disks):
            if number:
                (folder / "hd1.img").write_bytes(b"\xaa" * 512 * 100)
            self.board.disks.add(f"{folder}/hd{number}.img{',write' if write else ''}", "disk")
        self.bus = Bus()
        registry.add(self.bus, "ata", self.board)
        (device,) = self.bus.devices
        assert isinstance(device, Ata)
        self.device = device

    def _irq(self, line: int, level: int) -> None:
        if level and line not in self.lines:
            self.raised.append(line)
        (self.lines.add if level else self.lines.discard)(line)

    def out(self, *pairs: tuple[int, int]) -> None:
        for port, value in pairs:
            self.bus.write_port(port, 1, value)

    def at(self, port: int) -> int:
        return self.bus.read_port(port, 1)

    def address(self, lba: int, count: int) -> None:
        self.out((SECTORS, count & 0xFF), (LOW, lba & 0xFF), (MIDDLE, lba >> 8 & 0xFF), (HIGH, lba >> 16 & 0xFF))
        self.out((DEVICE, 0xE0 | lba >> 24))

    def wide_address(self, lba: int, count: int) -> None:
        self.out((SECTORS, count >> 8), (LOW, lba >> 24 & 0xFF), (MIDDLE, lba >> 32 & 0xFF), (HIGH, lba >> 40 & 0xFF))
        self.out((SECTORS, count & 0xFF), (LOW, lba & 0xFF), (MIDDLE, lba >> 8 & 0xFF), (HIGH, lba >> 16 & 0xFF))
        self.out((DEVICE, 0x40))

    def words(self, count: int = 256) -> bytes:
        return b"".join(self.bus.read_port(DATA, 2).to_bytes(2, "little") for _ in range(count))

    def string(self, count: int = 256) -> bytes:
        return self.device.read_string(DATA, 2, count)

    def identify(self) -> tuple[int, ...]:
        self.out((COMMAND, 0xEC))
        assert self.at(COMMAND) == WAITS
        return struct.unpack("<256H", self.words())


@pytest.fixture
def ide(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.board.disks.close()


def sector(number: int) -> bytes:
    return struct.pack("<I", number) * 128


def test_identify(ide: Machine) -> None:
    ide.out((DEVICE, 0xA0))
    words = ide.identify()
    assert words[0] & 0x8000 == 0 and (words[1], words[3], words[6]) == (40, 16, 63)
    assert words[60] | words[61] << 16 == SECTOR_COUNT == words[100] | words[101] << 16
    assert (words[54], words[55], words[56], words[57] | words[58] << 16) == (40, 16, 63, SECTOR_COUNT)
    assert words[49] & 0x200 and words[83] & 0x400 and words[47] & 0xFF == 16
    model = b"".join(struct.pack(">H", word) for word in words[27:47])
    assert model == b"kvmdbg disk hd0".ljust(40)
    assert ide.at(COMMAND) == DONE


def test_the_other_words_of_identify(ide: Machine) -> None:
    """Those that are not 0, by ATA-6, 8.15; no DMA where firmware has not switched the bus master on."""
    ide.out((DEVICE, 0xA0), (COMMAND, 0xC6))  # no sectors a block, as after a reset of software
    words = ide.identify()
    texts = {*range(10, 20), *range(23, 47)}
    own = {1, 3, 6, 54, 55, 56, 57, 58, 59, 60, 61, 100, 101}
    fixed = {
        0: 0x0040, 47: 0x8010, 49: 0x0B00, 53: 7, 63: 0x0407, 64: 3, 65: 120, 66: 120, 67: 120, 68: 120,
        80: 0x007E, 82: 0x0020, 83: 0x7400, 84: 0x4000, 85: 0x0020, 86: 0x3400, 87: 0x4000, 88: 0x003F,
    }  # fmt: skip
    assert {at: word for at, word in enumerate(words) if word and at not in texts | own} == fixed
    ide.board.firmware = True
    without = {**fixed, 49: 0x0A00, 53: 3, 63: 0, 65: 0, 66: 0, 88: 0}
    assert {at: ide.identify()[at] for at in fixed} == without


@pytest.mark.parametrize("strings", [False, True])
def test_reading_sectors(ide: Machine, strings: bool) -> None:
    ide.address(5, 3)
    ide.out((COMMAND, 0x20))
    for number in (5, 6, 7):
        assert ide.lines == {14} and ide.at(COMMAND) == WAITS and not ide.lines
        assert (ide.string() if strings else ide.words()) == sector(number)
    assert ide.at(COMMAND) == DONE and not ide.lines and ide.raised == [14] * 3
    assert (ide.at(LOW), ide.at(SECTORS)) == (7, 0)


def test_reading_with_48_bit_addresses(ide: Machine) -> None:
    ide.wide_address(258, 2)
    ide.out((COMMAND, 0x24))
    assert ide.string(512) == sector(258) + sector(259)
    ide.wide_address(SECTOR_COUNT - 1, 1)
    ide.out((CONTROL, 0x80))
    assert ide.at(LOW) == 0
    ide.out((CONTROL, 0), (COMMAND, 0x24))
    assert ide.at(COMMAND) == WAITS
    ide.words()
    ide.wide_address(1 << 40, 1)
    ide.out((COMMAND, 0x24))
    assert ide.at(COMMAND) == FAILED and ide.at(ERROR) == NOT_FOUND


def test_reading_by_cylinder_head_and_sector(ide: Machine) -> None:
    ide.out((SECTORS, 1), (LOW, 2), (MIDDLE, 0), (HIGH, 0), (DEVICE, 0xA1), (COMMAND, 0x20))
    assert ide.words() == sector(64)
    ide.out((SECTORS, 10), (DEVICE, 0xA3), (COMMAND, 0x91))  # 4 heads, 10 sectors
    assert ide.at(COMMAND) == DONE
    ide.out((SECTORS, 1), (LOW, 1), (MIDDLE, 1), (HIGH, 0), (DEVICE, 0xA1), (COMMAND, 0x20))
    assert ide.words() == sector(50)
    words = ide.identify()
    assert words[54:57] == (SECTOR_COUNT // 40, 4, 10) and words[1] == 40
    ide.out((SECTORS, 1), (LOW, 11), (COMMAND, 0x20))
    assert ide.at(COMMAND) == FAILED and ide.at(ERROR) == NOT_FOUND


def test_reading_multiple(ide: Machine) -> None:
    ide.out((SECTORS, 4), (DEVICE, 0xE0), (COMMAND, 0xC6))
    ide.address(0, 6)
    ide.raised.clear()
    ide.out((COMMAND, 0xC4))
    assert ide.string(256 * 4) == b"".join(map(sector, range(4)))
    assert ide.string(256 * 2) == sector(4) + sector(5)
    assert ide.raised == [14]  # nobody has read the status between them
    assert ide.at(COMMAND) == DONE
    assert ide.identify()[59] == 0x104
    ide.out((SECTORS, 3), (COMMAND, 0xC6))  # no power of two
    assert ide.at(COMMAND) == FAILED and ide.at(ERROR) == ABORTED
    assert ide.identify()[59] == 0
    ide.address(0, 1)
    ide.out((COMMAND, 0xC4))
    assert ide.at(COMMAND) == FAILED and ide.at(ERROR) == ABORTED


@pytest.mark.parametrize(("command", "wide"), [(0x30, False), (0x34, True)])
def test_writing_sectors(ide: Machine, command: int, wide: bool) -> None:
    (ide.wide_address if wide else ide.address)(20, 2)
    ide.out((COMMAND, command))
    assert ide.at(COMMAND) == WAITS and not ide.raised  # the first block is asked for without an interrupt
    for n in range(256):
        ide.bus.write_port(DATA, 2, 0x1100 + n % 256)
    assert ide.lines == {14} and ide.at(COMMAND) == WAITS
    ide.device.write_string(DATA, 2, b"second" + bytes(506))
    assert ide.raised == [14, 14] and ide.at(COMMAND) == DONE
    disk = ide.board.disks.hard_disks[0]
    assert disk.read(20, 1)[:4] == b"\x00\x11\x01\x11" and disk.read(21, 1)[:6] == b"second"
    assert disk.changed == 2 and ide.path.read_bytes()[20 * 512 : 21 * 512] == sector(20)


def test_writing_multiple_in_a_string(ide: Machine) -> None:
    ide.address(8, 3)
    ide.out((COMMAND, 0xC5))
    ide.device.write_string(DATA, 2, b"abc" * 512)
    assert ide.at(COMMAND) == DONE and ide.board.disks.hard_disks[0].read(8, 3) == b"abc" * 512


def test_interrupts_can_be_held_back(ide: Machine) -> None:
    ide.out((CONTROL, 2))
    ide.address(0, 1)
    ide.out((COMMAND, 0x20))
    assert not ide.lines and ide.at(CONTROL) == WAITS
    ide.out((CONTROL, 1))  # a bit that means nothing
    assert ide.lines == {14}
    assert ide.at(CONTROL) == WAITS and ide.lines == {14}  # the alternate status ends no interrupt
    assert ide.at(COMMAND) == WAITS and not ide.lines


def test_software_reset_and_signature(ide: Machine) -> None:
    ide.address(0x123456, 7)
    ide.out((CONTROL, 4))
    assert ide.at(CONTROL) == 0x80
    ide.out((CONTROL, 0))
    assert [ide.at(port) for port in (SECTORS, LOW, MIDDLE, HIGH)] == [1, 1, 0, 0]
    assert ide.at(COMMAND) == READY and ide.at(ERROR) == 1 and not ide.raised


def test_diagnostic(ide: Machine) -> None:
    ide.out((DEVICE, 0xB0), (COMMAND, 0x90))
    assert ide.at(ERROR) == 1 and ide.lines == {14} and ide.at(COMMAND) == READY


@pytest.mark.parametrize(
    ("command", "features", "count", "status"),
    [
        (0xEF, 3, 0x0C, DONE), (0xEF, 3, 0x45, DONE), (0xEF, 3, 0x80, FAILED), (0xEF, 2, 0, DONE),
        (0xEF, 3, 0, DONE), (0xEF, 0x55, 0, DONE), (0xEF, 0xAA, 0, DONE), (0xEF, 0x66, 0, DONE), (0xEF, 0xCC, 0, DONE),
        (0xEF, 0x82, 0, DONE),
        (0xEF, 0x77, 0, FAILED), (0xE7, 0, 0, DONE), (0xEA, 0, 0, DONE),
        (0x10, 0, 0, DONE), (0xC7, 0, 1, FAILED), (0x00, 0, 0, FAILED), (0xA1, 0, 0, FAILED),
    ],
)  # fmt: skip
def test_other_commands(ide: Machine, command: int, features: int, count: int, status: int) -> None:
    ide.out((DEVICE, 0xA0), (ERROR, features), (SECTORS, count), (COMMAND, command))
    assert ide.lines == {14} and ide.at(COMMAND) == status
    assert ide.at(ERROR) == (ABORTED if status == FAILED else 0)


def test_native_end(ide: Machine) -> None:
    ide.out((DEVICE, 0x40), (COMMAND, 0x27))
    found = [ide.at(port) for port in (LOW, MIDDLE, HIGH)]
    assert bytes(found) == (SECTOR_COUNT - 1).to_bytes(3, "little")
    ide.out((LOW, 0), (COMMAND, 0xF8))
    assert ide.at(LOW) == (SECTOR_COUNT - 1) & 0xFF


@pytest.mark.parametrize(("lba", "count"), [(0x1000000, 1), (SECTOR_COUNT - 1, 2), (SECTOR_COUNT, 1)])
def test_sectors_behind_the_last_are_not_found(ide: Machine, lba: int, count: int) -> None:
    ide.address(lba, count)
    ide.out((COMMAND, 0x20))
    assert ide.at(COMMAND) == FAILED and ide.at(ERROR) == NOT_FOUND


def test_the_drive_that_is_not_there(ide: Machine) -> None:
    ide.out((DEVICE, 0xB0), (COMMAND, 0xEC))
    assert ide.at(COMMAND) == 0 and not ide.raised
    ide.out((DEVICE, 0xA0))
    assert ide.at(COMMAND) == READY
    assert [ide.at(port) for port in (0x177, 0x376, 0x172)] == [0, 0, 0]


def test_two_drives(tmp_path: Path) -> None:
    ide = Machine(tmp_path, disks=2)
    ide.out((DEVICE, 0xF0), (SECTORS, 1), (LOW, 0), (MIDDLE, 0), (HIGH, 0), (COMMAND, 0x20))
    assert ide.words() == b"\xaa" * 512
    words = ide.identify()
    assert words[60] == 100
    ide.out((DEVICE, 0xE0), (COMMAND, 0x20))
    assert ide.at(COMMAND) == WAITS
    assert "hd0, hd1; hd0 selected, status 0x58" in ide.device.describe()
    ide.board.disks.close()


def test_reading_beyond_what_is_there_gives_ones(ide: Machine) -> None:
    assert ide.bus.read_port(DATA, 2) == 0xFFFF
    ide.address(1, 1)
    ide.out((COMMAND, 0x20))
    assert ide.string(300) == sector(1) + b"\xff" * 88


def test_its_state(ide: Machine, tmp_path: Path) -> None:
    ide.address(3, 2)
    ide.out((COMMAND, 0x20))
    head = ide.string(100)
    state = ide.bus.save()
    rest = ide.string(412)
    ide.out((CONTROL, 4), (CONTROL, 0))
    ide.bus.load(state)
    assert ide.string(412) == rest and head + rest == sector(3) + sector(4)


def test_a_pc_has_it_with_disks_or_firmware(tmp_path: Path) -> None:
    def has_it(board: Board) -> bool:
        bus = Bus()
        registry.add_standard(bus, board)
        return any(one.name == "ata" for one in bus.devices)

    board = Board(lambda data: None)
    assert not has_it(board)
    board.firmware = True
    assert has_it(board)
    machine = Machine(tmp_path)
    assert has_it(machine.board)
    machine.board.disks.close()


def test_words_at_registers_of_a_byte(ide: Machine) -> None:
    """They are two accesses each: the address of a sector by words, as small loaders set it."""
    ide.bus.write_port(LOW, 2, 0x0107)
    ide.bus.write_port(HIGH, 2, 0xE000)
    ide.bus.write_port(SECTORS, 1, 1)
    assert [ide.at(port) for port in (SECTORS, LOW, MIDDLE, HIGH, DEVICE)] == [1, 0x07, 0x01, 0, 0xE0]
    assert ide.bus.read_port(LOW, 2) == 0x0107
    assert ide.bus.read_port(COMMAND, 2) == 0xFF00 | READY
    ide.out((COMMAND, 0x20))
    assert ide.bus.read_port(DATA, 4) == 0x107


def test_strings_to_registers_and_data(ide: Machine) -> None:
    """OUTS writes one after the other, as OUT does: of a register the last one stays."""
    ide.device.write_string(LOW, 1, bytes((3, 5, 7)))
    ide.device.write_string(SECTORS, 2, bytes((9, 8, 1, 7)))
    ide.out((MIDDLE, 0), (HIGH, 0), (DEVICE, 0xE0))
    assert [ide.at(SECTORS), ide.at(LOW)] == [1, 7]
    assert ide.device.read_string(LOW, 1, 3) == bytes((7, 7, 7))
    assert ide.device.read_string(SECTORS, 2, 2) == bytes((1, 7, 1, 7))

"""The IDE controller's bus master, and where it is in PCI configuration space (82371SB PIIX3 data sheet)."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.pci import PciConfig
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus

from . import test_atapi as cds
from .test_ata import ABORTED, COMMAND, CONTROL, DONE, ERROR, READY, Machine, sector

BASE, COMMAND_AT, STATUS_AT, TABLE_AT = 0xC000, 0xC000, 0xC002, 0xC004
START, TO_MEMORY = 1, 8
ACTIVE, FAILED, INTERRUPT = 1, 2, 4
BUSY = 0x80
READ, WRITE, READ_WIDE, WRITE_WIDE = 0xC8, 0xCA, 0x25, 0x35
TABLE = 0x9000
MIB = 1 << 20


class Ram:
    """What devices see of memory."""

    def __init__(self) -> None:
        from tests.firmware.machine import Memory

        self._memory = Memory(MIB)
        self.read, self.write = self._memory.read, self._memory.write


@pytest.fixture
def ide(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    machine.board.dma = Ram()
    yield machine
    machine.board.disks.close()


def set_table(ide: Machine, *regions: tuple[int, int]) -> None:
    entries = b"".join(
        struct.pack("<IHH", address, size & 0xFFFF, 0x8000 if number == len(regions) else 0)
        for number, (address, size) in enumerate(regions, 1)
    )
    ide.board.dma.write(TABLE, entries)
    ide.bus.write_port(TABLE_AT, 4, TABLE)


def status(ide: Machine) -> int:
    return ide.bus.read_port(STATUS_AT, 1)


def test_identify_says_so(ide: Machine) -> None:
    words = ide.identify()
    assert words[49] & 0x100 and words[53] & 4 and words[63] & 7 == 7 and words[88] == 0x3F


@pytest.mark.parametrize("command_first", [True, False])
def test_a_read_into_several_regions(ide: Machine, command_first: bool) -> None:
    set_table(ide, (0x10000, 0x600), (0x20000, 0x200))
    ide.address(7, 4)
    if command_first:
        ide.out((COMMAND, READ))
        assert ide.at(CONTROL) == BUSY and not ide.raised
    ide.out((COMMAND_AT, TO_MEMORY), (COMMAND_AT, TO_MEMORY | START))
    if not command_first:
        assert status(ide) == ACTIVE and not ide.raised
        ide.out((COMMAND, READ))
    assert status(ide) == INTERRUPT and ide.lines == {14}
    assert ide.at(COMMAND) == DONE
    assert ide.board.dma.read(0x10000, 0x600) == sector(7) + sector(8) + sector(9)
    assert ide.board.dma.read(0x20000, 0x200) == sector(10)
    ide.out((STATUS_AT, INTERRUPT), (COMMAND_AT, 0))
    assert status(ide) == 0


def test_a_write(ide: Machine) -> None:
    set_table(ide, (0x10002, 0x400))
    ide.board.dma.write(0x10002, b"a" * 512 + b"b" * 512)
    ide.wide_address(3, 2)
    ide.out((COMMAND, WRITE_WIDE), (COMMAND_AT, START))
    assert status(ide) == INTERRUPT and ide.at(COMMAND) == DONE
    set_table(ide, (0x30000, 0x800))
    ide.wide_address(2, 4)
    ide.out((COMMAND_AT, 0), (COMMAND_AT, START | TO_MEMORY), (COMMAND, READ_WIDE))
    assert ide.board.dma.read(0x30000, 0x800) == sector(2) + b"a" * 512 + b"b" * 512 + sector(5)


def test_64_kib_are_written_as_0(ide: Machine) -> None:
    set_table(ide, (0x10000, 0x10000))
    ide.address(0, 128)
    ide.out((COMMAND, READ), (COMMAND_AT, START | TO_MEMORY))
    assert ide.board.dma.read(0x10000, 0x10000) == b"".join(sector(n) for n in range(128))


@pytest.mark.parametrize("regions", [[(0x10000, 0x200)], [(MIB - 0x200, 0x400)], [(4 * MIB, 0x400)]])
def test_a_table_that_does_not_do(ide: Machine, regions: list[tuple[int, int]]) -> None:
    """It ends too early, or leads to where no memory is."""
    set_table(ide, *regions)
    ide.address(0, 2)
    ide.out((COMMAND, READ), (COMMAND_AT, START | TO_MEMORY))
    assert status(ide) == FAILED | INTERRUPT
    assert ide.at(COMMAND) & 1 and ide.at(ERROR) == ABORTED


def test_no_table_at_all(ide: Machine) -> None:
    ide.bus.write_port(TABLE_AT, 4, 0xFFFFFFF0)
    ide.address(0, 2)
    ide.out((COMMAND, WRITE), (COMMAND_AT, START))
    assert status(ide) == FAILED | INTERRUPT


def test_the_wrong_direction_moves_nothing(ide: Machine) -> None:
    set_table(ide, (0x10000, 0x200))
    ide.address(0, 1)
    ide.out((COMMAND, WRITE), (COMMAND_AT, START | TO_MEMORY))
    assert status(ide) == ACTIVE and ide.at(CONTROL) == BUSY
    ide.out((CONTROL, 4), (CONTROL, 0), (COMMAND_AT, 0))
    assert status(ide) == 0 and ide.at(COMMAND) == READY


def test_beyond_the_end(ide: Machine) -> None:
    ide.address((1 << 28) - 1, 1)
    ide.out((COMMAND, READ))
    assert ide.at(COMMAND) & 1 and ide.at(ERROR) == 0x10


def test_registers(ide: Machine) -> None:
    ide.bus.write_port(TABLE_AT, 4, 0x12345677)
    assert ide.bus.read_port(TABLE_AT, 4) == 0x12345674
    ide.bus.write_port(TABLE_AT + 1, 1, 0xAB)
    assert ide.bus.read_port(TABLE_AT, 4) == 0x1234AB74
    ide.out((STATUS_AT, 0x60))
    assert status(ide) == 0x60
    assert ide.bus.read_port(BASE + 8, 4) == 0, "the other channel has its own"


def test_its_state_survives(ide: Machine, tmp_path: Path) -> None:
    set_table(ide, (0x10000, 0x200))
    ide.address(9, 1)
    ide.out((COMMAND, READ))
    (tmp_path / "other").mkdir()
    other = Machine(tmp_path / "other")
    other.board.dma = ide.board.dma
    other.device.load(json.loads(json.dumps(ide.device.save(), default=list)))
    other.out((COMMAND_AT, START | TO_MEMORY))
    assert other.board.dma.read(0x10000, 0x200) == sector(9)
    other.board.disks.close()


# --- CD -----------------------------------------------------------------------------------------------


@pytest.fixture
def cd(tmp_path: Path) -> Iterator[cds.Machine]:
    machine = cds.Machine(tmp_path)
    machine.board.dma = Ram()
    yield machine
    machine.board.disks.close()


def by_dma(cd: cds.Machine, packet: bytes, *regions: tuple[int, int]) -> int:
    """The drive's status behind a packet whose data go by DMA."""
    entries = b"".join(
        struct.pack("<IHH", address, size, 0x8000 if number == len(regions) else 0)
        for number, (address, size) in enumerate(regions, 1)
    )
    cd.board.dma.write(TABLE, entries)
    cd.bus.write_port(TABLE_AT + 8, 4, TABLE)
    cd.out((cds.ERROR, 1), (cds.DEVICE, 0xA0), (cds.COMMAND, 0xA0))
    assert cd.at(cds.COMMAND) & 8 and cd.at(cds.REASON) == cds.ASKS
    cd.device.write_string(cds.DATA, 2, packet.ljust(12, b"\0"))
    cd.out((COMMAND_AT + 8, TO_MEMORY), (COMMAND_AT + 8, TO_MEMORY | START))
    cd.out((COMMAND_AT + 8, TO_MEMORY))
    return cd.at(cds.CONTROL)


def test_a_cd_says_so(cd: cds.Machine) -> None:
    cd.out((cds.DEVICE, 0xA0), (cds.COMMAND, 0xA1))
    words = struct.unpack("<256H", cd.device.read_string(cds.DATA, 2, 256))
    assert words[49] & 0x100 and words[53] & 4 and words[63] & 7 == 7 and words[88] == 0x3F


def test_a_cd_is_read(cd: cds.Machine) -> None:
    cd.raised = 0
    assert by_dma(cd, cds.read10(3, 20), (0x10000, 0x8000), (0x20000, 0x2000)) == DONE
    assert cd.bus.read_port(STATUS_AT + 8, 1) == INTERRUPT and cd.raised == 1 and cd.at(cds.REASON) == cds.ENDED
    whole = b"".join(bytes((n,)) * 2048 for n in range(3, 23))
    assert cd.board.dma.read(0x10000, 0x8000) == whole[:0x8000]
    assert cd.board.dma.read(0x20000, 0x2000) == whole[0x8000:]
    assert by_dma(cd, bytes((0x12, 0, 0, 0, 36)), (0x30000, 36)) == DONE
    assert cd.board.dma.read(0x30008, 8) == b"kvmdbg  "
    assert cd.ask(cds.read10(1, 1)) == b"\1" * 2048, "and by PIO again"


def test_a_packet_without_data_or_with_an_error(cd: cds.Machine) -> None:
    cd.raised = 0
    assert by_dma(cd, bytes(12), (0x10000, 0x800)) == DONE and cd.raised == 1
    assert by_dma(cd, cds.read10(cds.COUNT, 1), (0x10000, 0x800)) == DONE | 1 and cd.at(cds.ERROR) == 0x50


def test_a_table_that_is_too_short_for_a_cd(cd: cds.Machine) -> None:
    assert by_dma(cd, cds.read10(0, 2), (0x10000, 0x800)) == DONE | 1
    assert cd.bus.read_port(STATUS_AT + 8, 1) == FAILED | INTERRUPT
    assert cd.ask(bytes(12)) == b"", "nothing is left of it"


def test_a_packet_that_waits_for_the_bus_master_survives(cd: cds.Machine, tmp_path: Path) -> None:
    cd.out((cds.ERROR, 1), (cds.DEVICE, 0xA0), (cds.COMMAND, 0xA0))
    cd.device.write_string(cds.DATA, 2, cds.read10(7, 1).ljust(12, b"\0"))
    (tmp_path / "other").mkdir()
    other = cds.Machine(tmp_path / "other")
    other.board.dma = cd.board.dma
    other.device.load(cd.device.save())
    assert other.at(cds.CONTROL) == BUSY
    other.board.dma.write(TABLE, struct.pack("<IHH", 0x10000, 2048, 0x8000))
    other.bus.write_port(TABLE_AT + 8, 4, TABLE)
    other.out((COMMAND_AT + 8, TO_MEMORY | START))
    assert other.at(cds.CONTROL) == DONE and other.board.dma.read(0x10000, 2048) == b"\7" * 2048
    other.board.disks.close()


# --- PCI ----------------------------------------------------------------------------------------------


def configuration(bus: Bus, device: int, function: int, register: int) -> int:
    bus.write_port(0xCF8, 4, 1 << 31 | device << 11 | function << 8 | register)
    return bus.read_port(0xCFC, 4)


def test_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, MIB)
    board = Board(lambda data: None)
    board.disks.add(str(path), "disk")
    bus = Bus()
    registry.add(bus, "pci", board)
    assert configuration(bus, 0, 0, 0) == 0x12378086
    assert configuration(bus, 1, 0, 0x0C) & 0x800000, "the bridge has several functions"
    assert (configuration(bus, 1, 1, 0), configuration(bus, 1, 1, 8) >> 8) == (0x70108086, 0x010180)
    assert configuration(bus, 1, 1, 0x20) == BASE | 1
    bus.write_port(0xCFC, 4, 0xFFFFFFFF)
    assert bus.read_port(0xCFC, 4) == 0xFFFFFFF1, "16 ports"
    bus.write_port(0xCFC, 4, BASE)
    assert bus.read_port(0xCFC, 4) == BASE | 1
    assert configuration(bus, 3, 0, 0) == 0xFFFFFFFF
    board.disks.close()


def test_firmware_puts_it_there(tmp_path: Path) -> None:
    """Before it has, and elsewhere, drives have no DMA."""
    machine = Machine(tmp_path, firmware=True)
    machine.board.dma = Ram()
    bus = machine.bus
    registry.add(bus, "pci", machine.board)
    assert configuration(bus, 1, 1, 0x20) == 1
    bus.write_port(0xCFC, 4, 0xFFFFFFFF)
    assert bus.read_port(0xCFC, 4) == 0xFFFFFFF1
    for base, on, has in ((BASE, 0, False), (BASE, 1, True), (0xC100, 1, False), (BASE, 5, True)):
        configuration(bus, 1, 1, 0x20)
        bus.write_port(0xCFC, 4, base)
        configuration(bus, 1, 1, 4)
        bus.write_port(0xCFC, 2, on)
        machine.out((COMMAND_AT, TO_MEMORY))
        assert bus.read_port(COMMAND_AT, 1) == (TO_MEMORY if has else 0xFF)
        assert bool(machine.identify()[49] & 0x100) == has
        machine.address(0, 1)
        machine.out((COMMAND, READ))
        assert machine.at(CONTROL) == (BUSY if has else READY | 1)
        machine.out((CONTROL, 4), (CONTROL, 0))
    machine.board.disks.close()


def test_the_adapter_of_large_pictures() -> None:
    board, bus = Board(lambda data: None), Bus()
    for name in ("vbe", "pci"):
        registry.add(bus, name, board)
    assert (configuration(bus, 2, 0, 0), configuration(bus, 2, 0, 8)) == (0x11111234, 0x03000000)
    assert configuration(bus, 2, 0, 0x10) == 0xFD000008
    bus.write_port(0xCFC, 4, 0xFFFFFFFF)
    assert bus.read_port(0xCFC, 4) == 0xFF000008
    bus.write_port(0xCFC, 4, 0xFD000000)
    (pci,) = (one for one in bus.devices if isinstance(one, PciConfig))
    assert pci.describe() == "PCI configuration space, 440FX, VGA; 4 reads"
    again = json.loads(json.dumps(pci.save(), default=list))
    pci.load(again)
    assert configuration(bus, 2, 0, 0x10) == 0xFD000008


def test_a_bus_with_anything_on_it_has_a_host_bridge() -> None:
    """Guests that go through it as the wiki of OSDev does look at 00:00.0 first, and no further where nothing is."""
    board, bus = Board(lambda data: None), Bus()
    for name in ("vbe", "pci"):
        registry.add(bus, name, board)
    assert [configuration(bus, device, 0, 0) != 0xFFFFFFFF for device in range(4)] == [True, False, True, False]
    assert configuration(bus, 0, 0, 8) >> 16 == 0x0600 and configuration(bus, 0, 0, 0x0C) == 0


def test_a_command_that_is_given_up_moves_nothing(ide: Machine) -> None:
    """DEVICE RESET, which a hard disk does not know, ends what waits for the bus master."""
    set_table(ide, (0x10000, 0x200))
    ide.address(7, 1)
    ide.out((COMMAND, READ), (COMMAND, 0x08))
    assert ide.at(ERROR) == ABORTED
    ide.out((COMMAND_AT, TO_MEMORY), (COMMAND_AT, TO_MEMORY | START))
    assert ide.board.dma.read(0x10000, 0x200) == bytes(0x200) and status(ide) & ACTIVE

"""The floppy controller and the DMA controllers behind it. Sources: Intel 82077AA (290166) and 8237A (231466)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.floppy import FloppyController
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus
from tests.devices.test_fw_cfg import Ram

OUTPUT, STATUS, FIFO = 0x3F2, 0x3F4, 0x3F5
READ, WRITE, READ_ID, SENSE_INTERRUPT = 0xE6, 0xC5, 0x4A, 0x08


class Machine:
    def __init__(self, folder: Path) -> None:
        path = folder / "fd0.img"
        path.write_bytes(b"".join(n.to_bytes(2, "little") * 256 for n in range(2880)))
        self.lines: set[int] = set()
        self.raised = 0
        self.board = Board(lambda data: None, irq=self._irq)
        self.board.dma = self.ram = Ram()
        self.board.disks.add(str(path), "floppy")
        self.bus = Bus()
        registry.add(self.bus, "isa-dma", self.board)
        registry.add(self.bus, "floppy", self.board)
        self.controller = self.bus.devices[-1]
        self.out((OUTPUT, 0), (OUTPUT, 0x1C))
        for drive in range(4):
            assert self.command(SENSE_INTERRUPT) == [0xC0 | drive, 0]

    def _irq(self, line: int, level: int) -> None:
        self.raised += level and line not in self.lines
        (self.lines.add if level else self.lines.discard)(line)

    def out(self, *pairs: tuple[int, int]) -> None:
        for port, value in pairs:
            self.bus.write_port(port, 1, value)

    def at(self, port: int) -> int:
        return self.bus.read_port(port, 1)

    def command(self, *values: int) -> list[int]:
        """Its result."""
        for value in values:
            assert self.at(STATUS) & 0xC0 == 0x80
            self.out((FIFO, value))
        result = []
        while self.at(STATUS) & 0x40:
            result.append(self.at(FIFO))
        return result

    def channel_2(self, mode: int, address: int, count: int) -> None:
        self.out((0x0A, 6), (0x0C, 0), (0x04, address & 0xFF), (0x04, address >> 8 & 0xFF), (0x81, address >> 16))
        self.out((0x05, count - 1 & 0xFF), (0x05, count - 1 >> 8), (0x0B, mode), (0x0A, 2))

    def seek(self, track: int) -> None:
        self.command(0x0F, 0, track)
        assert self.lines == {6} and self.command(SENSE_INTERRUPT) == [0x20, track] and not self.lines


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.board.disks.close()


def content(first: int, count: int) -> bytes:
    return b"".join(n.to_bytes(2, "little") * 256 for n in range(first, first + count))


def test_recalibrate_and_seek(pc: Machine) -> None:
    assert pc.command(0x07, 0) == [] and pc.command(SENSE_INTERRUPT) == [0x20, 0]
    pc.seek(12)
    assert pc.command(READ_ID, 4) == [4, 0, 0, 12, 1, 1, 2]
    assert pc.command(0x04, 0) == [0x28]
    assert pc.command(SENSE_INTERRUPT) == [0x80]  # nothing to tell


def test_reading(pc: Machine) -> None:
    pc.seek(3)
    pc.channel_2(0x46, 0x2000, 1024)
    assert pc.command(READ, 4, 3, 1, 5, 2, 18, 0x1B, 0xFF) == [4, 0, 0, 3, 1, 7, 2]
    assert pc.ram.read(0x2000, 1024) == content((3 * 2 + 1) * 18 + 4, 2)
    assert pc.at(0x08) == 4 and pc.at(0x08) == 0  # terminal count


def test_reading_goes_on_with_the_second_head(pc: Machine) -> None:
    pc.channel_2(0x46, 0x1000, 36 * 512)
    result = pc.command(READ, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    assert result[:3] == [result[0] & 4, 0, 0] and result[3:] == [1, 0, 1, 2]
    assert pc.ram.read(0x1000, 36 * 512) == content(0, 36)


def test_a_count_that_goes_beyond_the_track(pc: Machine) -> None:
    pc.channel_2(0x46, 0x1000, 19 * 512)
    assert pc.command(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[:2] == [0x40, 0x80]
    assert pc.ram.read(0x1000, 18 * 512) == content(0, 18)


def test_writing(pc: Machine) -> None:
    pc.ram.write(0x3000, b"floppy" + bytes(506))
    pc.channel_2(0x4A, 0x3000, 512)
    assert pc.command(WRITE, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF)[:3] == [0, 0, 0]
    assert pc.board.disks.floppies[0].read(8, 1).startswith(b"floppy\0")


def test_formatting(pc: Machine) -> None:
    pc.ram.write(0x3000, b"".join(bytes((0, 0, n + 1, 2)) for n in range(18)))
    pc.channel_2(0x4A, 0x3000, 72)
    assert pc.command(0x4D, 0, 2, 18, 0x54, 0xF6)[:2] == [0, 0]
    assert pc.board.disks.floppies[0].read(0, 18) == b"\xf6" * 512 * 18


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ((READ, 0, 80, 0, 1, 2, 18, 0x1B, 0xFF), [0x40, 4]),
        ((READ, 0, 0, 0, 19, 2, 18, 0x1B, 0xFF), [0x40, 4]),
        ((READ, 1, 0, 0, 1, 2, 18, 0x1B, 0xFF), [0x41, 4]),
        ((READ_ID, 1), [0x41, 4]),
        ((0x1F,), [0x80]),
    ],
)
def test_what_fails(pc: Machine, command: tuple[int, ...], status: list[int]) -> None:
    pc.channel_2(0x46, 0x1000, 512)
    assert pc.command(*command)[: len(status)] == status


def test_a_masked_channel(pc: Machine) -> None:
    assert pc.command(READ, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)[:2] == [0x40, 0x10]


def test_verifying(pc: Machine) -> None:
    assert pc.command(0x56, 0, 3, 0, 1, 2, 18, 0x1B, 0xFF) == [0, 0, 0, 4, 0, 1, 2]
    assert pc.command(0x56, 0x80, 3, 0, 5, 2, 18, 0x1B, 4) == [0, 0, 0, 3, 0, 9, 2], "4 sectors"
    assert pc.command(0x56, 0x80, 3, 0, 17, 2, 18, 0x1B, 4)[:2] == [0x40, 0x80]
    assert pc.command(0x56, 0, 80, 0, 1, 2, 18, 0x1B, 0xFF)[:2] == [0x40, 4]


def test_reading_a_track(pc: Machine) -> None:
    pc.channel_2(0x46, 0x2000, 1024)
    assert pc.command(0x42, 0, 3, 0, 9, 2, 18, 0x1B, 0xFF) == [0, 0, 0, 3, 0, 3, 2]
    assert pc.ram.read(0x2000, 1024) == content(3 * 2 * 18, 2)


def test_seeking_by_so_many_tracks(pc: Machine) -> None:
    pc.seek(12)
    for command, by, track in ((0xCF, 5, 17), (0x8F, 3, 14), (0x8F, 20, 0)):
        pc.command(command, 0, by)
        assert pc.command(SENSE_INTERRUPT) == [0x20, track]


def test_a_channel_moves_data_as_its_mode_says(pc: Machine) -> None:
    """One that reads memory, or verifies, gives a device's data to nobody; a controller that is off moves nothing."""
    pc.ram.write(0x2000, b"memory" + bytes(506))
    for mode in (0x4A, 0x42):
        pc.channel_2(mode, 0x2000, 512)
        assert pc.command(READ, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF)[:3] == [0, 0, 0]
        assert pc.ram.read(0x2000, 6) == b"memory" and pc.at(8) & 4
    pc.channel_2(0x46, 0x2000, 512)
    assert pc.command(WRITE, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF)[:3] == [0, 0, 0]
    assert pc.board.disks.floppies[0].read(8, 1) == b"\xff" * 512
    pc.channel_2(0x46, 0x2000, 512)
    pc.out((0x08, 4))
    assert pc.command(READ, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF)[:2] == [0x40, 0x10]
    pc.out((0x08, 0))
    assert pc.command(READ, 0, 0, 0, 10, 2, 18, 0x1B, 0xFF)[:2] == [0, 0] and pc.ram.read(0x2000, 512) == content(9, 1)


# --- without DMA ----------------------------------------------------------------------------------------


def test_reading_without_dma(pc: Machine) -> None:
    """Each byte has its interrupt. It ends with the cylinder, as nobody gives a terminal count."""
    pc.command(0x03, 0xAF, 3)
    for value in (READ, 4, 0, 1, 17, 2, 18, 0x1B, 0xFF):
        pc.out((FIFO, value))
    data = bytearray()
    while pc.at(STATUS) & 0x20:
        assert pc.at(STATUS) == 0xF0 and pc.lines == {6}
        data.append(pc.at(FIFO))
    assert bytes(data) == content(18 + 16, 2)
    assert pc.lines == {6} and pc.raised == 1 + 1024 + 1, "the reset's, each byte's, and the result's"
    assert pc.command() == [0x44, 0x80, 0, 1, 0, 1, 2] and not pc.lines
    for value in (READ, 0, 0, 1, 18, 2, 9, 0x1B, 0xFF):
        pc.out((FIFO, value))
    for _ in range(512):
        pc.at(FIFO)
    assert pc.command()[:2] == [0x40, 4], "there is no sector 19"


def test_writing_and_formatting_without_dma(pc: Machine) -> None:
    pc.command(0x03, 0xAF, 3)
    for value in (WRITE & 0x7F, 0, 0, 0, 18, 2, 18, 0x1B, 0xFF):
        pc.out((FIFO, value))
    for value in b"floppy".ljust(512, b"."):
        assert pc.at(STATUS) == 0xB0 and pc.lines == {6}
        pc.out((FIFO, value))
    assert pc.command()[:3] == [0x40, 0x80, 0]
    (disk,) = pc.board.disks.floppies
    assert disk.read(17, 1) == b"floppy".ljust(512, b".") and disk.changed == 1
    for value in (0x4D, 0, 2, 2, 0x54, 0xE5, 0, 0, 3, 2, 0, 0, 4, 2):
        pc.out((FIFO, value))
    assert pc.command()[:2] == [0, 0] and disk.read(1, 4) == content(1, 1) + b"\xe5" * 1024 + content(4, 1)


def test_a_transfer_without_dma_survives_in_its_middle(pc: Machine) -> None:
    pc.command(0x03, 0xAF, 3)
    for value in (READ & 0x7F, 0, 0, 0, 17, 2, 18, 0x1B, 0xFF):
        pc.out((FIFO, value))
    first = bytes(pc.at(FIFO) for _ in range(700))
    state = pc.bus.save()
    pc.out((OUTPUT, 0), (OUTPUT, 0x1C))
    assert not pc.at(STATUS) & 0x20
    pc.bus.load(state)
    assert first + bytes(pc.at(FIFO) for _ in range(324)) == content(16, 2)
    assert pc.command()[:2] == [0x40, 0x80]


def test_version_lock_and_registers(pc: Machine) -> None:
    assert pc.command(0x10) == [0x90]
    assert pc.command(0x94) == [0x10] and pc.command(0x14) == [0]
    pc.command(0x13, 0, 0x77, 0)
    pc.command(0x03, 0xAF, 2)
    pc.seek(4)
    assert pc.command(0x0E) == [4, 0, 0, 0, 0xAF, 2, 0, 0, 0x77, 0]


def test_the_gate_holds_interrupts_back(pc: Machine) -> None:
    pc.out((OUTPUT, 0x14))
    pc.command(0x07, 0)
    assert not pc.lines
    pc.out((OUTPUT, 0x1C))
    assert pc.lines == {6}


def test_what_the_host_cannot_read_or_write_is_a_data_error(pc: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's error ended the guest."""

    def fails(*which: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(pc.board.disks.floppies[0], "read", fails)
    monkeypatch.setattr(pc.board.disks.floppies[0], "write", fails)
    failed = [0x40, 0x20, 0, 0, 0, 9, 2]
    pc.channel_2(0x46, 0x3000, 512)
    assert pc.command(READ, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF) == failed
    pc.channel_2(0x4A, 0x3000, 512)
    assert pc.command(WRITE, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF) == failed
    pc.channel_2(0x4A, 0x3000, 4)
    pc.ram.write(0x3000, bytes((0, 0, 1, 2)))
    assert pc.command(0x4D, 0, 2, 1, 0x1B, 0xF6)[:3] == [0x40, 0x20, 0]
    pc.command(0x03, 0, 1)  # SPECIFY: without DMA
    assert pc.command(READ, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF) == failed
    for value in (WRITE, 0, 0, 0, 9, 2, 18, 0x1B, 0xFF, *bytes(512)):
        pc.out((FIFO, value))
    assert [pc.at(FIFO) for _ in range(7)] == failed and not pc.at(STATUS) & 0x40


def test_dma_registers(pc: Machine) -> None:
    pc.channel_2(0x46, 0x12345, 0x200)
    pc.out((0x0C, 0))
    assert [pc.at(4), pc.at(4), pc.at(5), pc.at(5), pc.at(0x81)] == [0x45, 0x23, 0xFF, 1, 1]
    assert pc.at(0x0F) == 0xF0 | 0b1011
    pc.out((0x0D, 0))
    assert pc.at(0x0F) == 0xFF
    pc.out((0xDE, 0))
    assert pc.at(0xDE) == 0xF0


def test_words_of_the_second_controller(pc: Machine) -> None:
    dma = pc.board.isa_dma
    assert dma is not None
    pc.out((0xD8, 0), (0xC4, 0), (0xC4, 0x10), (0x8B, 0), (0xC6, 3), (0xC6, 0), (0xD6, 0x45), (0xD4, 1))
    assert dma.left(5) == 8 and dma.put(5, b"12345678")
    assert pc.ram.read(0x2000, 8) == b"12345678" and dma.left(5) == 0


def test_a_channel_that_wraps_and_starts_again(pc: Machine) -> None:
    dma = pc.board.isa_dma
    assert dma is not None
    pc.channel_2(0x56, 0xFFFE, 4)
    assert dma.put(2, b"abcd") and dma.left(2) == 4
    assert pc.ram.read(0xFFFE, 2) == b"ab" and pc.ram.read(0, 2) == b"cd"


def test_its_state(pc: Machine) -> None:
    for value in (READ, 4, 3):
        pc.out((FIFO, value))
    pc.channel_2(0x46, 0x2000, 512)
    state = pc.bus.save()
    pc.out((OUTPUT, 0), (OUTPUT, 0x1C), (0x0D, 0))
    pc.bus.load(state)
    assert pc.command(1, 5, 2, 18, 0x1B, 0xFF)[:2] == [4, 0]
    assert pc.ram.read(0x2000, 512) == content((3 * 2 + 1) * 18 + 4, 1)


def test_it_says_nothing_while_it_is_held_in_reset(pc: Machine) -> None:
    pc.out((OUTPUT, 0))
    assert pc.at(STATUS) == 0


def test_a_pc_has_them_with_floppies_or_firmware(pc: Machine) -> None:
    def has_it(board: Board) -> bool:
        bus = Bus()
        registry.add_standard(bus, board)
        return any(isinstance(one, FloppyController) for one in bus.devices)

    assert has_it(pc.board) and not has_it(Board(lambda data: None))
    assert pc.controller.details()["tracks"] == "0"
    assert FloppyController(Board(lambda data: None), FloppyController.options).details()["tracks"] == "no drives"

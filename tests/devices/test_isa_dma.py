"""The two DMA controllers of a PC, register by register. Sources: Intel 8237A data sheet (231466); IBM PC/AT Technical
Reference (1985), system board, DMA."""

from __future__ import annotations

import pytest

from kvmdbg.devices import registry
from kvmdbg.devices.isa_dma import IsaDma
from kvmdbg.machine.board import Board
from kvmdbg.machine.bus import Bus
from tests.devices.test_fw_cfg import Ram

PAGES = (0x87, 0x83, 0x81, 0x82, 0x8F, 0x8B, 0x89, 0x8A)
"""By channel."""
ADDRESSES = (0, 2, 4, 6, 0xC0, 0xC4, 0xC8, 0xCC)
COUNTS = (1, 3, 5, 7, 0xC2, 0xC6, 0xCA, 0xCE)
STATUS, MASK, MODE, FLIP_FLOP, MASTER_CLEAR, CLEAR_MASKS, MASKS = (
    (at, 0xC0 + 2 * at) for at in (8, 10, 11, 12, 13, 14, 15)
)
"""By controller; status is the command where it is written."""
TO_MEMORY, FROM_MEMORY, AUTOMATIC, DOWNWARDS = 4, 8, 0x10, 0x20


class Pc(Bus):
    def __init__(self) -> None:
        super().__init__()
        board = Board(lambda data: None)
        board.dma = self.ram = Ram()
        self.ram.data = bytearray(0x60000)
        registry.add(self, "isa-dma", board)
        (device,) = self.devices
        assert isinstance(device, IsaDma)
        self.device = device

    def word(self, port: int) -> int:
        """A register of 16 bits, its lower half first."""
        self.write_port(FLIP_FLOP[port >> 7], 1, 0)
        return self.read_port(port, 1) | self.read_port(port, 1) << 8

    def set_word(self, port: int, value: int) -> None:
        self.write_port(FLIP_FLOP[port >> 7], 1, 0)
        self.write_port(port, 1, value & 0xFF)
        self.write_port(port, 1, value >> 8)

    def ready(self, channel: int, page: int, address: int, count: int, mode: int) -> None:
        self.write_port(PAGES[channel], 1, page)
        self.set_word(ADDRESSES[channel], address)
        self.set_word(COUNTS[channel], count)
        self.write_port(MODE[channel >> 2], 1, mode | channel & 3)
        self.write_port(MASK[channel >> 2], 1, channel & 3)


@pytest.fixture
def pc() -> Pc:
    return Pc()


def test_each_channel_has_its_registers(pc: Pc) -> None:
    for channel in range(8):
        pc.write_port(PAGES[channel], 1, 0x10 + channel)
        pc.set_word(ADDRESSES[channel], 0x2080 + 0x101 * channel)
        pc.set_word(COUNTS[channel], 0x4090 + 0x101 * channel)
    for channel in range(8):
        assert pc.read_port(PAGES[channel], 1) == 0x10 + channel
        assert pc.word(ADDRESSES[channel]) == 0x2080 + 0x101 * channel
        assert pc.word(COUNTS[channel]) == 0x4090 + 0x101 * channel
        shown = pc.device.details()[f"channel {channel}"]
        assert shown.startswith(f"at {(0x10 + channel) << 16 | 0x2080 + 0x101 * channel:#08x}, count 0x4")


def test_the_halves_of_one_controller_are_not_those_of_the_other(pc: Pc) -> None:
    for controller in (0, 1):
        pc.write_port(FLIP_FLOP[controller], 1, 0)
    pc.write_port(ADDRESSES[1], 1, 0x11)
    pc.write_port(ADDRESSES[6], 1, 0x33)
    pc.write_port(ADDRESSES[1], 1, 0x22)
    pc.write_port(MASTER_CLEAR[1], 1, 0)
    pc.write_port(ADDRESSES[6], 1, 0x44)
    assert (pc.word(ADDRESSES[1]), pc.word(ADDRESSES[6])) == (0x2211, 0x0044)


@pytest.mark.parametrize("channel", [0, 1, 2, 3, 5, 6, 7])
def test_data_go_to_the_page_and_address_of_the_channel(pc: Pc, channel: int) -> None:
    """Channels 5 to 7 count words, and the lowest bit of their page is none of the address's."""
    wide = channel > 4
    pc.ready(channel, 3, 0x100, 7, TO_MEMORY)
    data = bytes(range(1, 9 + 8 * wide))
    assert pc.device.left(channel) == len(data)
    assert not pc.device.put(channel, data[:4])
    assert pc.word(ADDRESSES[channel]) == 0x100 + (2 if wide else 4)
    assert pc.word(COUNTS[channel]) == (5 if wide else 3)
    assert pc.device.put(channel, data[4:])
    assert pc.ram.read(0x20200 if wide else 0x30100, len(data)) == data
    assert pc.device.left(channel) == 0 and pc.word(COUNTS[channel]) == 0xFFFF


def test_what_status_says_of_the_ended_count(pc: Pc) -> None:
    """A bit for each channel of the controller, until that is read."""
    for channel in (1, 3, 5, 6):
        pc.ready(channel, 1, 0, 0, FROM_MEMORY)
        assert pc.device.get(channel, 2 if channel > 4 else 1)[1]
    assert [pc.read_port(port, 1) for port in (*STATUS, *STATUS)] == [0b1010, 0b0110, 0, 0]
    pc.ready(7, 1, 0, 0, FROM_MEMORY)
    pc.device.get(7, 2)
    pc.write_port(MASTER_CLEAR[0], 1, 0)
    assert [pc.read_port(port, 1) for port in STATUS] == [0, 0b1000]


def test_masks(pc: Pc) -> None:
    assert [pc.read_port(port, 1) & 15 for port in MASKS] == [15, 15]
    pc.write_port(MASK[0], 1, 2)
    pc.write_port(MASKS[1], 1, 0b0101)
    assert [pc.read_port(port, 1) & 15 for port in MASKS] == [0b1011, 0b0101]
    assert pc.device.describe() == "8237A DMA controllers, channels 2, 5, 7 ready"
    pc.write_port(MASK[0], 1, 2 | 4)
    pc.write_port(CLEAR_MASKS[1], 1, 0)
    assert [pc.read_port(port, 1) & 15 for port in MASKS] == [15, 0]
    assert pc.device.describe() == "8237A DMA controllers, channels 5, 6, 7 ready"  # 4 is where the first is joined on
    pc.write_port(MASTER_CLEAR[1], 1, 0)
    assert pc.device.describe() == "8237A DMA controllers, all channels masked"


def test_a_controller_that_is_disabled_moves_nothing(pc: Pc) -> None:
    pc.ready(1, 0, 0, 9, TO_MEMORY)
    pc.ready(5, 0, 0, 9, TO_MEMORY)
    pc.write_port(STATUS[1], 1, 4)
    assert (pc.device.left(1), pc.device.left(5)) == (10, 0)
    pc.write_port(MASTER_CLEAR[1], 1, 0)
    pc.write_port(MASK[1], 1, 1)
    assert pc.device.left(5) == 20


def test_automatic_and_downwards(pc: Pc) -> None:
    pc.ram.write(0x50FFE, b"abcd")
    pc.ready(3, 5, 0x1001, 3, FROM_MEMORY | AUTOMATIC | DOWNWARDS)
    assert pc.device.get(3, 3) == (b"dcb", False)
    assert (pc.word(ADDRESSES[3]), pc.word(COUNTS[3])) == (0x0FFE, 0)
    assert pc.device.get(3, 1) == (b"a", True)
    assert (pc.word(ADDRESSES[3]), pc.word(COUNTS[3])) == (0x1001, 3) and pc.device.left(3) == 4


def test_it_goes_on_from_a_snapshot(pc: Pc) -> None:
    pc.ready(6, 2, 0x80, 1, TO_MEMORY)
    pc.write_port(STATUS[0], 1, 4)
    pc.write_port(FLIP_FLOP[1], 1, 0)
    pc.write_port(ADDRESSES[7], 1, 0x12)
    other = Pc()
    other.load(pc.save())
    other.write_port(ADDRESSES[7], 1, 0x34)
    assert other.device.details() == {
        **pc.device.details(),
        "channel 7": "at 0x003412, count 0x0000, mode 0x00, masked",
    }
    other.device.put(6, b"word")
    assert other.ram.read(0x20100, 4) == b"word" and other.device.save()[2] == [4, 0]

"""The two 8237A DMA controllers of a PC and their page registers (Intel 8237A data sheet, 231466; IBM PC AT reference).

Channels 0 to 3 move bytes, 5 to 7 words; channel 4 cascades the first controller.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, ClassVar

from kvmdbg.devices.registry import device
from kvmdbg.errors import MemoryFault
from kvmdbg.machine.board import Board

PAGES = {0x87: 0, 0x83: 1, 0x81: 2, 0x82: 3, 0x8F: 4, 0x8B: 5, 0x89: 6, 0x8A: 7}
"""Page register of each channel."""
FIRST, SECOND = range(0x10), range(0xC0, 0xE0, 2)
COMMAND, REQUEST, MASK, MODE, CLEAR_FLIP_FLOP, MASTER_CLEAR, CLEAR_MASK, ALL_MASKS = range(8, 16)
DOWNWARDS, AUTOMATIC = 0x20, 0x10
"""Bits of a channel's mode."""
TRANSFER, WRITES_MEMORY, READS_MEMORY = 0x0C, 0x04, 0x08
"""Bits of a channel's mode: which way data go; neither way where transfers are only verified."""
DISABLED = 0x04
"""Bit of a controller's command register."""


class Channel:
    """Addresses and counts in bytes, or in words for 5 to 7."""

    def __init__(self) -> None:
        self.base_address = self.base_count = self.address = self.count = self.page = self.mode = 0
        self.masked = True
        self.finished = False

    def save(self) -> list[int]:
        found = [self.base_address, self.base_count, self.address, self.count, self.page, self.mode]
        return [*found, int(self.masked), int(self.finished)]

    def load(self, state: list[int]) -> None:
        self.base_address, self.base_count, self.address, self.count, self.page, self.mode, masked, finished = state
        self.masked, self.finished = bool(masked), bool(finished)


@device
class IsaDma:
    """isa-dma: 8237A DMA controllers, for the floppy controller."""

    name = "isa-dma"
    options: ClassVar[dict[str, int]] = {"iobase": 0, "iosize": 16}
    ports: ClassVar[tuple[int, ...]] = (*FIRST, *PAGES, *SECOND)

    @staticmethod
    def belongs_to(board: Board) -> bool:
        return board.firmware or bool(board.disks.floppies)

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        board.isa_dma = self
        self.channels = [Channel() for _ in range(8)]
        self.flip_flops = [False, False]
        self.commands = [0, 0]

    # --- for devices -------------------------------------------------------------------------------

    def left(self, number: int) -> int:
        """How many bytes the channel is still to move; 0 while it is masked."""
        channel = self.channels[number]
        stands = channel.masked or self.commands[number >> 2] & DISABLED
        return 0 if stands else (channel.count + 1 & 0x1FFFF) << (number > 4)

    def put(self, number: int, data: bytes) -> bool:
        """A device's data go to memory; whether the count has ended (terminal count)."""
        moves = self.channels[number].mode & TRANSFER == WRITES_MEMORY
        for address, at, size in self._advance(number, len(data)):
            if moves:
                self._write(address, data[at : at + size])
        return self.channels[number].finished

    def get(self, number: int, size: int) -> tuple[bytes, bool]:
        """Memory for a device, and whether the count has ended."""
        moves = self.channels[number].mode & TRANSFER == READS_MEMORY
        pieces = self._advance(number, size)
        data = b"".join(self._read(address, count) if moves else b"\xff" * count for address, _, count in pieces)
        return data, self.channels[number].finished

    def _advance(self, number: int, size: int) -> list[tuple[int, int, int]]:
        """Move the channel on; (guest-physical address, offset in the data, bytes) of what that goes through."""
        channel, wide = self.channels[number], number > 4
        size = min(size, self.left(number))
        page = channel.page << 16
        pieces = []
        if channel.mode & DOWNWARDS:
            pieces = [(page & ~0xFFFF | channel.address - n & 0xFFFF, n, 1) for n in range(size)]
        elif wide:
            pieces = [((page & ~0x1FFFF) + (channel.address << 1), 0, size)] if size else []
        else:
            first = min(size, 0x10000 - channel.address)
            pieces = [(page + channel.address, 0, first), (page, first, size - first)]
        moved = size >> wide
        step = -moved if channel.mode & DOWNWARDS else moved
        channel.address = channel.address + step & 0xFFFF
        channel.finished = moved == channel.count + 1
        if channel.finished and channel.mode & AUTOMATIC:
            channel.address, channel.count = channel.base_address, channel.base_count
        elif channel.finished:
            channel.count, channel.masked = 0xFFFF, True
        else:
            channel.count -= moved
        return [piece for piece in pieces if piece[2]]

    def _write(self, address: int, data: bytes) -> None:
        with suppress(MemoryFault):  # nobody is there to take it
            self._board.dma.write(address, data)

    def _read(self, address: int, size: int) -> bytes:
        try:
            return self._board.dma.read(address, size)
        except MemoryFault:
            return b"\xff" * size

    # --- registers ---------------------------------------------------------------------------------

    def _place(self, port: int) -> tuple[int, int]:
        """Controller and register."""
        return (0, port) if port in FIRST else (1, (port - SECOND.start) // 2)

    def read(self, port: int, size: int) -> int:
        if port in PAGES:
            return self.channels[PAGES[port]].page
        controller, register = self._place(port)
        if register < 8:
            channel = self.channels[controller * 4 + register // 2]
            return self._half(controller, channel.count if register & 1 else channel.address)
        if register == COMMAND:
            finished = 0
            for number, channel in enumerate(self.channels[controller * 4 : controller * 4 + 4]):
                finished |= channel.finished << number
                channel.finished = False
            return finished
        if register == ALL_MASKS:
            return 0xF0 | sum(self.channels[controller * 4 + n].masked << n for n in range(4))
        return 0

    def _half(self, controller: int, value: int) -> int:
        upper = self.flip_flops[controller]
        self.flip_flops[controller] = not upper
        return value >> 8 & 0xFF if upper else value & 0xFF

    def write(self, port: int, size: int, value: int) -> None:
        value &= 0xFF
        if port in PAGES:
            self.channels[PAGES[port]].page = value
            return
        controller, register = self._place(port)
        first = controller * 4
        if register < 8:
            self._write_half(controller, self.channels[first + register // 2], register & 1, value)
        elif register == COMMAND:
            self.commands[controller] = value
        elif register == MASK:
            self.channels[first + (value & 3)].masked = bool(value & 4)
        elif register == MODE:
            self.channels[first + (value & 3)].mode = value & ~3
        elif register == CLEAR_FLIP_FLOP:
            self.flip_flops[controller] = False
        elif register == MASTER_CLEAR:
            self.flip_flops[controller], self.commands[controller] = False, 0
            for channel in self.channels[first : first + 4]:
                channel.masked, channel.finished = True, False
        elif register in (CLEAR_MASK, ALL_MASKS):
            for number, channel in enumerate(self.channels[first : first + 4]):
                channel.masked = register == ALL_MASKS and bool(value >> number & 1)

    def _write_half(self, controller: int, channel: Channel, is_count: int, value: int) -> None:
        upper = self.flip_flops[controller]
        self.flip_flops[controller] = not upper
        old = channel.base_count if is_count else channel.base_address
        new = old & 0xFF | value << 8 if upper else old & 0xFF00 | value
        if is_count:
            channel.base_count = channel.count = new
        else:
            channel.base_address = channel.address = new

    def describe(self) -> str:
        busy = [str(number) for number, one in enumerate(self.channels) if not one.masked and number != 4]
        return f"8237A DMA controllers, {'channels ' + ', '.join(busy) + ' ready' if busy else 'all channels masked'}"

    def details(self) -> dict[str, str]:
        return {
            f"channel {number}": f"at {one.page << 16 | one.address:#08x}, count {one.count:#06x}, mode {one.mode:#04x}"
            f"{', masked' if one.masked else ''}"
            for number, one in enumerate(self.channels)
        }

    def save(self) -> Any:
        return [[one.save() for one in self.channels], self.flip_flops, self.commands]

    def load(self, state: Any) -> None:
        channels, flip_flops, commands = state
        for one, saved in zip(self.channels, channels, strict=True):
            one.load(saved)
        self.flip_flops, self.commands = list(flip_flops), list(commands)

"""What a VGA adapter of a PC has beyond a VGA's modes: pictures of any size, whose memory is one piece.

The registers are those of Bochs and QEMU (QEMU's docs/specs/standard-vga.rst, "DISPI"): an index at port 0x1CE, data at
0x1CF. The picture's memory is RAM above that of the guest, so that drawing costs no exit; 64 KiB of it are at 0xA0000
as well, where a mode asks for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from kvmdbg.devices.pci import HOST_BRIDGE, IO_ENABLED, MEMORY_ENABLED, PREFETCHABLE, Function, host_bridge
from kvmdbg.devices.registry import device
from kvmdbg.machine.board import Board
from kvmdbg.machine.layout import PICTURE, PICTURE_SIZE

ADDRESS, SIZE = PICTURE, PICTURE_SIZE
SLOT = 2
"""Its place in PCI configuration space."""
WINDOW, WINDOW_SIZE = 0xA0000, 0x10000
INDEX, DATA = 0, 1
(
    ID, WIDTH, HEIGHT, BITS, ENABLE, BANK, VIRTUAL_WIDTH, VIRTUAL_HEIGHT, X, Y, MEMORY,
) = range(11)  # fmt: skip
OLDEST, NEWEST = 0xB0C0, 0xB0C5
ENABLED, CAPABILITIES, LINEAR, KEEPS = 1, 2, 0x40, 0x80
"""In ENABLE."""
MOST_WIDTH, MOST_HEIGHT, MOST_BITS = 2560, 1600, 32


@device
class Vbe:
    """vbe: larger pictures, in memory at 0xfd000000 (DISPI; the BIOS's VESA modes)."""

    name = "vbe"
    options: ClassVar[dict[str, int]] = {"iobase": 0x1CE, "iosize": 3}

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self.index, self.version = 0, NEWEST
        self.registers = [0] * 11
        self.registers[WIDTH], self.registers[HEIGHT], self.registers[BITS] = 640, 480, 8
        if board.ram is not None:
            board.ram.add(ADDRESS, SIZE, of_device=True)
        if not board.firmware:  # that would give its memory another place
            board.pci.setdefault(HOST_BRIDGE, host_bridge())
            seen = board.pci[SLOT, 0] = Function("VGA", (0x1234, 0x1111), 0x030000, writable=range(0))
            seen.has_range(0, ADDRESS, SIZE, PREFETCHABLE)
            seen.put(4, 2, IO_ENABLED | MEMORY_ENABLED)

    # --- what others ask of it ---------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether the screen shows its picture."""
        return bool(self.registers[ENABLE] & ENABLED)

    @property
    def has_window(self) -> bool:
        """Whether 64 KiB of its memory are at 0xA0000."""
        return self.is_on and not self.registers[ENABLE] & LINEAR

    @property
    def width(self) -> int:
        return self.registers[WIDTH]

    @property
    def height(self) -> int:
        return self.registers[HEIGHT]

    @property
    def bits(self) -> int:
        """Of a pixel."""
        return self.registers[BITS]

    @property
    def pitch(self) -> int:
        """Bytes from one line to the next."""
        return self.registers[VIRTUAL_WIDTH] * bytes_of(self.bits)

    @property
    def start(self) -> int:
        """The first byte that is shown."""
        return self.registers[Y] * self.pitch + self.registers[X] * bytes_of(self.bits)

    @property
    def lines(self) -> int:
        """How many lines its memory holds."""
        return SIZE // self.pitch if self.pitch else 0

    def set_mode(self, width: int, height: int, bits: int, *, linear: bool, clear: bool = True) -> None:
        """Show a picture of this size."""
        self._set(ENABLE, 0)
        self._set(WIDTH, width)
        self._set(HEIGHT, height)
        self._set(BITS, bits)
        self._set(ENABLE, ENABLED | (LINEAR if linear else 0) | (0 if clear else KEEPS))

    def switch_off(self) -> None:
        """The VGA's own modes are shown again."""
        self._set(ENABLE, 0)

    def set_registers(self, values: Sequence[int]) -> None:
        """Show what was shown when ``registers`` had these values; memory stays."""
        self._set(ENABLE, 0)
        for index in (WIDTH, HEIGHT, BITS):
            self._set(index, values[index])
        self._set(ENABLE, values[ENABLE] | KEEPS)
        for index in (VIRTUAL_WIDTH, BANK, X, Y):
            self._set(index, values[index])

    def set_pitch(self, pixels: int) -> None:
        """Have lines be so many pixels apart, as far as memory is there for them."""
        self._set(VIRTUAL_WIDTH, pixels)

    def show_from(self, x: int, y: int) -> None:
        """The pixel at the screen's upper left."""
        self.registers[X], self.registers[Y] = x, y

    @property
    def shows_from(self) -> tuple[int, int]:
        return self.registers[X], self.registers[Y]

    @property
    def bank(self) -> int:
        """Which 64 KiB are at 0xA0000."""
        return self.registers[BANK]

    def select_bank(self, number: int) -> None:
        self._set(BANK, number)

    def memory(self) -> bytes:
        """All that the guest has drawn, from the first line that is shown on."""
        ram = self._board.ram
        assert ram is not None
        size = min(self.pitch * self.height, SIZE - self.start)
        if size <= 0:
            return b""
        shown = bytearray(ram.read(ADDRESS + self.start, size))
        if self.has_window:  # what has been drawn there since it was moved is not in its place yet
            at = self.bank * WINDOW_SIZE - self.start
            first, last = max(at, 0), min(at + WINDOW_SIZE, len(shown))
            if first < last:
                shown[first:last] = ram.read(WINDOW + first - at, last - first)
        return bytes(shown)

    # --- registers ---------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        if offset == INDEX:
            return self.index & (1 << 8 * size) - 1
        return self._get(self.index) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == INDEX:
            self.index = value & 0xFFFF
        elif size > 1:
            self._set(self.index, value & 0xFFFF)

    def _get(self, index: int) -> int:
        if index == ID:
            return self.version
        if index == MEMORY:
            return SIZE >> 16
        if self.registers[ENABLE] & CAPABILITIES and index in (WIDTH, HEIGHT, BITS):
            return {WIDTH: MOST_WIDTH, HEIGHT: MOST_HEIGHT, BITS: MOST_BITS}[index]
        if index == VIRTUAL_HEIGHT:
            return min(self.lines, 0xFFFF)
        return self.registers[index] if index < len(self.registers) else 0

    def _set(self, index: int, value: int) -> None:
        if index == ID:
            if OLDEST <= value <= NEWEST:
                self.version = value
        elif index == ENABLE:
            self._enable(value)
        elif index == BANK:
            self._move_window(value)
        elif index in (WIDTH, HEIGHT, BITS):
            if not self.is_on and self._has_room(index, value):
                self.registers[index] = value
        elif index == VIRTUAL_WIDTH:
            if value >= self.width and value * bytes_of(self.bits) * self.height <= SIZE:
                self.registers[index] = value
        elif index in (X, Y):
            self.registers[index] = value

    def _has_room(self, index: int, value: int) -> bool:
        if index == BITS:
            return value in (8, 15, 16, 24, 32)
        return 0 < value <= (MOST_WIDTH if index == WIDTH else MOST_HEIGHT)

    def _enable(self, value: int) -> None:
        was_on, ram = self.is_on, self._board.ram
        if was_on:
            self._put_window_back()
        self.registers[ENABLE] = value
        if not self.is_on:
            return
        if not was_on:
            registers = self.registers
            registers[VIRTUAL_WIDTH], registers[X], registers[Y], registers[BANK] = self.width, 0, 0, 0
            if not value & KEEPS and ram is not None:
                ram.zero(ADDRESS, min(self.pitch * self.height, SIZE))
        self._show_window()

    # --- the window --------------------------------------------------------------------------------

    def _move_window(self, number: int) -> None:
        if number < SIZE // WINDOW_SIZE:
            self._put_window_back()
            self.registers[BANK] = number
            self._show_window()

    def _put_window_back(self) -> None:
        ram = self._board.ram
        if self.has_window and ram is not None:
            ram.write(ADDRESS + self.bank * WINDOW_SIZE, ram.read(WINDOW, WINDOW_SIZE))

    def _show_window(self) -> None:
        ram = self._board.ram
        if self.has_window and ram is not None:
            ram.write(WINDOW, ram.read(ADDRESS + self.bank * WINDOW_SIZE, WINDOW_SIZE))

    # --- as a device -------------------------------------------------------------------------------

    def _in_words(self) -> str:
        return f"{self.width} x {self.height} pixels of {self.bits} bits" if self.is_on else "off"

    def describe(self) -> str:
        return f"large pictures: {self._in_words()}"

    def details(self) -> dict[str, str]:
        where = f"{ADDRESS:#x} to {ADDRESS + SIZE - 1:#x}"
        window = f", bank {self.bank} at {WINDOW:#x}" if self.has_window else ""
        shown = {"first byte shown": f"{self.start:#x}", "bytes in a line": str(self.pitch)} if self.is_on else {}
        return {"shows": self._in_words(), "memory": where + window, **shown}

    def save(self) -> Any:
        return [self.index, self.version, self.registers]

    def load(self, state: Any) -> None:
        self.index, self.version, registers = state
        self.registers = list(registers)


def bytes_of(bits: int) -> int:
    """Bytes of a pixel."""
    return (bits + 7) // 8

"""A VGA adapter: its registers at ports 0x3C0 to 0x3DF, its colours, its memory at 0xA0000 and text at 0xB8000.

Source: IBM PS/2 Hardware Interface Technical Reference, video subsystem. Text and the modes whose memory is a plain row
of bytes (13h, and those of the CGA) are RAM, which costs no exit; where the planes are switched on, at 0xA0000 or where
text is otherwise, the adapter lies over the RAM there and each access exits.
"""

from __future__ import annotations

from typing import Any, ClassVar

from kvmdbg.devices.fonts import font
from kvmdbg.devices.registry import device
from kvmdbg.devices.vga_modes import MODES, Mode, palette
from kvmdbg.devices.vga_planes import CHAIN_4, MEMORY_MODE, MISCELLANEOUS, MODE, NOT_ODD_EVEN, SIZE, Planes
from kvmdbg.errors import UsageError
from kvmdbg.machine.board import Board

GRAPHICS, MONOCHROME, TEXT = 0xA0000, 0xB0000, 0xB8000
TEXT_SIZE = 0x8000
WINDOWS = ((GRAPHICS, 2 * SIZE), (GRAPHICS, SIZE), (MONOCHROME, TEXT_SIZE), (TEXT, TEXT_SIZE))
"""Where the CPU sees the adapter's memory, by bits 2 and 3 of the graphics controller's register 6: address, bytes."""
SHOWN = dict(enumerate(" ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼")) | {127: "⌂"}
"""What a VGA adapter draws for the characters that code page 437 shares with ASCII's control characters."""
(
    ATTRIBUTE, ATTRIBUTE_READ, MISC_WRITE, _, SEQUENCER, SEQUENCER_DATA, DAC_MASK, DAC_READ, DAC_WRITE, DAC_DATA,
    FEATURE, _, MISC_READ, _, GRAPHICS_INDEX, GRAPHICS_DATA,
) = range(16)  # fmt: skip
CRTC_INDEX, CRTC_DATA, STATUS = 0x14, 0x15, 0x1A
TOTAL, OVERFLOW, CELL, START, CURSOR, PROTECT, LINES, PITCH = 6, 7, 9, 0x0C, 0x0E, 0x11, 0x12, 0x13
LINE_COMPARE = 0x18
DISPLAY_END, CRTC_MODE = 1, 0x17
BYTE_MODE = 0x40
"""Of the CRT controller's mode."""
LINE = 31_778
"""Nanoseconds from one line to the next, at 31.469 kHz."""
PATIENCE = 20_000
"""After how many reads with one answer the other is given once: guest time stands still, or is very slow."""
IS_256, IS_4, PLANES_SHOWN = 0x40, 0x20, 0x12
IS_GRAPHICS = 1
"""In the graphics controller's register 6."""
PALETTE_ON = 0x20
"""In the index of the attribute controller: the CPU leaves the palette alone, and the screen is on."""
FONT_STRIDE = 32
BLANK = b" \x07"


@device
class Vga:
    """vga: text, 16 and 256 colours: registers, palette, planes; `screen` shows what it shows."""

    name = "vga"
    options: ClassVar[dict[str, int]] = {"iobase": 0x3C0, "iosize": 32, "mmiobase": GRAPHICS, "mmiosize": 2 * SIZE}
    standard = over_memory = True

    def __init__(self, board: Board, options: dict[str, int]) -> None:
        self._board = board
        self.mode = 3
        """The last mode that ``set_mode`` was asked for."""
        self.misc = self.feature = 0
        self.index = self.sequencer_index = self.graphics_index = self.attribute_index = 0
        self.attribute_takes_data = False
        self.crtc, self.sequencer = bytearray(32), bytearray(8)
        self.graphics, self.attribute = bytearray(16), bytearray(32)
        self.palette = bytearray(768)
        """The colours of the DAC: red, green and blue, 6 bits each."""
        self.dac_mask, self._dac_at, self._dac_reads = 0xFF, 0, False
        self._planes: Planes | None = None
        self._at_graphics = "nothing"
        """What the guest finds at 0xA0000: "ram", "planes" or "nothing" of the adapter's."""
        self._covered: tuple[int, int] | None = None
        """Where the planes lie over the RAM: address, bytes."""
        self._retrace = self._between_lines = False
        self._same = 0
        """How often the status was read with one answer."""
        self._set_registers(MODES[3])

    # --- what others ask of it ---------------------------------------------------------------------

    def set_mode(self, number: int, *, clear: bool = True) -> None:
        """What int 10h, AH=0 does: registers, colours, the font, and the memory that is shown. UsageError."""
        mode = MODES.get(number)
        if mode is None:
            known = ", ".join(f"{one:#x}" for one in MODES)
            raise UsageError(f"the VGA adapter has no mode {number:#x}: there are {known}")
        self.mode = number
        self._set_registers(mode)
        self._move()
        if mode.is_text:
            self._load_font()
        if clear:
            self._clear(mode)

    @property
    def registers(self) -> bytes:
        """Those that a mode sets, all but the colours."""
        numbers = bytes((self.misc, self.feature, self.attribute_index))
        return numbers + b"".join((self.sequencer[:5], self.crtc[:25], self.graphics[:9], self.attribute[:21]))

    @registers.setter
    def registers(self, data: bytes) -> None:
        self.misc, self.feature, self.attribute_index = data[:3]
        self.sequencer[:5], self.crtc[:25] = data[3:8], data[8:33]
        self.graphics[:9], self.attribute[:21] = data[33:42], data[42:63]
        self.attribute_takes_data = False
        self._move()

    def _set_registers(self, mode: Mode) -> None:
        self.misc = mode.misc
        self.sequencer[:5] = mode.sequencer
        self.crtc[:25] = mode.crtc
        self.graphics[:9] = mode.graphics
        self.attribute[:21] = mode.attribute
        self.attribute_index, self.attribute_takes_data = PALETTE_ON, False
        self.palette[:] = palette(mode.palette)
        self.dac_mask = 0xFF

    @property
    def planes(self) -> Planes:
        """Its memory; that of modes whose memory is RAM is there."""
        if self._planes is None:
            self._planes = Planes(self.sequencer, self.graphics)
            self._load_font()
        return self._planes

    @property
    def has_own_font(self) -> bool:
        """Whether plane 2 may hold another font than the default one: somebody has looked at the planes."""
        return self._planes is not None

    @property
    def shows_planes(self) -> bool:
        """Whether what a graphics mode shows is in the planes, and not in RAM."""
        ram = self._board.ram
        return self._at_graphics != "ram" or ram is None or ram.find(GRAPHICS + SIZE - 1) is None

    def _load_font(self) -> None:
        """Put the font of text modes where a BIOS puts it, if anybody has looked there."""
        if self._planes is not None:
            shapes = font(16)
            block = b"".join(shapes[at : at + 16].ljust(FONT_STRIDE, b"\0") for at in range(0, len(shapes), 16))
            self._planes.memory[2 : 4 * len(block) : 4] = block

    def _clear(self, mode: Mode) -> None:
        if mode.is_text:
            self._fill(self.text, BLANK * (TEXT_SIZE // 2))
        elif mode.number < 7:
            self._fill(TEXT, bytes(TEXT_SIZE))
        elif self._at_graphics == "planes":
            self.planes.memory[:] = bytes(4 * SIZE)
        else:
            self._fill(GRAPHICS, bytes(SIZE))

    def _fill(self, address: int, data: bytes) -> None:
        if self._board.ram is not None and self._board.ram.find(address + len(data) - 1) is not None:
            self._board.ram.write(address, data)

    @property
    def text(self) -> int:
        """Where the memory of text is: at 0xB0000 in the monochrome mode."""
        return MONOCHROME if self.graphics[MISCELLANEOUS] >> 2 & 3 == 2 else TEXT

    @property
    def is_text(self) -> bool:
        return not self.graphics[MISCELLANEOUS] & IS_GRAPHICS

    def _size(self) -> str:
        """Of a picture."""
        width, height, colours = self.picture
        return f"{width} x {height} pixels, {colours} colours"

    @property
    def picture(self) -> tuple[int, int, int]:
        """Width and height in pixels, and colours, where it shows no text."""
        height = self.lines // self.height // (2 if self.crtc[CELL] & 0x80 else 1)
        if self.graphics[MODE] & IS_256:
            return 4 * self.columns, height, 256
        colours = 4 if self.graphics[MODE] & IS_4 else 2 if self.attribute[PLANES_SHOWN] & 15 == 1 else 16
        if self.is_cga:
            height *= 2
        return 8 * self.columns, height, colours

    @property
    def is_cga(self) -> bool:
        """Whether odd lines of a picture lie 8 KiB behind the even ones, as a CGA adapter has it."""
        return not self.crtc[CRTC_MODE] & 1

    @property
    def counts_bytes(self) -> bool:
        """Whether ``start`` counts bytes of a plane, as in the modes of 16 colours, and not characters."""
        return bool(self.crtc[CRTC_MODE] & BYTE_MODE)

    @property
    def columns(self) -> int:
        """Characters in a line of text."""
        return self.crtc[DISPLAY_END] + 1

    @property
    def height(self) -> int:
        """Scan lines of a character."""
        return (self.crtc[CELL] & 31) + 1

    @property
    def lines(self) -> int:
        """Scan lines of the screen."""
        overflow = self.crtc[OVERFLOW]
        return (self.crtc[LINES] | (overflow & 2) << 7 | (overflow & 0x40) << 3) + 1

    @property
    def rows(self) -> int:
        """Lines of text; at most 60, whatever the registers say."""
        return min(max(self.lines // self.height, 1), 60)

    @property
    def pitch(self) -> int:
        """Characters from one line of text to the next."""
        return 2 * self.crtc[PITCH]

    @property
    def cursor(self) -> int:
        """The character the cursor is on, counted from the start of text memory."""
        return self.crtc[CURSOR] << 8 | self.crtc[CURSOR + 1]

    @cursor.setter
    def cursor(self, place: int) -> None:
        self.crtc[CURSOR : CURSOR + 2] = place.to_bytes(2)

    @property
    def start(self) -> int:
        """The character at the screen's upper left."""
        return self.crtc[START] << 8 | self.crtc[START + 1]

    @start.setter
    def start(self, place: int) -> None:
        self.crtc[START : START + 2] = place.to_bytes(2)

    @property
    def split(self) -> int:
        """The scan line from which on memory is shown from its beginning again."""
        overflow = (self.crtc[OVERFLOW] & 0x10) << 4 | (self.crtc[CELL] & 0x40) << 3
        return (self.crtc[LINE_COMPARE] | overflow) + 1

    # --- memory ------------------------------------------------------------------------------------

    def _move(self) -> None:
        """Have the window be what the registers say now: RAM, planes or nothing of the adapter's.

        Byte n of chain 4 is byte n of the planes as they are kept, so that what is shown is copied.
        """
        before, self._at_graphics = self._at_graphics, self._wanted()
        self._cover()
        ram = self._board.ram
        if self._at_graphics == before or ram is None or ram.find(GRAPHICS + SIZE - 1) is None:
            return
        if (before, self._at_graphics) == ("ram", "planes"):
            self.planes.memory[:SIZE] = ram.read(GRAPHICS, SIZE)
        elif (before, self._at_graphics) == ("planes", "ram"):
            ram.write(GRAPHICS, bytes(self.planes.memory[:SIZE]))

    @property
    def _window(self) -> tuple[int, int]:
        return WINDOWS[self.graphics[MISCELLANEOUS] >> 2 & 3]

    def _wanted(self) -> str:
        if self._window[0] != GRAPHICS:
            return "nothing"
        return "ram" if self.sequencer[MEMORY_MODE] & CHAIN_4 else "planes"

    def _cover(self) -> None:
        """Lay the planes over the window, or no more. Text is RAM until its font is looked for there."""
        font_at_text = self.is_text and bool(self.sequencer[MEMORY_MODE] & NOT_ODD_EVEN)
        is_planes = self._at_graphics == "planes" or (self._at_graphics == "nothing" and font_at_text)
        wanted = self._window if is_planes else None
        ram = self._board.ram
        if wanted == self._covered or ram is None:
            return
        if self._covered is not None:
            ram.cover(*self._covered, False)
        if wanted is not None and ram.find(sum(wanted) - 1) is None:
            wanted = None
        if wanted is not None:
            ram.cover(*wanted, True)
        self._covered = wanted

    def _seen(self, offset: int) -> int | None:
        """Where in the planes an address behind 0xA0000 is, None where the window is elsewhere."""
        start, size = self._window
        at = GRAPHICS + offset - start
        return at % SIZE if 0 <= at < size else None

    def read_mmio(self, offset: int, size: int) -> int:
        value = 0
        for n in range(size):
            at = self._seen(offset + n)
            value |= (0xFF if at is None else self.planes.read(at)) << 8 * n
        return value

    def write_mmio(self, offset: int, size: int, value: int) -> None:
        for n in range(size):
            at = self._seen(offset + n)
            if at is not None:
                self.planes.write(at, value >> 8 * n & 0xFF)

    # --- registers ---------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        value = 0
        for n in range(size):
            value |= self._read(offset + n) << 8 * n
        return value

    def _read(self, offset: int) -> int:
        if offset == STATUS:
            self.attribute_takes_data = False
            return self._status()
        if offset == DAC_DATA:
            value = self.palette[self._dac_at]
            self._dac_at = (self._dac_at + 1) % len(self.palette)
            return value
        if offset == DAC_READ:
            return 3 if self._dac_reads else 0
        values = {
            ATTRIBUTE: self.attribute_index, ATTRIBUTE_READ: self.attribute[self.attribute_index & 31],
            SEQUENCER: self.sequencer_index, SEQUENCER_DATA: self.sequencer[self.sequencer_index & 7],
            DAC_MASK: self.dac_mask, DAC_WRITE: self._dac_at // 3, FEATURE: self.feature, MISC_READ: self.misc,
            GRAPHICS_INDEX: self.graphics_index, GRAPHICS_DATA: self.graphics[self.graphics_index & 15],
            CRTC_INDEX: self.index, CRTC_DATA: self.crtc[self.index & 31], MISC_WRITE: 0x10,
        }  # fmt: skip
        return values.get(offset, 0xFF)

    def _status(self) -> int:
        """Input status 1: bit 3 for as long as no line is shown, bit 0 then and, by turns, between two lines.

        Who waits for either goes on, also where guest time stands still.
        """
        overflow = self.crtc[OVERFLOW]
        whole = (self.crtc[TOTAL] | (overflow & 1) << 8 | (overflow & 0x20) << 4) + 2
        line = self._board.time.now() // LINE % max(whole, self.lines + 1)
        retrace = line >= self.lines
        self._same = self._same + 1 if retrace == self._retrace else 0
        self._retrace = retrace
        if self._same % PATIENCE == PATIENCE - 1:
            retrace = not retrace
        self._between_lines = not self._between_lines
        return 9 if retrace else int(self._between_lines)

    def write(self, offset: int, size: int, value: int) -> None:
        for n in range(size):
            self._write(offset + n, value >> 8 * n & 0xFF)

    def _write(self, offset: int, value: int) -> None:
        if offset == CRTC_INDEX:
            self.index = value
        elif offset == CRTC_DATA:
            self._write_crtc(self.index & 31, value)
        elif offset == SEQUENCER:
            self.sequencer_index = value
        elif offset == SEQUENCER_DATA:
            self.sequencer[self.sequencer_index & 7] = value
            self._move()
        elif offset == GRAPHICS_INDEX:
            self.graphics_index = value
        elif offset == GRAPHICS_DATA:
            self.graphics[self.graphics_index & 15] = value
            self._move()
        elif offset == ATTRIBUTE:
            if self.attribute_takes_data:
                self.attribute[self.attribute_index & 31] = value
            else:
                self.attribute_index = value & 0x3F
            self.attribute_takes_data = not self.attribute_takes_data
        elif offset == DAC_DATA:
            self.palette[self._dac_at] = value & 0x3F
            self._dac_at = (self._dac_at + 1) % len(self.palette)
        elif offset in (DAC_READ, DAC_WRITE):
            self._dac_at, self._dac_reads = 3 * value, offset == DAC_READ
        elif offset == DAC_MASK:
            self.dac_mask = value
        elif offset == MISC_WRITE:
            self.misc = value
        elif offset == STATUS:
            self.feature = value

    def _write_crtc(self, index: int, value: int) -> None:
        """Registers 0 to 7 may be protected, all but the bit of the line compare there."""
        if index <= OVERFLOW and self.crtc[PROTECT] & 0x80:
            if index == OVERFLOW:
                self.crtc[index] = self.crtc[index] & ~0x10 | value & 0x10
            return
        self.crtc[index] = value

    def describe(self) -> str:
        return f"VGA text at {self.text:#x}, {self._cursor_in_words()}" if self.is_text else f"VGA, {self._size()}"

    def _cursor_in_words(self) -> str:
        row, column = divmod(self.cursor, self.pitch or self.columns)
        return f"cursor at row {row}, column {column}"

    def details(self) -> dict[str, str]:
        shown = (
            {"shows": f"text, {self.columns} columns, {self.rows} rows"} if self.is_text else {"shows": self._size()}
        )
        return {
            **shown,
            "mode": f"{self.mode:#x} was set last by number",
            "cursor": self._cursor_in_words().removeprefix("cursor at "),
            "start": f"{self.start:#x}",
            "crtc": self.crtc.hex(" "), "sequencer": self.sequencer[:5].hex(" "),
            "graphics controller": self.graphics[:9].hex(" "), "attribute controller": self.attribute[:21].hex(" "),
            "misc output": f"{self.misc:#04x}", "DAC mask": f"{self.dac_mask:#04x}",
        }  # fmt: skip

    # --- snapshots ---------------------------------------------------------------------------------

    def save(self) -> Any:
        planes = self._planes
        numbers = [
            self.mode, self.misc, self.feature, self.index, self.sequencer_index, self.graphics_index,
            self.attribute_index, self.dac_mask, self._dac_at, planes.latches if planes else 0,
        ]  # fmt: skip
        registers = [bytes(part) for part in (self.crtc, self.sequencer, self.graphics, self.attribute, self.palette)]
        truths = [self.attribute_takes_data, self._dac_reads, self._retrace, self._between_lines]
        return [numbers, registers, truths, bytes(planes.memory) if planes else None]

    def load(self, state: Any) -> None:
        numbers, registers, truths, memory = state
        (
            self.mode, self.misc, self.feature, self.index, self.sequencer_index, self.graphics_index,
            self.attribute_index, self.dac_mask, self._dac_at, latches,
        ) = numbers  # fmt: skip
        for part, data in zip(
            (self.crtc, self.sequencer, self.graphics, self.attribute, self.palette), registers, strict=True
        ):
            part[:] = data
        self.attribute_takes_data, self._dac_reads, self._retrace, self._between_lines = truths
        if memory is None:
            self._planes = None
        else:
            self.planes.memory[:] = memory
            self.planes.latches = latches
        self._at_graphics = self._wanted()
        self._cover()

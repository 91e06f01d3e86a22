"""What int 10h draws in graphics modes: pixels, characters, and rows of them that move."""

from __future__ import annotations

from kvmdbg.devices.vga import Vga
from kvmdbg.devices.vga_modes import MODES
from kvmdbg.devices.vga_planes import SIZE
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware.call import Call

GRAPHICS, CGA = 0xA0000, 0xB8000
XOR = 0x80
PAGE_SIZES = {
    0: 0x800, 1: 0x800, 2: 0x1000, 3: 0x1000, 4: 0x4000, 5: 0x4000, 6: 0x4000, 7: 0x1000, 0x0D: 0x2000, 0x0E: 0x4000,
    0x10: 0x8000, 0x11: 0xA000, 0x12: 0xA000, 0x13: 0x2000,
}  # fmt: skip
"""Bytes of a page, by mode."""
FONT_VECTOR, UPPER_VECTOR = 0x43, 0x1F
Place = tuple[int, int]
Area = tuple[int, int, int, int]


class Canvas:
    """The pixels of a mode, in one of its pages where it has several."""

    def __init__(self, call: Call, number: int, page: int) -> None:
        self.call = call
        mode = MODES.get(number & 0x7F)
        self.number = number & 0x7F
        self.width, self.lines = (mode.width, mode.lines) if mode is not None else (0, 0)
        vga = call.bios.device(Vga)
        planar = mode is not None and self.number >= 0x0D and self.number != 0x13
        self.planes = vga.planes.memory if vga is not None and planar else None
        page_size = PAGE_SIZES.get(self.number, SIZE)
        self.start = page_size * page if (page + 1) * page_size <= SIZE else 0
        """Where the page begins in a plane; what has no room for another one has one, whatever is asked for."""
        self.bits = 8 if self.number == 0x13 else 2 if self.number in (4, 5) else 1
        """Of a pixel in a byte of memory."""

    def row(self, y: int) -> int:
        """Where a line begins; in a plane, or at a physical address."""
        if self.planes is not None:
            return self.start + y * self.width // 8
        if self.number == 0x13:
            return GRAPHICS + 320 * y
        return CGA + (y & 1) * 0x2000 + (y >> 1) * 80

    def _is_memory(self, x: int, y: int) -> bool:
        """Whether there is any: a pixel behind the end of a line is one of the next, as no BIOS looks for it."""
        if self.planes is not None:
            return self.row(y) + x // 8 < SIZE
        room = SIZE if self.number == 0x13 else 0x4000
        start = GRAPHICS if self.number == 0x13 else CGA
        return bool(self.width) and self.row(y) + x * self.bits // 8 < start + room

    def get(self, x: int, y: int) -> int:
        if not self._is_memory(x, y):
            return 0
        if self.planes is not None:
            at = 4 * (self.row(y) + x // 8)
            return sum((self.planes[at + n] >> 7 - x % 8 & 1) << n for n in range(4))
        per = 8 // self.bits
        byte = self.call.byte(self.row(y) + x // per)
        return byte >> 8 - self.bits * (x % per + 1) & (1 << self.bits) - 1

    def put(self, x: int, y: int, colour: int) -> None:
        """One pixel; XOR in its colour: exclusive or with what is there, but not where a pixel is a byte."""
        if not self._is_memory(x, y):
            return
        if self.bits < 8 and colour & XOR:
            colour = self.get(x, y) ^ colour & 0x7F
        if self.planes is not None:
            at, bit = 4 * (self.row(y) + x // 8), 0x80 >> x % 8
            for n in range(4):
                old = self.planes[at + n]
                self.planes[at + n] = old | bit if colour >> n & 1 else old & ~bit
            return
        per = 8 // self.bits
        at, shift = self.row(y) + x // per, 8 - self.bits * (x % per + 1)
        mask = (1 << self.bits) - 1
        self.call.set_byte(at, self.call.byte(at) & ~(mask << shift) | (colour & mask) << shift)

    def shape(self, column: int, row: int, height: int) -> bytes:
        """Which pixels of a character's place are not black: a byte a line."""
        found = bytearray()
        for y in range(height * row, height * (row + 1)):
            drawn = [bool(self.get(x, y)) for x in range(8 * column, 8 * column + 8)]
            found.append(sum(bit << 7 - n for n, bit in enumerate(drawn)))
        return bytes(found)

    def character(self, column: int, row: int, shape: bytes, colour: int) -> None:
        """Draw a character of 8 columns; one without XOR fills its background with colour 0."""
        x, y = 8 * column, len(shape) * row
        if x + 8 > self.width or y + len(shape) > self.lines:
            return
        if self.planes is not None:
            self._planar_character(column, y, shape, colour)
            return
        for line, bits in enumerate(shape):
            at = self.row(y + line) + x * self.bits // 8
            if self.bits == 8:
                self.call.write(at, bytes(colour if bits << n & 0x80 else 0 for n in range(8)))
                continue
            drawn = 0
            for n in range(8):
                drawn = drawn << self.bits | (colour & (1 << self.bits) - 1 if bits << n & 0x80 else 0)
            data = drawn.to_bytes(self.bits)
            if colour & XOR:
                data = bytes(a ^ b for a, b in zip(data, self.call.read(at, len(data)), strict=True))
            self.call.write(at, data)

    def _planar_character(self, column: int, y: int, shape: bytes, colour: int) -> None:
        assert self.planes is not None
        for line, bits in enumerate(shape):
            at = 4 * (self.row(y + line) + column)
            for n in range(4):
                drawn = bits if colour >> n & 1 else 0
                self.planes[at + n] = self.planes[at + n] ^ drawn if colour & XOR else drawn

    def scroll(self, height: int, lines: int, colour: int, area: Area, *, down: bool) -> None:
        """Move the rows of characters of ``area`` (top, left, bottom, right), each of ``height`` lines."""
        top, left, bottom, right = area
        first, last = top * height, min((bottom + 1) * height, self.lines)
        moved = last - first if lines == 0 else min(lines * height, last - first)
        order = range(first, last - moved) if not down else range(last - 1, first + moved - 1, -1)
        start, size = self._columns(left, right)
        for y in order:
            self._set_row(y, start, self._get_row(y - moved if down else y + moved, start, size))
        blank = self._blank(colour, size)
        for y in range(first, first + moved) if down else range(last - moved, last):
            self._set_row(y, start, blank)

    def _columns(self, left: int, right: int) -> tuple[int, int]:
        """The first byte in a line and the number of them; 4 planes are as many bytes."""
        each = 4 if self.planes is not None else self.bits
        return left * each, (right - left + 1) * each

    def _blank(self, colour: int, size: int) -> bytes:
        if self.planes is not None:
            return bytes(0xFF if colour >> n & 1 else 0 for n in range(4)) * (size // 4)
        if self.bits == 8:
            return bytes((colour,)) * size
        return bytes(((0xFF if self.bits == 1 else 0x55) * (colour & (1 << self.bits) - 1) & 0xFF,)) * size

    def _get_row(self, y: int, start: int, size: int) -> bytes:
        if self.planes is not None:
            at = 4 * self.row(y) + start
            return bytes(self.planes[at : at + size])
        return self.call.read(self.row(y) + start, size)

    def _set_row(self, y: int, start: int, data: bytes) -> None:
        if self.planes is not None:
            at = 4 * self.row(y) + start
            self.planes[at : at + len(data)] = data
        else:
            self.call.write(self.row(y) + start, data)


def shape_of(call: Call, char: int, height: int) -> bytes:
    """A character's bitmap, where the vectors 43h and 1Fh lead; 1Fh has the upper half of the CGA modes'."""
    vector, number = FONT_VECTOR, char
    if height == 8 and char >= 128 and call.byte(bda.MODE) in (4, 5, 6):
        vector, number = UPPER_VECTOR, char - 128
    offset, segment = call.word(4 * vector), call.word(4 * vector + 2)
    return call.read((segment << 4) + offset + number * height, height)


def draw(call: Call, mode: int, page: int, place: Place, char: int, colour: int) -> None:
    """Draw a character at a column and row of characters."""
    height = call.word(bda.CHARACTER_HEIGHT) or 8
    canvas = Canvas(call, mode, page)
    if canvas.width:
        canvas.character(*place, shape_of(call, char, height), colour)


def character_at(call: Call, mode: int, page: int, place: Place) -> int:
    """The character that has been drawn there; 0 where none looks like that."""
    height = call.word(bda.CHARACTER_HEIGHT) or 8
    canvas = Canvas(call, mode, page)
    if not canvas.width:
        return 0
    seen = canvas.shape(*place, height)
    return next((char for char in range(256) if shape_of(call, char, height) == seen), 0)


def scroll(call: Call, mode: int, page: int, lines: int, colour: int, area: Area, *, down: bool) -> None:
    """Move rows of characters."""
    canvas = Canvas(call, mode, page)
    if canvas.width:
        canvas.scroll(call.word(bda.CHARACTER_HEIGHT) or 8, lines, colour, area, down=down)

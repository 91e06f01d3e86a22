"""What the VGA adapter's screen shows: characters with their colours, or a picture, out of registers and memory."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from kvmdbg.devices.fonts import font
from kvmdbg.devices.vga import SHOWN, TEXT, Vga
from kvmdbg.devices.vga_planes import SIZE
from kvmdbg.faces import InNotebooks
from kvmdbg.record import record

if TYPE_CHECKING:
    from kvmdbg.devices.vbe import Vbe

Read = Callable[[int, int], bytes]
"""Bytes of guest-physical memory."""
Rgb = tuple[int, int, int]
GREY_ON_BLACK = 0x07
COLOUR_SELECT, MODE_CONTROL, PLANES_SHOWN = 0x14, 0x10, 0x12
BLINKS, LINE_GRAPHICS, PALETTE_BITS = 0x08, 0x04, 0x80
"""In the attribute controller's mode control."""
CURSOR_START, CURSOR_END, CURSOR_OFF = 0x0A, 0x0B, 0x20
PLACES = 0x10000
"""The CRT controller counts characters in 16 bits."""
CHARACTER_MAPS, CLOCKING, EIGHT_DOTS = 3, 1, 1
MAPS = (0, 0x4000, 0x8000, 0xC000, 0x2000, 0x6000, 0xA000, 0xE000)
"""Where the eight fonts lie in plane 2."""


@record
class Characters:
    """A text screen: of each row characters and attributes by turns; ``colours`` the 16 that attributes name.

    ``cursor`` is its (row, column), which may be beyond the screen.
    """

    columns: int
    rows: tuple[bytes, ...]
    cursor: tuple[int, int]
    colours: tuple[Rgb, ...]
    blinks: bool = True
    """Whether bit 7 of an attribute makes the character blink, and is no part of the background's colour."""

    @property
    def lines(self) -> list[str]:
        """The text, without the spaces at the ends of lines."""
        return [row[::2].replace(b"\0", b" ").decode("cp437").translate(SHOWN).rstrip() for row in self.rows]

    @property
    def attributes(self) -> list[bytes]:
        return [row[1::2] for row in self.rows]

    def ink(self, attribute: int) -> tuple[int, int]:
        """The numbers of foreground's and background's colour."""
        return attribute & 15, attribute >> 4 & (7 if self.blinks else 15)


@record
class Picture(InNotebooks):
    """Pixels by row, each a number of ``colours``; where there are none, each is red, green and blue itself."""

    width: int
    height: int
    pixels: bytes
    colours: tuple[Rgb, ...]
    """256 of them, 8 bits each of red, green and blue."""
    used: int = 256
    """How many colours there may be in this mode."""

    def row(self, y: int) -> bytes:
        size = self.width if self.colours else 3 * self.width
        return self.pixels[y * size : (y + 1) * size]

    def rgb(self, y: int) -> list[Rgb]:
        """A row's pixels as colours."""
        row = self.row(y)
        if self.colours:
            return [self.colours[number] for number in row]
        return list(zip(row[::3], row[1::3], row[2::3], strict=True))

    def scaled(self, width: int, height: int) -> Iterator[list[Rgb]]:
        """Rows of another size; each pixel is the mean of up to four of those that it stands for."""
        quarter = (1, 3) if width < self.width else (2,)
        across = [[(4 * x + part) * self.width // (4 * width) for x in range(width)] for part in quarter]
        quarter = (1, 3) if height < self.height else (2,)
        for y in range(height):
            rows = [self.rgb((4 * y + part) * self.height // (4 * height)) for part in quarter]
            samples = [[row[x] for x in places] for row in rows for places in across]
            if len(samples) == 1:
                yield samples[0]
                continue
            count = len(samples)
            yield [
                (sum(r) // count, sum(g) // count, sum(b) // count)
                for r, g, b in (zip(*several, strict=True) for several in zip(*samples, strict=True))
            ]


def _rgb(vga: Vga) -> list[Rgb]:
    """The DAC's colours with 8 bits for each of its 6."""
    levels = [value << 2 | value >> 4 for value in vga.palette]
    return list(zip(levels[::3], levels[1::3], levels[2::3], strict=True))


def _numbers(vga: Vga) -> list[int]:
    """The number in the DAC of each of the attribute controller's 16 colours."""
    high = vga.attribute[COLOUR_SELECT]
    if vga.attribute[MODE_CONTROL] & PALETTE_BITS:
        return [(high & 15) << 4 | one & 15 for one in vga.attribute[:16]]
    return [(high & 12) << 4 | one & 63 for one in vga.attribute[:16]]


def characters(vga: Vga | None, read: Read) -> Characters:
    """The text screen; where there is no adapter, 25 rows of 80 characters at 0xB8000. MemoryFault."""
    if vga is None:
        return Characters(80, tuple(read(TEXT + 160 * row, 160) for row in range(25)), (0, 0), ())
    columns, pitch = vga.columns, vga.pitch
    rows = tuple(read(vga.text + 2 * place, 2 * columns) for place in _places(vga, vga.rows))
    row, column = divmod((vga.cursor - vga.start) % PLACES, pitch or columns)
    colours = _rgb(vga)
    inks = tuple(colours[number & vga.dac_mask] for number in _numbers(vga))
    return Characters(columns, rows, (row, column), inks, bool(vga.attribute[MODE_CONTROL] & BLINKS))


def _places(vga: Vga, count: int) -> list[int]:
    """Where each of so many rows of text or pixels begins: the lower ones again where memory does, if it is split."""
    upper = min(-(-vga.split // max(vga.lines // count, 1)), count)
    return [vga.start + row * vga.pitch for row in range(upper)] + [row * vga.pitch for row in range(count - upper)]


def picture(vga: Vga, read: Read) -> Picture:
    """What the screen shows, pixel by pixel, text too. MemoryFault."""
    colours = tuple(_rgb(vga))
    if vga.is_text:
        return _drawn(vga, characters(vga, read), colours)
    width, height, used = vga.picture
    if used == 256:
        pixels, numbers = b"".join(_bytes(vga, read, width, height)), bytes(range(256))
    else:
        pixels = b"".join(_packed(vga, read, width, height) if vga.is_cga else _planar(vga, width, height))
        numbers = bytes(_numbers(vga)[number & vga.attribute[PLANES_SHOWN] & 15] for number in range(16)) * 16
    shown = bytes(number & vga.dac_mask for number in numbers)
    return Picture(width, height, pixels.translate(shown), colours, used)


def large_picture(vga: Vga, vbe: Vbe) -> Picture:
    """What the screen shows where the adapter has left the VGA's modes."""
    width, height, pitch, memory = vbe.width, vbe.height, vbe.pitch, vbe.memory()
    rows = [memory[at : at + pitch].ljust(pitch, b"\0") for at in range(0, pitch * height, pitch)]
    if vbe.bits == 8:
        shown = bytes(number & vga.dac_mask for number in range(256))
        return Picture(width, height, b"".join(row[:width] for row in rows).translate(shown), tuple(_rgb(vga)))
    if vbe.bits < 24:
        colours = _colours_of_16_bits(vbe.bits)
        places = struct.Struct(f"<{width}H")
        pixels = b"".join([b"".join([colours[one] for one in places.unpack_from(row)]) for row in rows])
        return Picture(width, height, pixels, (), 1 << vbe.bits)
    size = vbe.bits // 8
    drawn = bytearray(3 * width * height)
    for number, row in enumerate(rows):
        for part in range(3):  # blue is first in memory
            end = 3 * width * (number + 1)
            drawn[end - 3 * width + 2 - part : end : 3] = row[part : size * width : size]
    return Picture(width, height, bytes(drawn), (), 1 << 24)


@cache
def _colours_of_16_bits(bits: int) -> list[bytes]:
    """Red, green and blue of each value: 5, 6 and 5 bits of 16, or 5 each of 15."""
    five = [value << 3 | value >> 2 for value in range(32)]
    six = [value << 2 | value >> 4 for value in range(64)]
    if bits == 16:
        return [bytes((five[value >> 11], six[value >> 5 & 63], five[value & 31])) for value in range(1 << 16)]
    return [bytes((five[value >> 10 & 31], five[value >> 5 & 31], five[value & 31])) for value in range(1 << 16)]


def _bytes(vga: Vga, read: Read, width: int, height: int) -> Iterator[bytes]:
    """Rows of 256 colours; four pixels are one address."""
    memory = bytes(vga.planes.memory) if vga.shows_planes else read(0xA0000, SIZE)
    for place in _places(vga, height):
        start = 4 * place % len(memory)
        yield (memory[start : start + width] + memory)[:width]


def _packed(vga: Vga, read: Read, width: int, height: int) -> Iterator[bytes]:
    """Rows of a CGA's modes: 2 bits a pixel, or 1; odd rows lie 8 KiB behind the even ones."""
    memory = read(TEXT, 0x4000)
    shapes = _pixels_of_two_bits() if vga.picture[2] == 4 else _pixels_of_one_bit()
    size = width // 4 if vga.picture[2] == 4 else width // 8
    for y in range(height):
        start = 2 * vga.start + (y >> 1) * 80
        row = [memory[(start + n) % 0x2000 + 0x2000 * (y & 1)] for n in range(size)]
        yield b"".join([shapes[value] for value in row])


def _planar(vga: Vga, width: int, height: int) -> Iterator[bytes]:
    """Rows of 16 colours, one bit of them in each plane."""
    shapes = _pixels_of_one_bit()
    planes = [vga.planes.plane(number, 0, SIZE) for number in range(4)]
    size = width // 8
    for place in _places(vga, height):
        start = place % SIZE
        row = 0
        for number, plane in enumerate(planes):
            part = (plane[start : start + size] + plane)[:size]
            row |= int.from_bytes(b"".join([shapes[value] for value in part])) << number
        yield row.to_bytes(width)


@cache
def _pixels_of_one_bit() -> list[bytes]:
    """For each byte its 8 bits, the highest first."""
    return [bytes(value >> bit & 1 for bit in range(7, -1, -1)) for value in range(256)]


@cache
def _pixels_of_two_bits() -> list[bytes]:
    return [bytes(value >> bit & 3 for bit in (6, 4, 2, 0)) for value in range(256)]


def _drawn(vga: Vga, text: Characters, colours: tuple[Rgb, ...]) -> Picture:
    """A text screen with its font, as the adapter draws it: 8 or 9 columns a character."""
    height = vga.height
    shapes = _shapes(vga)
    is_wide = not vga.sequencer[CLOCKING] & EIGHT_DOTS
    repeats = range(0xC0, 0xE0) if vga.attribute[MODE_CONTROL] & LINE_GRAPHICS else range(0)
    numbers = [number & vga.dac_mask for number in _numbers(vga)]
    bits = _pixels_of_one_bit()
    cursor_lines = range(vga.crtc[CURSOR_START] & 31, (vga.crtc[CURSOR_END] & 31) + 1)
    cursor = None if vga.crtc[CURSOR_START] & CURSOR_OFF else text.cursor

    @cache
    def cell(character: int, attribute: int, has_cursor: bool) -> list[bytes]:
        """The lines of a character."""
        front, back = (numbers[one] for one in text.ink(attribute))
        inked = bytes((back, front))
        lines = []
        for line in range(height):
            shape = bits[shapes[attribute >> 3 & 1][32 * character + line]]
            if is_wide:
                shape += shape[7:] if character in repeats else b"\0"
            if has_cursor and line in cursor_lines:
                shape = b"\1" * len(shape)
            lines.append(shape.translate(inked.ljust(256)))
        return lines

    pixels = bytearray()
    for y, row in enumerate(text.rows):
        cells = [cell(row[n], row[n + 1], cursor == (y, n // 2)) for n in range(0, len(row), 2)]
        for line in range(height):
            pixels += b"".join([one[line] for one in cells])
    width = (9 if is_wide else 8) * text.columns
    return Picture(width, height * len(text.rows), bytes(pixels), colours, 16)


def _shapes(vga: Vga) -> tuple[bytes, bytes]:
    """The fonts of characters without and with bit 3 of their attribute, 32 lines each."""
    if vga.has_own_font:
        select = vga.sequencer[CHARACTER_MAPS]
        first = vga.planes.plane(2, MAPS[select & 3 | (select & 0x10) >> 2], 0x2000)
        second = vga.planes.plane(2, MAPS[select >> 2 & 3 | (select & 0x20) >> 3], 0x2000)
        return first, second
    lines = 16 if vga.height > 14 else 14 if vga.height > 8 else 8
    data = font(lines)
    whole = b"".join(data[at : at + lines].ljust(32, b"\0") for at in range(0, len(data), lines))
    return whole, whole

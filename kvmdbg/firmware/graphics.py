"""What int 10h does in graphics modes, with colours and with fonts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvmdbg.firmware.call import Call

if TYPE_CHECKING:
    from kvmdbg.devices.vga import Vga

GRAPHICS, CGA = 0xA0000, 0xB8000
STATIC_TABLE = 0x0170
SHAPES: dict[int, tuple[int, int, int, int]] = {
    0x00: (40, 25, 16, 0x800), 0x01: (40, 25, 16, 0x800), 0x02: (80, 25, 16, 0x1000), 0x03: (80, 25, 16, 0x1000),
    0x04: (40, 25, 8, 0x4000), 0x05: (40, 25, 8, 0x4000), 0x06: (80, 25, 8, 0x4000), 0x07: (80, 25, 16, 0x1000),
    0x0D: (40, 25, 8, 0x2000), 0x0E: (80, 25, 8, 0x4000), 0x10: (80, 25, 14, 0x8000), 0x11: (80, 30, 16, 0xA000),
    0x12: (80, 30, 16, 0xA000), 0x13: (40, 25, 8, 0x0000),
}  # fmt: skip
"""By mode: columns, rows, the height of a character, and the bytes of a page."""


def write_pixel(call: Call, mode: int, x: int, y: int, colour: int) -> None:
    if mode == 0x13 and x < 320 and y < 200:
        call.set_byte(GRAPHICS + 320 * y + x, colour)


def read_pixel(call: Call, mode: int, x: int, y: int) -> int:
    return call.byte(GRAPHICS + 320 * y + x) if mode == 0x13 and x < 320 and y < 200 else 0


def draw(call: Call, mode: int, place: tuple[int, int], char: int, colour: int) -> None:
    """Draw a character at a column and row of characters."""


def scroll(call: Call, mode: int, lines: int, colour: int, area: tuple[int, int, int, int], *, down: bool) -> None:
    """Move rows of characters."""


def set_border(vga: Vga | None, colour: int) -> None: ...


def set_cga_palette(vga: Vga | None, number: int) -> None: ...


def palette(call: Call) -> None: ...


def fonts(call: Call) -> None: ...

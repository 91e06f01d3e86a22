"""int 10h, AH=0Bh, 10h and 11h: colours and fonts."""

from __future__ import annotations

from kvmdbg.devices.fonts import font
from kvmdbg.devices.vga import Vga
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware import rom
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service

OVERSCAN, MODE_CONTROL, COLOUR_SELECT = 0x11, 0x10, 0x14
BLINKS, HALF_PAGES = 8, 0x80
CGA = (4, 5, 6)
"""Modes with the CGA's colours."""
BRIGHT = 0x10
"""In one of those colours, and in what chooses them."""
FONT_PLANE, STRIDE = 2, 32
PAGE_UNIT = 0x800
"""A page of text is of whole ones."""
MOST_ROWS = 256
"""The BIOS data area has room for no more, whatever height a guest wants."""
CELL, CURSOR_START, CURSOR_END = 9, 10, 11
CHARACTER_MAPS = 3
FONTS = {1: 14, 2: 8, 4: 16}
"""Heights by what AL asks for, the low four bits of it."""


@service(0x10, 0x0B, "bh bl")
def set_border_or_palette(call: Call) -> None:
    """Set border and background colour or CGA palette.

    IBM's BIOS leaves the background alone in text modes. Those of QEMU, Bochs and VirtualBox do not, and boot sectors
    that want a coloured screen are written on these.
    """
    vga = call.bios.device(Vga)
    if vga is None:
        return
    old = call.byte(0x466)
    if call.bh == 0:
        call.set_byte(0x466, old & 0xE0 | call.bl & 0x1F)
        colour = call.bl & 7 | (call.bl & 8) << 1
        vga.attribute[OVERSCAN] = vga.attribute[0] = colour
        for n in range(1, 4):
            vga.attribute[n] = vga.attribute[n] & ~BRIGHT | call.bl & BRIGHT
    elif call.bh == 1:
        call.set_byte(0x466, old & 0xDF | (call.bl & 1) << 5)
        if call.byte(bda.MODE) not in CGA:
            return
        bright = vga.attribute[1] & BRIGHT
        for n in range(1, 4):
            vga.attribute[n] = bright | 2 * n + (call.bl & 1)


@service(0x10, 0x10, "al bx cx dx")
def palette(call: Call) -> None:
    """Palette and colours."""
    vga = call.bios.device(Vga)
    run = PALETTE.get(call.al)
    if run is None:
        call.tell_unserved()
    elif vga is not None:
        run(call, vga)


def _set_register(call: Call, vga: Vga) -> None:
    if call.bl < 21:
        vga.attribute[call.bl] = call.bh


def _set_border(call: Call, vga: Vga) -> None:
    vga.attribute[OVERSCAN] = call.bh


def _set_registers(call: Call, vga: Vga) -> None:
    table = call.read(call.far("es", call.dx), 17)
    vga.attribute[:16], vga.attribute[OVERSCAN] = table[:16], table[16]


def _set_blinking(call: Call, vga: Vga) -> None:
    vga.attribute[MODE_CONTROL] = vga.attribute[MODE_CONTROL] & ~BLINKS | (BLINKS if call.bl & 1 else 0)


def _get_register(call: Call, vga: Vga) -> None:
    call.bh = vga.attribute[call.bl & 31]


def _get_border(call: Call, vga: Vga) -> None:
    call.bh = vga.attribute[OVERSCAN]


def _get_registers(call: Call, vga: Vga) -> None:
    call.write(call.far("es", call.dx), bytes(vga.attribute[:16]) + bytes((vga.attribute[OVERSCAN],)))


def _set_colour(call: Call, vga: Vga) -> None:
    at = 3 * call.bl
    vga.palette[at : at + 3] = bytes((call.dh & 63, call.ch & 63, call.cl & 63))


def _set_colours(call: Call, vga: Vga) -> None:
    at, count = 3 * call.bl, 3 * call.cx
    data = call.read(call.far("es", call.dx), min(count, len(vga.palette) - at))
    vga.palette[at : at + len(data)] = bytes(one & 63 for one in data)


def _select_page(call: Call, vga: Vga) -> None:
    control, select = vga.attribute[MODE_CONTROL], vga.attribute[COLOUR_SELECT]
    if call.bl == 0:
        vga.attribute[MODE_CONTROL] = control & ~HALF_PAGES | (HALF_PAGES if call.bh & 1 else 0)
    else:
        vga.attribute[COLOUR_SELECT] = call.bh & 15 if control & HALF_PAGES else select & 3 | (call.bh & 3) << 2


def _get_page(call: Call, vga: Vga) -> None:
    halves, select = vga.attribute[MODE_CONTROL] >> 7, vga.attribute[COLOUR_SELECT]
    call.bx = (select if halves else select >> 2) << 8 | halves


def _get_colour(call: Call, vga: Vga) -> None:
    call.dh, call.ch, call.cl = vga.palette[3 * call.bl : 3 * call.bl + 3]


def _get_colours(call: Call, vga: Vga) -> None:
    at = 3 * call.bl
    call.write(call.far("es", call.dx), bytes(vga.palette[at : at + 3 * call.cx]))


def _set_mask(call: Call, vga: Vga) -> None:
    vga.dac_mask = call.bl


def _get_mask(call: Call, vga: Vga) -> None:
    call.bl = vga.dac_mask


def _sum_to_grey(call: Call, vga: Vga) -> None:
    to_grey(vga, call.bl, call.cx)


def to_grey(vga: Vga, first: int, count: int) -> None:
    """Give so many colours of the DAC the grey that is as bright."""
    for at in range(3 * first, min(3 * (first + count), len(vga.palette)), 3):
        red, green, blue = vga.palette[at : at + 3]
        vga.palette[at : at + 3] = bytes(((77 * red + 151 * green + 28 * blue + 128) >> 8,)) * 3


PALETTE = {
    0x00: _set_register, 0x01: _set_border, 0x02: _set_registers, 0x03: _set_blinking, 0x07: _get_register,
    0x08: _get_border, 0x09: _get_registers, 0x10: _set_colour, 0x12: _set_colours, 0x13: _select_page,
    0x15: _get_colour, 0x17: _get_colours, 0x18: _set_mask, 0x19: _get_mask, 0x1A: _get_page, 0x1B: _sum_to_grey,
}  # fmt: skip


def _load(vga: Vga, first: int, shapes: bytes, height: int, block: int) -> None:
    """Put characters into the font of text modes, which lies in plane 2."""
    start = (block & 3) << 14 | (block & 4) << 11
    for number in range(len(shapes) // height):
        at = 4 * (start + (first + number & 0xFF) * STRIDE) + FONT_PLANE
        shape = shapes[number * height : (number + 1) * height]
        vga.planes.memory[at : at + 4 * STRIDE : 4] = shape.ljust(STRIDE, b"\0")[:STRIDE]


def _set_height(call: Call, vga: Vga, height: int) -> None:
    """So many lines a character, and as many rows as that gives."""
    vga.crtc[CELL] = vga.crtc[CELL] & 0xE0 | height - 1 & 31
    vga.crtc[CURSOR_START], vga.crtc[CURSOR_END] = max(height - 2, 0), max(height - 1, 0)
    rows = min(vga.lines // height, MOST_ROWS)
    call.write(bda.ROWS, bytes((rows - 1 & 0xFF, height, 0)))
    call.write(bda.SHAPE, bytes((vga.crtc[CURSOR_END], vga.crtc[CURSOR_START])))
    page = -(-2 * vga.columns * rows // PAGE_UNIT) * PAGE_UNIT
    call.write(bda.PAGE_SIZE, (page & 0xFFFF).to_bytes(2, "little"))


def set_font_vector(call: Call, height: int) -> None:
    """Where characters are drawn from in graphics modes."""
    call.write(4 * 0x43, rom.FONT_OF[height].to_bytes(2, "little") + rom.SEGMENT.to_bytes(2, "little"))


@service(0x10, 0x11, "al bx")
def fonts(call: Call) -> None:
    """Fonts."""
    vga, what = call.bios.device(Vga), call.al
    if vga is None:
        return
    if what in (0x00, 0x10) and 0 < call.bh <= STRIDE:
        shapes = call.read(call.far("es", call.bp), call.cx * call.bh)
        _load(vga, call.dx, shapes, call.bh, call.bl)
        if what & 0x10:
            _set_height(call, vga, call.bh)
    elif what & 0xF in FONTS and what < 0x20:
        height = FONTS[what & 0xF]
        _load(vga, 0, font(height), height, call.bl)
        if what & 0x10:
            _set_height(call, vga, height)
    elif what == 0x03:
        vga.sequencer[CHARACTER_MAPS] = call.bl
    elif what == 0x20:
        call.write(4 * 0x1F, call.bp.to_bytes(2, "little") + call.es.to_bytes(2, "little"))
    elif what == 0x21:
        call.write(4 * 0x43, call.bp.to_bytes(2, "little") + call.es.to_bytes(2, "little"))
        call.write(bda.CHARACTER_HEIGHT, bytes((call.cl, call.ch)))
    elif what in (0x22, 0x23, 0x24):
        height = {0x22: 14, 0x23: 8, 0x24: 16}[what]
        set_font_vector(call, height)
        call.write(bda.CHARACTER_HEIGHT, bytes((height, 0)))
    elif what == 0x30:
        _where(call)


def _where(call: Call) -> None:
    """Where a font lies: its address, the height of characters, and the rows of the screen."""
    kind = call.bh
    if kind < 2:
        vector = 0x43 if kind else 0x1F
        offset, segment = call.word(4 * vector), call.word(4 * vector + 2)
    else:
        height = {2: 14, 5: 14, 6: 16, 7: 16}.get(kind, 8)
        offset, segment = rom.FONT_OF[height] + (0x400 if kind == 4 else 0), rom.SEGMENT
    call.bp = offset
    call.cx = call.word(bda.CHARACTER_HEIGHT)
    call.dl = call.byte(bda.ROWS)
    call.set_segment("es", segment)

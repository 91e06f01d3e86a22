"""int 10h, AH=4Fh: VESA's modes, of any size and with up to 24 bits of colour (VESA BIOS Extension 3.0)."""

from __future__ import annotations

import struct

from kvmdbg.devices.vbe import MOST_WIDTH, SIZE, WINDOW, Vbe, bytes_of
from kvmdbg.devices.vga import Vga
from kvmdbg.devices.vga_modes import MODES as VGA_MODES
from kvmdbg.devices.vga_modes import Mode
from kvmdbg.errors import UsageError
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware import rom
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.edid import edid
from kvmdbg.firmware.registry import service
from kvmdbg.firmware.video_state import COLOURS, DATA, HARDWARE, LARGE, keep
from kvmdbg.machine.vesa import LINEAR, PACKED, SIZES, VERSION, WINDOW_ATTRIBUTES, mode_information

TEXT_MODEL, CGA, PLANES = 0, 1, 3
"""Ways in which a mode has its pixels in memory: PLANES is a bit each in four planes."""
DONE, FAILED = 0x00, 0x01
KEEPS, NUMBER = 0x8000, 0x1FF
"""In BX of function 02."""
MODES = {number: (*size, bits) for size, kinds in SIZES.items() for bits, number in kinds.items()}
PLANAR = {0x102: 0x6A}
"""Modes of 16 colours, in the VGA's planes: VESA's number, and that of int 10h, AH=0."""
VGA_ATTRIBUTES, IN_COLOUR, GRAPHICS = 0x07, 0x08, 0x10
"""There, described, with text by the BIOS; what is not said of every mode of the VGA's."""
FAR_WINDOW = rom.SEGMENT << 16 | rom.WINDOW_FUNCTION
DDC = 0x0103
"""Of the screen's own words: a block takes a second, by either way of asking."""
POWER_VERSION = 0x0010
"""1.0, and no state but on."""
NAME = b"kvmdbg\0"
NEVER = 0xFF
"""What the BIOS data area has as the mode while one of these is set: none of the VGA's."""


@service(0x10, 0x4F, "al bx cx dx")
def vesa(call: Call) -> None:
    """Modes beyond the VGA's (VESA)."""
    vbe, serve = call.bios.device(Vbe), FUNCTIONS.get(call.al)
    if vbe is None or serve is None:
        call.ah = FAILED
        return
    call.ax = 0x4F | (DONE if serve(call, vbe) else FAILED) << 8


def _information(call: Call, vbe: Vbe) -> bool:
    at = call.far("es", call.di)
    is_long = call.read(at, 4) == b"VBE2"
    modes = b"".join(number.to_bytes(2, "little") for number in sorted((*MODES, *PLANAR))) + b"\xff\xff"
    names = 0x22 + len(modes)
    segment = call.es

    def far(offset: int) -> int:
        return segment << 16 | (call.di + offset) & 0xFFFF

    head = struct.pack("<4sHIIIH", b"VESA", VERSION, far(names), 0, far(0x22), SIZE >> 16)
    if is_long:
        head += struct.pack("<HIII", 0x0100, far(names), far(names), far(names))
    block = head.ljust(0x22, b"\0") + modes + NAME
    call.write(at, block.ljust(512 if is_long else 256, b"\0"))
    return True


def _mode_information(call: Call, vbe: Vbe) -> bool:
    number = call.cx & NUMBER
    of_vga = VGA_MODES.get(PLANAR.get(number, number))
    if of_vga is not None:
        call.write(call.far("es", call.di), _vga_information(of_vga))
        return True
    mode = MODES.get(number)
    if mode is None:
        return False
    call.write(call.far("es", call.di), mode_information(*mode, FAR_WINDOW))
    return True


def _vga_information(mode: Mode) -> bytes:
    """A mode of the VGA's own: its memory is there whole, at the address that it always has."""
    is_cga = mode.number in (4, 5, 6)
    bits = mode.colours.bit_length() - 1
    if mode.is_text:
        pitch, width, height, cell, planes, model = 2 * mode.columns, mode.columns, mode.rows, 9, 4, TEXT_MODEL
    else:
        width, height, cell = mode.width, mode.lines, 8
        pitch, planes, model = width // 8, 4, PLANES
        if is_cga or bits == 8:
            pitch, planes, model = width * bits // 8, 1, CGA if is_cga else PACKED
    memory = 0xB000 if mode.number == 7 else 0xB800 if mode.is_text or is_cga else WINDOW >> 4
    attributes = VGA_ATTRIBUTES | (0 if mode.number == 7 else IN_COLOUR) | (0 if mode.is_text else GRAPHICS)
    block = struct.pack("<HBBHHHHI", attributes, WINDOW_ATTRIBUTES, 0, 64, 64, memory, 0, FAR_WINDOW)
    block += struct.pack("<HHH", pitch, width, height)
    block += bytes((cell, mode.height, planes, bits, 2 if is_cga else 1, model, 0, 0, 1))
    return block.ljust(256, b"\0")


def _set_mode(call: Call, vbe: Vbe) -> bool:
    number, vga = call.bx & NUMBER, call.bios.device(Vga)
    if number in PLANAR and call.bx & LINEAR:
        return False
    number = PLANAR.get(number, number)
    mode = MODES.get(number)
    if mode is None:
        if number >= 0x100 or vga is None:
            return False
        from kvmdbg.firmware.video import enter_mode

        try:
            enter_mode(call, number, keeps=bool(call.bx & KEEPS))
        except UsageError:
            return False
        return True
    width, height, bits = mode
    if vga is not None:
        vga.set_mode(0x13, clear=False)
    vbe.set_mode(width, height, bits, linear=bool(call.bx & LINEAR), clear=not call.bx & KEEPS)
    columns, rows = width // 8, height // 16
    call.write(bda.MODE, bytes((NEVER,)) + columns.to_bytes(2, "little") + bytes(20))
    call.write(bda.ROWS, bytes((rows - 1, 16, 0)))
    return True


def _get_mode(call: Call, vbe: Vbe) -> bool:
    if vbe.is_on:
        linear = 0 if vbe.has_window else LINEAR
        call.bx = SIZES.get((vbe.width, vbe.height), {}).get(vbe.bits, NUMBER) | linear
    else:
        number = call.byte(bda.MODE)
        call.bx = next((one for one, of_vga in PLANAR.items() if of_vga == number), number)
    return True


def _window(call: Call, vbe: Vbe) -> bool:
    if call.bl or not vbe.has_window:
        return False
    if call.bh == 0:
        if call.dx >= SIZE >> 16:
            return False
        vbe.select_bank(call.dx)
    call.dx = vbe.bank
    return True


def _line_length(call: Call, vbe: Vbe) -> bool:
    if not vbe.is_on or call.bl > 3:
        return False
    each = bytes_of(vbe.bits)
    most = min(SIZE // vbe.height // each, MOST_WIDTH * 4)
    if call.bl in (0, 2):
        wanted = call.cx if call.bl == 0 else -(-call.cx // each)
        if not vbe.width <= wanted <= most:
            return False
        vbe.set_pitch(wanted)
    pixels = most if call.bl == 3 else vbe.pitch // each
    call.bx, call.cx, call.dx = pixels * each & 0xFFFF, pixels, min(SIZE // (pixels * each), 0xFFFF)
    return True


def _start(call: Call, vbe: Vbe) -> bool:
    if not vbe.is_on:
        return False
    if call.bl & 0x7F == 0:
        if (call.dx + vbe.height) * vbe.pitch > SIZE:
            return False
        vbe.show_from(call.cx, call.dx)
    elif call.bl == 1:
        call.bh = 0
        call.cx, call.dx = vbe.shows_from
    else:
        return False
    return True


def _display(call: Call, vbe: Vbe) -> bool:
    """What the screen says of itself (VESA Display Data Channel)."""
    if call.bl == 0:
        call.bx = DDC
        return True
    if call.bl != 1 or call.dx:  # it has one block
        return False
    call.write(call.far("es", call.di), edid())
    return True


def _colour_width(call: Call, vbe: Vbe) -> bool:
    call.bh = 6  # bits a colour: the DAC has no more
    return call.bl < 2


def _colours(call: Call, vbe: Vbe) -> bool:
    vga = call.bios.device(Vga)
    if vga is None or call.bl not in (0, 1, 0x80) or call.dx + call.cx > 256:
        return False
    at, table = 3 * call.dx, call.far("es", call.di)
    if call.bl == 1:
        parts = [vga.palette[n : n + 3] for n in range(at, at + 3 * call.cx, 3)]
        call.write(table, b"".join(bytes((blue, green, red, 0)) for red, green, blue in parts))
        return True
    data = call.read(table, 4 * call.cx)
    for n in range(call.cx):
        blue, green, red = data[4 * n : 4 * n + 3]
        vga.palette[at + 3 * n : at + 3 * n + 3] = bytes((red & 63, green & 63, blue & 63))
    return True


def _state(call: Call, vbe: Vbe) -> bool:
    return keep(call, call.dl, HARDWARE | DATA | COLOURS | LARGE)


def _power(call: Call, vbe: Vbe) -> bool:
    """A screen that is always on (VESA VBE/PM)."""
    if call.bl == 1:
        return call.bh == 0
    if call.bl == 0:
        call.bx = POWER_VERSION
    elif call.bl == 2:
        call.bh = 0
    else:
        return False
    return True


FUNCTIONS = {
    0x00: _information, 0x01: _mode_information, 0x02: _set_mode, 0x03: _get_mode, 0x04: _state, 0x05: _window,
    0x06: _line_length, 0x07: _start, 0x08: _colour_width, 0x09: _colours, 0x10: _power, 0x15: _display,
}  # fmt: skip

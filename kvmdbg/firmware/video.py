"""int 10h: the screen (IBM PS/2 BIOS Interface Technical Reference, and Ralf Brown's Interrupt List)."""

from __future__ import annotations

from kvmdbg.devices.vbe import Vbe
from kvmdbg.devices.vga import Vga
from kvmdbg.devices.vga_modes import MODES
from kvmdbg.errors import UsageError
from kvmdbg.firmware import colours, graphics, rom
from kvmdbg.firmware import data_area as bda
from kvmdbg.firmware.call import Call
from kvmdbg.firmware.registry import service

TEXT, MONOCHROME = 0xB8000, 0xB0000
OWN_CURSOR = 1
"""In the data area's information on video: cursors are given in the lines of the screen's own characters."""
GREY, KEEPS_COLOURS = 0x02, 0x08
"""In its flags: what setting a mode does to the colours."""
FLAG_OF = {
    0x31: (bda.VIDEO_FLAGS, KEEPS_COLOURS, 1), 0x33: (bda.VIDEO_FLAGS, GREY, 0), 0x34: (bda.VIDEO_INFO, OWN_CURSOR, 1),
}  # fmt: skip
"""Switches of int 10h, AH=12h, by BL: the byte, its bit, and the AL that sets it."""
COLOURS = 16
"""The attribute controller's registers that have one each."""
CGA_LINES, LAST_LINE = 8, 31
BELL, BACKSPACE, LINE_FEED, RETURN = 7, 8, 10, 13
TEXT_MODES = frozenset((0, 1, 2, 3, 7))


class Screen:
    """The text screen as the BIOS data area has it, read in one go."""

    __slots__ = ("_data", "call", "columns", "mode", "page", "page_size", "rows")

    def __init__(self, call: Call) -> None:
        self.call = call
        data = self._data = call.read(bda.MODE, 0x3D)
        self.mode = data[0]
        self.columns = data[1] | data[2] << 8 or 80
        self.page_size = data[3] | data[4] << 8
        self.page = data[0x19]
        self.rows = data[0x3B] + 1

    @property
    def is_text(self) -> bool:
        return self.mode in TEXT_MODES

    def memory(self, page: int) -> int:
        """Where a page of text lies."""
        return (MONOCHROME if self.mode == 7 else TEXT) + self.page_size * page

    def cursor(self, page: int) -> tuple[int, int]:
        """Row and column."""
        at = bda.CURSORS - bda.MODE + 2 * (page & 7)
        return self._data[at + 1], self._data[at]

    def move(self, page: int, row: int, column: int) -> None:
        """Put the cursor there, on the screen as well where the page is shown."""
        self.call.write(bda.CURSORS + 2 * (page & 7), bytes((column, row)))
        if page == self.page:
            show_cursor(self.call, self.page_size * page // 2 + row * self.columns + column)

    def put(self, page: int, row: int, column: int, char: int, attribute: int | None, count: int = 1) -> None:
        """Write a character ``count`` times; without an ``attribute`` those that are there stay."""
        if not self.is_text:
            for n in range(count):
                graphics.draw(
                    self.call, self.mode, page, (column + n, row), char, 7 if attribute is None else attribute
                )
            return
        at = self.memory(page) + 2 * (row * self.columns + column)
        if attribute is not None:
            self.call.write(at, bytes((char, attribute)) * count)
        elif count == 1:
            self.call.write(at, bytes((char,)))
        else:
            cells = bytearray(self.call.read(at, 2 * count))
            cells[::2] = bytes((char,)) * count
            self.call.write(at, bytes(cells))

    def scroll(self, page: int, lines: int, attribute: int, area: tuple[int, int, int, int], *, down: bool) -> None:
        """Move the rows of ``area`` (top, left, bottom, right) by so many ``lines``; 0 clears it."""
        top, left, bottom, right = area
        bottom, right = min(bottom, self.rows - 1), min(right, self.columns - 1)
        if top > bottom or left > right:
            return
        if not self.is_text:
            graphics.scroll(self.call, self.mode, page, lines, attribute, (top, left, bottom, right), down=down)
            return
        height, pitch, width = bottom - top + 1, 2 * self.columns, 2 * (right - left + 1)
        start = self.memory(page) + top * pitch
        before = self.call.read(start, height * pitch)
        rows = [before[n * pitch : (n + 1) * pitch] for n in range(height)]
        blank = bytes((0x20, attribute)) * (width // 2)
        lines = height if lines == 0 or lines > height else lines
        inner = [row[2 * left : 2 * left + width] for row in rows]
        moved = [blank] * lines + inner[: height - lines] if down else inner[lines:] + [blank] * lines
        after = b"".join(row[: 2 * left] + new + row[2 * left + width :] for row, new in zip(rows, moved, strict=True))
        self.call.write(start, after)


def show_cursor(call: Call, place: int) -> None:
    vga = call.bios.device(Vga)
    if vga is not None:
        vga.cursor = place & 0xFFFF


def teletype(call: Call, char: int, page: int, attribute: int | None = None, colour: int = 7) -> None:
    """Write one character as a terminal does."""
    screen = Screen(call)
    row, column = screen.cursor(page)
    if char == RETURN:
        column = 0
    elif char == LINE_FEED:
        row += 1
    elif char == BACKSPACE:
        column = max(column - 1, 0)
    elif char == BELL:
        return
    else:
        screen.put(page, row, column, char, attribute if screen.is_text else colour)
        column += 1
        if column >= screen.columns:
            row, column = row + 1, 0
    if row >= screen.rows:
        below = 0
        if screen.is_text:
            below = call.byte(screen.memory(page) + 2 * ((screen.rows - 1) * screen.columns) + 1)
        whole = 0, 0, screen.rows - 1, screen.columns - 1
        screen.scroll(page, row - screen.rows + 1, below, whole, down=False)
        row = screen.rows - 1
    screen.move(page, row, column)


@service(0x10, 0x0E, "al bh bl")
def write_teletype(call: Call) -> None:
    """Teletype output.

    It goes to the page that is shown, whatever BH says: BIOSes since the PC's of 1982 do so, and many guests have
    something else in BH, as the upper half of a string's address.
    """
    char = call.al
    data = call.read(bda.MODE, 0x1A)
    page = data[0x19] & 7
    columns, at = data[1] | data[2] << 8, bda.CURSORS - bda.MODE + 2 * page
    column, row = data[at], data[at + 1]
    if char < 0x20 or column + 1 >= columns or data[0] not in TEXT_MODES or row > call.byte(bda.ROWS):
        teletype(call, char, page, colour=call.bl)
        return
    page_size, place = data[3] | data[4] << 8, row * columns + column  # most of what is written
    call.write((MONOCHROME if data[0] == 7 else TEXT) + page_size * page + 2 * place, bytes((char,)))
    call.write(bda.CURSORS + 2 * page, bytes((column + 1, row)))
    show_cursor(call, page_size * page // 2 + place + 1)


@service(0x10, 0x00, "al")
def set_mode(call: Call) -> None:
    """Set video mode."""
    wanted = call.al & 0x7F
    try:
        enter_mode(call, wanted, keeps=bool(call.al & 0x80))
    except UsageError as error:
        call.tell_once((0x10, 0x100 | call.al), f"int 0x10, AH=0x00, AL={call.al:#04x}: {error}")
        return
    call.al = 0x20 if wanted > 7 else 0x3F if wanted == 6 else 0x30


def enter_mode(call: Call, wanted: int, *, keeps: bool) -> None:
    """Set one of the VGA's modes; what it shows is kept, or cleared. UsageError where there is none of that number."""
    vga, vbe = call.bios.device(Vga), call.bios.device(Vbe)
    video_flags = call.byte(bda.VIDEO_FLAGS)
    if vga is not None:
        before = bytes(vga.attribute[:COLOURS]), bytes(vga.palette)
        vga.set_mode(wanted, clear=not keeps)
        if video_flags & KEEPS_COLOURS:
            vga.attribute[:COLOURS], vga.palette[:] = before
        elif video_flags & GREY:
            colours.to_grey(vga, 0, 256)
    if vbe is not None:
        vbe.switch_off()
    mode = MODES[wanted] if vga is not None else MODES[3]
    columns, rows, height, page_size = mode.columns, mode.rows, mode.height, graphics.PAGE_SIZES.get(wanted, 0)
    call.write(bda.MODE, bytes((wanted,)))
    call.write(bda.COLUMNS, columns.to_bytes(2, "little") + page_size.to_bytes(2, "little") + bytes(2) + bytes(16))
    call.write(bda.SHAPE, bytes((7, 6, 0)))
    call.write(bda.CRTC_PORT, (0x3B4 if wanted == 7 else 0x3D4).to_bytes(2, "little"))
    call.write(bda.ROWS, bytes((rows - 1, height, 0)))
    own_cursor = call.byte(bda.VIDEO_INFO) & OWN_CURSOR
    call.write(bda.VIDEO_INFO, bytes((0x60 | (0x80 if keeps else 0) | own_cursor,)))
    colours.set_font_vector(call, height)
    show_cursor(call, 0)


@service(0x10, 0x01, "ch cl")
def set_cursor_shape(call: Call) -> None:
    """Set cursor shape."""
    call.write(bda.SHAPE, bytes((call.cl, call.ch)))
    vga = call.bios.device(Vga)
    if vga is not None:
        vga.crtc[0x0A:0x0C] = bytes(_cursor_lines(call, call.ch, call.cl))


def _cursor_lines(call: Call, start: int, end: int) -> tuple[int, int]:
    """Where a cursor lies in the screen's characters: shapes are meant for 8 lines of a CGA, and one at the bottom of
    these is there in higher ones, too."""
    height = call.byte(bda.CHARACTER_HEIGHT)
    if call.byte(bda.VIDEO_INFO) & OWN_CURSOR or height <= CGA_LINES or end >= CGA_LINES or start > LAST_LINE:
        return start, end
    last = (end + 1) * height // CGA_LINES - 1
    return last - 1 if end == start + 1 else (start + 1) * height // CGA_LINES - 1, last


@service(0x10, 0x02, "bh dh dl")
def set_cursor(call: Call) -> None:
    """Set cursor position."""
    Screen(call).move(call.bh & 7, call.dh, call.dl)


@service(0x10, 0x03, "bh")
def get_cursor(call: Call) -> None:
    """Get cursor position and shape."""
    call.dx = call.word(bda.CURSORS + 2 * (call.bh & 7))
    call.cx = call.word(bda.SHAPE)


@service(0x10, 0x04)
def light_pen(call: Call) -> None:
    """Get light pen position."""
    call.ah = 0


@service(0x10, 0x05, "al")
def select_page(call: Call) -> None:
    """Select page."""
    screen = Screen(call)
    page = call.al & 7
    start = screen.page_size * page
    call.write(bda.PAGE_START, (start & 0xFFFF).to_bytes(2, "little"))
    call.set_byte(bda.PAGE, page)
    row, column = screen.cursor(page)
    show_cursor(call, start // 2 + row * screen.columns + column)
    vga = call.bios.device(Vga)
    if vga is not None:
        vga.start = (start if vga.counts_bytes else start // 2) & 0xFFFF


def _scroll(call: Call, down: bool) -> None:
    screen = Screen(call)
    screen.scroll(screen.page, call.al, call.bh, (call.ch, call.cl, call.dh, call.dl), down=down)


@service(0x10, 0x06, "al bh cx dx")
def scroll_up(call: Call) -> None:
    """Scroll up."""
    _scroll(call, down=False)


@service(0x10, 0x07, "al bh cx dx")
def scroll_down(call: Call) -> None:
    """Scroll down."""
    _scroll(call, down=True)


@service(0x10, 0x08, "bh")
def read_character(call: Call) -> None:
    """Read character and attribute at the cursor."""
    screen = Screen(call)
    row, column = screen.cursor(call.bh & 7)
    if not screen.is_text:
        call.ax = graphics.character_at(call, screen.mode, call.bh & 7, (column, row))
        return
    call.ax = call.word(screen.memory(call.bh & 7) + 2 * (row * screen.columns + column))


def _write(call: Call, attribute: int | None) -> None:
    screen, page = Screen(call), call.bh & 7
    row, column = screen.cursor(page)
    left = screen.rows * screen.columns - row * screen.columns - column
    if not screen.is_text:
        left = screen.columns - column
        attribute = call.bl
    screen.put(page, row, column, call.al, attribute, min(call.cx, max(left, 0)))


@service(0x10, 0x09, "al bh bl cx")
def write_character(call: Call) -> None:
    """Write character and attribute at the cursor."""
    _write(call, call.bl)


@service(0x10, 0x0A, "al bh cx")
def write_character_only(call: Call) -> None:
    """Write character at the cursor."""
    _write(call, None)


@service(0x10, 0x0C, "al bh cx dx")
def write_pixel(call: Call) -> None:
    """Write pixel."""
    graphics.Canvas(call, call.byte(bda.MODE), call.bh & 7).put(call.cx, call.dx, call.al)


@service(0x10, 0x0D, "bh cx dx")
def read_pixel(call: Call) -> None:
    """Read pixel."""
    call.al = graphics.Canvas(call, call.byte(bda.MODE), call.bh & 7).get(call.cx, call.dx)


@service(0x10, 0x0F)
def get_mode(call: Call) -> None:
    """Get video mode."""
    screen = Screen(call)
    call.ax = screen.mode | call.byte(bda.VIDEO_INFO) & 0x80 | (screen.columns & 0xFF) << 8
    call.bh = screen.page


@service(0x10, 0x12, "bl")
def alternate_select(call: Call) -> None:
    """Alternate select."""
    if call.bl == 0x10:
        call.bx = 0x0003  # colour, 256 KiB
        call.cx = 0x0009
    elif call.bl in FLAG_OF and call.al < 2:
        at, bit, is_set_by = FLAG_OF[call.bl]
        call.set_byte(at, call.byte(at) & ~bit | (bit if call.al == is_set_by else 0))
        call.al = 0x12
    elif call.bl in (0x20, 0x30, 0x32, 0x36):
        call.al = 0x12


@service(0x10, 0x13, "al bh bl cx dx")
def write_string(call: Call) -> None:
    """Write string."""
    screen, page, kind = Screen(call), call.bh & 7, call.al
    before = screen.cursor(page)
    screen.move(page, call.dh, call.dl)
    at, attribute = call.far("es", call.bp), call.bl
    for _ in range(call.cx):
        char = call.byte(at)
        at += 1
        if kind & 2:
            attribute = call.byte(at)
            at += 1
        teletype(call, char, page, attribute, attribute)
    if not kind & 1:
        Screen(call).move(page, *before)


@service(0x10, 0x1A, "al")
def display_combination(call: Call) -> None:
    """Display combination."""
    if call.al in (0, 1):
        if not call.al:
            call.bx = 0x0008  # a VGA with a colour screen
        call.al = 0x1A


@service(0x10, 0x1B)
def functionality(call: Call) -> None:
    """Functionality and state information."""
    screen = Screen(call)
    at = call.far("es", call.di)
    state = bytearray(64)
    state[0:4] = rom.VIDEO_FUNCTIONS.to_bytes(2, "little") + rom.SEGMENT.to_bytes(2, "little")
    state[4:0x22] = call.read(bda.MODE, 0x1E)
    state[0x22:0x25] = call.read(bda.ROWS, 3)
    state[0x25] = 8
    state[0x27:0x29] = (0 if screen.is_text else 256).to_bytes(2, "little")
    state[0x29] = 8
    state[0x2A] = 2
    state[0x31] = 3
    call.write(at, bytes(state))
    call.al = 0x1B

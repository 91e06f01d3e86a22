"""int 10h: text, pixels, colours and fonts."""

from __future__ import annotations

import pytest

from kvmdbg.devices.display import picture
from kvmdbg.devices.fonts import font
from kvmdbg.devices.vga import Vga
from tests.firmware.machine import Pc


@pytest.fixture
def pc() -> Pc:
    return Pc().start()


def vga(pc: Pc) -> Vga:
    found = pc.bios.device(Vga)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("shape", "lines"),
    [
        (0x0607, (14, 15)), (0x0007, (1, 15)), (0x0506, (12, 13)), (0x0407, (9, 15)), (0x2000, (0x20, 0)),
        (0x2607, (0x26, 7)), (0x0D0E, (13, 14)),
    ],
)  # fmt: skip
def test_the_cursor_is_meant_for_eight_lines(pc: Pc, shape: int, lines: tuple[int, int]) -> None:
    """As on a CGA, where 6 and 7 are the last; the characters of mode 3 have 16 here."""
    pc.call(0x10, ax=0x0100, cx=shape)
    assert tuple(vga(pc).crtc[0x0A:0x0C]) == lines
    pc.call(0x10, ax=0x0300)
    assert pc.cx == shape
    pc.call(0x10, ax=0x1201, bx=0x34)
    pc.call(0x10, ax=3)
    pc.call(0x10, ax=0x0100, cx=shape)
    assert tuple(vga(pc).crtc[0x0A:0x0C]) == (shape >> 8, shape & 0xFF), "unless it is told not to"
    pc.call(0x10, ax=0x1200, bx=0x34)
    pc.call(0x10, ax=0x0100, cx=shape)
    assert tuple(vga(pc).crtc[0x0A:0x0C]) == lines
    pc.call(0x10, ax=0x1112, bx=0)
    pc.call(0x10, ax=0x0100, cx=shape)
    assert tuple(vga(pc).crtc[0x0A:0x0C]) == (shape >> 8, shape & 0xFF), "characters of 8 lines"


def test_what_a_mode_does_to_the_colours(pc: Pc) -> None:
    def colours() -> tuple[bytes, bytes]:
        return bytes(vga(pc).attribute[:16]), bytes(vga(pc).palette)

    usual = colours()
    vga(pc).palette[:3], vga(pc).attribute[2] = b"\x11\x22\x33", 0x3A
    changed = colours()
    for switch, expected in ((0x1201, changed), (0x1200, usual)):
        pc.call(0x10, ax=switch, bx=0x31)
        assert pc.al == 0x12
        pc.call(0x10, ax=3)
        assert colours() == expected
    for switch, is_grey in ((0x1200, True), (0x1201, False)):
        pc.call(0x10, ax=switch, bx=0x33)
        pc.call(0x10, ax=3)
        palette = colours()[1]
        assert (palette[::3] == palette[1::3] == palette[2::3]) is is_grey
    pc.call(0x10, ax=0x1202, bx=0x33)
    assert pc.al == 2, "neither on nor off"


def test_two_colours_are_those_of_the_first_plane(pc: Pc) -> None:
    pc.call(0x10, ax=0x11)
    assert vga(pc).attribute[:16] == b"\0\x3f" * 8


def test_the_two_fonts_of_512_characters(pc: Pc) -> None:
    pc.call(0x10, ax=0x1103, bx=0x04)
    assert vga(pc).sequencer[3] == 4


def test_teletype(pc: Pc) -> None:
    pc.say("one\r\ntwo\b\bX\a!")
    assert (pc.line(0), pc.line(1)) == ("one", "tX!")
    assert pc.read(0xB8001, 1) == b"\7"
    pc.call(0x10, ax=0x0300)
    assert (pc.dx, pc.cx) == (0x0103, 0x0607)
    assert vga(pc).cursor == 83


def test_teletype_scrolls_and_wraps(pc: Pc) -> None:
    pc.say("x" * 81)
    assert (pc.line(0), pc.line(1)) == ("x" * 80, "x")
    pc.write(0xB8000 + 160 * 24 + 1, b"\x1e")
    pc.say("\n" * 24 + "end")
    assert pc.line(0) == "x"
    assert pc.line(24) == " end"
    assert pc.read(0xB8000 + 160 * 24 + 21, 1) == b"\x1e", "what comes in is as what was there"


def test_characters_at_the_cursor(pc: Pc) -> None:
    pc.call(0x10, ax=0x0200, dx=0x0305)
    pc.call(0x10, ax=0x0941, bx=0x1E, cx=3)
    pc.call(0x10, ax=0x0800)
    assert pc.ax == 0x1E41
    assert pc.line(3) == "     AAA"
    pc.call(0x10, ax=0x0A42, cx=2)
    assert pc.read(0xB8000 + 160 * 3 + 10, 6) == b"B\x1eB\x1eA\x1e"
    pc.call(0x10, ax=0x0300)
    assert pc.dx == 0x0305


@pytest.mark.parametrize(("ah", "rows"), [(6, ["b", "c", "", "", "e"]), (7, ["", "", "b", "c", "e"])])
def test_scrolling(pc: Pc, ah: int, rows: list[str]) -> None:
    pc.say("a\r\na\r\nb\r\nc\r\ne")
    if ah == 7:
        pc.write(0xB8000, b"b\7" + pc.read(0xB8002, 158) + b"c\7")
    pc.call(0x10, ax=ah << 8 | 2, bx=0x2F00, cx=0x0000, dx=0x034F)
    assert [pc.line(n) for n in range(5)] == rows
    blank = 2 if ah == 6 else 0
    assert pc.read(0xB8000 + 160 * blank, 4) == b" \x2f \x2f"
    pc.call(0x10, ax=0x0600, bx=0x0700, cx=0x0001, dx=0x184E)
    assert pc.line(2) == ("" if ah == 6 else "b")


def test_pages(pc: Pc) -> None:
    pc.call(0x10, ax=0x0501)
    pc.call(0x10, ax=0x0E41, bx=0x0107)
    assert pc.read(0xB9000, 2) == b"A\7"
    assert (vga(pc).start, vga(pc).cursor) == (0x800, 0x801)
    pc.call(0x10, ax=0x0F00)
    assert (pc.al, pc.ah, pc.bh) == (3, 80, 1)


@pytest.mark.parametrize(("mode", "size"), [(0x0D, 0x2000), (0x0E, 0x4000), (0x10, 0x8000)])
def test_pages_of_pictures(pc: Pc, mode: int, size: int) -> None:
    pc.call(0x10, ax=mode)
    pc.call(0x10, ax=0x0C05, bx=0x0100, cx=16, dx=0)
    planes = vga(pc).planes.memory
    assert planes[4 * (size + 2)] == planes[4 * (size + 2) + 2] == 0x80
    pc.call(0x10, ax=0x0D00, bx=0x0000, cx=16, dx=0)
    assert pc.al == 0, "that of the first page"
    pc.call(0x10, ax=0x0D00, bx=0x0100, cx=16, dx=0)
    assert pc.al == 5
    pc.call(0x10, ax=0x0501)
    assert vga(pc).start == size
    assert picture(vga(pc), pc.read).rgb(0)[16] != (0, 0, 0)
    pc.call(0x10, ax=0x0E41, bx=7)
    assert not any(planes[: 4 * size]), "text goes to the page that is shown"
    pc.call(0x10, ax=0x0800, bx=0x0100)
    pc.call(0x10, ax=0x0200, bx=0x0100, dx=0)
    pc.call(0x10, ax=0x0800, bx=0x0100)
    assert pc.al == 0x41


def test_a_picture_that_has_one_page_has_it_by_any_number(pc: Pc) -> None:
    pc.call(0x10, ax=0x12)
    pc.call(0x10, ax=0x0C0F, bx=0x0300, cx=0, dx=0)
    assert vga(pc).planes.memory[:4] == b"\x80\x80\x80\x80"


def test_teletype_goes_to_the_page_that_is_shown(pc: Pc) -> None:
    pc.call(0x10, ax=0x0E41, bx=0x7C1E)  # as with a string's address in BX
    assert (pc.line(0), vga(pc).cursor) == ("A", 1)
    pc.call(0x10, ax=0x0E0A, bx=0x7C1F)
    pc.call(0x10, ax=0x0300, bx=0)
    assert pc.dx == 0x0101
    pc.call(0x10, ax=0x0501)
    pc.call(0x10, ax=0x0E42, bx=0)
    assert pc.read(0xB9000, 2) == b"B\7"


def test_a_string(pc: Pc) -> None:
    pc.write(0x600, b"Hi\r\nyou")
    pc.call(0x10, ax=0x1301, bx=0x4F, cx=7, dx=0x0202, es=0x60, bp=0)
    assert (pc.line(2), pc.line(3)) == ("  Hi", "you")
    assert pc.read(0xB8000 + 320 + 5, 1) == b"\x4f"
    pc.call(0x10, ax=0x0300)
    assert pc.dx == 0x0303
    pc.write(0x600, b"a\1b\2")
    pc.call(0x10, ax=0x1302, cx=2, dx=0x0500, es=0x60, bp=0)
    assert pc.read(0xB8000 + 800, 4) == b"a\1b\2"
    pc.call(0x10, ax=0x0300)
    assert pc.dx == 0x0303


@pytest.mark.parametrize("mode", [0x13, 0x12, 0x0D, 4, 6])
def test_pixels_and_characters_of_graphics_modes(pc: Pc, mode: int) -> None:
    pc.call(0x10, ax=mode)
    assert vga(pc).mode == mode
    colour = {4: 3, 6: 1}.get(mode, 9)
    pc.call(0x10, ax=0x0C00 | colour, cx=21, dx=33)
    pc.call(0x10, ax=0x0D00, cx=21, dx=33)
    assert pc.al == colour
    for x, y in ((20, 33), (22, 33), (21, 32), (21, 34)):
        pc.call(0x10, ax=0x0D00, cx=x, dx=y)
        assert pc.al == 0
    if mode != 0x13:
        pc.call(0x10, ax=0x0C80 | colour, cx=21, dx=33)
        pc.call(0x10, ax=0x0D00, cx=21, dx=33)
        assert pc.al == 0
    pc.call(0x10, ax=0x0200, dx=0x0203)
    pc.call(0x10, ax=0x0E41, bx=colour)
    height = pc.word(0x485)
    shape = font(height)[65 * height : 66 * height]

    def drawn(row: int) -> list[int]:
        lines = []
        for y in range(height):
            bits = 0
            for x in range(8):
                pc.call(0x10, ax=0x0D00, cx=24 + x, dx=row * height + y)
                bits |= (pc.al == colour) << 7 - x
            lines.append(bits)
        return lines

    assert drawn(2) == list(shape)
    pc.call(0x10, ax=0x0601, bx=0, cx=0, dx=0x0C27)
    assert drawn(1) == list(shape)
    assert drawn(2) == [0] * height
    pc.call(0x10, ax=0x0701, bx=0, cx=0, dx=0x0C27)
    assert drawn(2) == list(shape)


def test_colours(pc: Pc) -> None:
    pc.call(0x10, ax=0x13)
    pc.call(0x10, ax=0x1010, bx=5, dx=0x1100, cx=0x2233)
    assert vga(pc).palette[15:18] == bytes((0x11, 0x22, 0x33))
    pc.call(0x10, ax=0x1015, bx=5)
    assert (pc.dh, pc.cx) == (0x11, 0x2233)
    pc.write(0x600, bytes(range(6)))
    pc.call(0x10, ax=0x1012, bx=254, cx=2, es=0, dx=0x600)
    assert vga(pc).palette[762:] == bytes(range(6))
    pc.call(0x10, ax=0x1017, bx=254, cx=2, es=0, dx=0x700)
    assert pc.read(0x700, 6) == bytes(range(6))
    pc.call(0x10, ax=0x1000, bx=0x3F01)
    pc.call(0x10, ax=0x1007, bx=1)
    assert pc.bh == 0x3F
    pc.call(0x10, ax=0x1003, bx=0)
    assert not vga(pc).attribute[0x10] & 8


def test_fonts(pc: Pc) -> None:
    pc.call(0x10, ax=0x1130, bx=0x0600)
    assert pc.read((pc.sregs.es.selector << 4) + pc.bp, 4096) == font(16)
    assert (pc.cx, pc.dl) == (16, 24)
    pc.call(0x10, ax=0x1130, bx=0x0300)
    assert pc.read((pc.sregs.es.selector << 4) + pc.bp, 2048) == font(8)
    pc.call(0x10, ax=0x1112, bx=0)
    assert (vga(pc).rows, pc.word(0x484), pc.word(0x44C)) == (50, 0x0831, 0x2000)
    pc.say("\n" * 60 + "x")
    assert pc.line(49) == "x"
    pc.write(0x600, b"\xaa" * 16)
    pc.call(0x10, ax=0x1100, bx=0x1000, cx=1, dx=65, es=0, bp=0x600)
    assert vga(pc).planes.plane(2, 65 * 32, 16) == b"\xaa" * 16


def test_what_it_has(pc: Pc) -> None:
    pc.call(0x10, ax=0x1A00)
    assert (pc.al, pc.bx) == (0x1A, 8)
    pc.call(0x10, ax=0x1200, bx=0x10)
    assert pc.bx == 3
    pc.call(0x10, ax=0x1B00, es=0, di=0x700)
    assert (pc.al, pc.read(0x704, 1)) == (0x1B, b"\3")
    assert not pc.said


def test_characters_are_read_from_pictures(pc: Pc) -> None:
    for mode in (0x13, 0x12, 4, 6):
        pc.call(0x10, ax=mode)
        pc.call(0x10, ax=0x0200, bx=0, dx=0x0203)
        pc.call(0x10, ax=0x0941, bx=1, cx=1)
        pc.call(0x10, ax=0x0800, bx=0)
        assert pc.al == 0x41
        pc.write(4 * 0x43, b"\0\x06\0\0")  # a font of the guest's own, in which nothing looks like that
        pc.write(4 * 0x1F, b"\0\x06\0\0")
        pc.call(0x10, ax=0x0800, bx=0)
        assert pc.al == 0


def test_a_pixel_behind_the_end_of_a_line_is_in_the_next(pc: Pc) -> None:
    pc.call(0x10, ax=0x13)
    pc.call(0x10, ax=0x0C05, cx=320 + 7, dx=1)
    assert pc.read(0xA0000 + 2 * 320 + 7, 1) == b"\5"
    pc.call(0x10, ax=0x0D00, cx=7, dx=2)
    assert pc.al == 5
    pc.call(0x10, ax=0x0C05, cx=0, dx=1000)  # beyond the adapter's memory
    pc.call(0x10, ax=0x0D00, cx=0, dx=1000)
    assert pc.al == 0
    pc.call(0x10, ax=0x12)
    pc.call(0x10, ax=0x0C05, cx=640, dx=0)
    pc.call(0x10, ax=0x0D00, cx=0, dx=1)
    assert pc.al == 5


def test_the_cga_colours(pc: Pc) -> None:
    registers = vga(pc).attribute
    before = bytes(registers[:16])
    pc.call(0x10, ax=0x0B00, bx=0x0101)
    assert registers[:16] == before, "text has no such colours"
    pc.call(0x10, ax=4)
    pc.call(0x10, ax=0x0B00, bx=0x0001)
    assert registers[:4] == bytes((1, 0x03, 0x05, 0x07))
    pc.call(0x10, ax=0x0B00, bx=0x0010)
    pc.call(0x10, ax=0x0B00, bx=0x0100)
    assert registers[:4] == bytes((0, 0x12, 0x14, 0x16))


@pytest.mark.parametrize("mode", [3, 0x0D, 0x12])
def test_the_background_of_modes_of_16_colours(pc: Pc, mode: int) -> None:
    pc.call(0x10, ax=mode)
    registers = vga(pc).attribute
    before = bytes(registers[4:16])
    pc.call(0x10, ax=0x0B00, bx=0x000C)
    assert (registers[0], registers[0x11], registers[4:16]) == (0x14, 0x14, before)
    pc.call(0x10, ax=0x0B00, bx=0x0011)
    assert registers[:4] == bytes((1, 0x11, 0x12, 0x13))


def test_a_mode_that_is_not_there_is_told_once(pc: Pc) -> None:
    for _ in range(2):
        pc.call(0x10, ax=0x006B)
    assert len(pc.said) == 1
    assert "mode 0x6b" in pc.said[0]
    assert vga(pc).mode == 3


def test_characters_of_one_line(pc: Pc) -> None:
    """More rows than the BIOS data area has room for."""
    pc.call(0x10, ax=0x1110, bx=0x0100, cx=1, es=0, bp=0x600)
    assert pc.read(0x484, 2) == bytes((255, 1))
    assert pc.read(0x44C, 2) == (0xA000).to_bytes(2, "little")

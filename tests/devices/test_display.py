"""What the screen shows, in each mode: characters with colours, pictures, a picture of characters."""

from __future__ import annotations

import pytest

from kvmdbg.devices.display import Characters, Picture, characters, picture
from kvmdbg.devices.fonts import font
from kvmdbg.devices.vga import GRAPHICS, TEXT
from tests.devices.test_vga import Adapter

BLACK, BLUE, RED, BROWN, GREY, WHITE = (0, 0, 0), (0, 0, 170), (170, 0, 0), (170, 85, 0), (170,) * 3, (255,) * 3


@pytest.fixture
def adapter() -> Adapter:
    return Adapter()


def pixel(shown: Picture, x: int, y: int) -> tuple[int, int, int]:
    return shown.colours[shown.row(y)[x]]


# --- characters -------------------------------------------------------------------------------------------


def test_characters_with_their_colours(adapter: Adapter) -> None:
    adapter.vga.set_mode(3)
    adapter.ram.write(TEXT + 160, b"H\x1ei\xf4\x03\x07")
    adapter.vga.cursor = 82
    text = characters(adapter.vga, adapter.ram.read)
    assert text.lines[:3] == ["", "Hi♥", ""] and len(text.lines) == 25 and text.cursor == (1, 2)
    assert text.attributes[1][:4] == b"\x1e\xf4\x07\x07"
    assert [text.ink(one) for one in (0x1E, 0xF4)] == [(14, 1), (4, 7)]
    assert [text.colours[n] for n in (0, 1, 4, 6, 7, 15)] == [BLACK, BLUE, RED, BROWN, GREY, WHITE]
    adapter.read(0x3DA)
    adapter.out(0x3C0, 0x10, 0x04, 0x20)  # no blinking
    assert characters(adapter.vga, adapter.ram.read).ink(0xF4) == (4, 15)


def test_start_and_pitch_of_the_text(adapter: Adapter) -> None:
    adapter.vga.set_mode(1)
    adapter.ram.write(TEXT + 2 * 40, b"AxBx")
    adapter.vga.start, adapter.vga.cursor = 40, 83
    text = characters(adapter.vga, adapter.ram.read)
    assert (text.columns, text.lines[0], text.cursor) == (40, "AB", (1, 3))
    adapter.vga.cursor = 39
    row, _ = characters(adapter.vga, adapter.ram.read).cursor
    assert row >= 25, "it is above what is shown, as on another page"
    adapter.set(0x3D4, 0x13, 40)
    adapter.ram.write(TEXT + 2 * 120, b"CxDx")
    assert characters(adapter.vga, adapter.ram.read).lines[:2] == ["AB", "CD"]


def test_without_an_adapter_there_is_text(adapter: Adapter) -> None:
    adapter.ram.write(TEXT, b"Hxix")
    text = characters(None, adapter.ram.read)
    assert text.lines[0] == "Hi" and len(text.rows) == 25 and text.cursor == (0, 0)
    assert text.ink(0xF4) == (4, 7)  # bit 7 blinks, as on the CGA


def test_a_picture_of_characters(adapter: Adapter) -> None:
    adapter.vga.set_mode(3)
    adapter.ram.write(TEXT, b"A\x1e\xc4\x07\x42\x07")
    adapter.vga.cursor = 81
    shown = picture(adapter.vga, adapter.ram.read)
    assert (shown.width, shown.height, len(shown.pixels)) == (720, 400, 720 * 400)
    shape = font(16)[0x41 * 16 : 0x42 * 16]
    for y in range(16):
        wanted = [shown.colours[0x3E] if shape[y] >> 7 - x & 1 else BLUE for x in range(8)] + [BLUE]
        assert [pixel(shown, x, y) for x in range(9)] == wanted
    line = next(y for y in range(16) if font(16)[0xC4 * 16 + y])
    assert [pixel(shown, x, line) for x in (9, 16, 17, 18)] == [GREY, GREY, GREY, BLACK]  # its last column twice
    assert [pixel(shown, 9, 16 + y) for y in range(16)] == [BLACK] * 13 + [GREY] * 2 + [BLACK]
    adapter.set(0x3D4, 0x0A, 0x2D)  # no cursor
    assert pixel(picture(adapter.vga, adapter.ram.read), 9, 29) == BLACK
    adapter.set(0x3C4, 1, 1)
    assert picture(adapter.vga, adapter.ram.read).width == 640


def test_characters_in_a_font_of_the_guests_own(adapter: Adapter) -> None:
    adapter.vga.set_mode(3)
    adapter.ram.write(TEXT, b"A\x07A\x0f")
    adapter.vga.planes.memory[4 * (0x41 * 32) + 2] = 0xFF
    adapter.vga.planes.memory[4 * (0x4000 + 0x41 * 32 + 1) + 2] = 0xFF
    assert pixel(picture(adapter.vga, adapter.ram.read), 0, 0) == GREY
    adapter.set(0x3C4, 3, 4)  # font 1 for characters with bit 3
    shown = picture(adapter.vga, adapter.ram.read)
    assert [pixel(shown, x, y) for x in (0, 9) for y in (0, 1)] == [GREY, BLACK, BLACK, WHITE]


# --- pictures ---------------------------------------------------------------------------------------------


def test_256_colours(adapter: Adapter) -> None:
    adapter.vga.set_mode(0x13)
    adapter.ram.write(GRAPHICS + 320 * 7 + 5, bytes((1, 4, 15)))
    shown = picture(adapter.vga, adapter.ram.read)
    assert (shown.width, shown.height, shown.used) == (320, 200, 256)
    assert [pixel(shown, x, 7) for x in range(4, 9)] == [BLACK, BLUE, RED, WHITE, BLACK]
    adapter.out(0x3C8, 1)
    adapter.out(0x3C9, 63, 0, 0)
    assert pixel(picture(adapter.vga, adapter.ram.read), 5, 7) == (255, 0, 0)
    adapter.out(0x3C6, 0x0E)
    assert pixel(picture(adapter.vga, adapter.ram.read), 5, 7) == BLACK
    adapter.vga.start = 320 // 4 * 7
    assert picture(adapter.vga, adapter.ram.read).row(0)[6] == 4


def split(adapter: Adapter, line: int) -> None:
    """Have the line compare register name a scan line."""
    crtc = adapter.vga.crtc
    for register, value in (
        (0x18, line & 0xFF), (7, crtc[7] & ~0x10 | line >> 4 & 0x10), (9, crtc[9] & ~0x40 | line >> 3 & 0x40),
    ):  # fmt: skip
        adapter.set(0x3D4, register, value)


def test_a_split_screen_shows_the_beginning_of_memory_below(adapter: Adapter) -> None:
    adapter.vga.set_mode(0x13)
    adapter.ram.write(GRAPHICS, b"\1")
    adapter.ram.write(GRAPHICS + 320 * 50, b"\4")
    adapter.vga.start = 80 * 50
    split(adapter, 200)
    shown = picture(adapter.vga, adapter.ram.read)
    assert [y for y in range(200) if shown.row(y)[0]] == [0, 101, 151], "line 201 of 400 is in row 100 already"
    assert (shown.row(0)[0], shown.row(101)[0]) == (4, 1)
    adapter.vga.set_mode(0x12)
    adapter.bus.write_mmio(GRAPHICS, 1, 0x80)
    adapter.vga.start = 80 * 50
    split(adapter, 399)
    shown = picture(adapter.vga, adapter.ram.read)
    assert [y for y in range(480) if shown.row(y)[0]] == [400]
    adapter.vga.set_mode(3)
    adapter.ram.write(TEXT, b"A\7")
    adapter.vga.start = 80 * 30
    split(adapter, 159)
    assert [y for y, line in enumerate(characters(adapter.vga, adapter.ram.read).lines) if line] == [10]


def test_mode_x_is_256_colours_by_planes(adapter: Adapter) -> None:
    adapter.vga.set_mode(0x13)
    adapter.set(0x3C4, 4, 6)
    for plane, value in enumerate((1, 4, 15, 2)):
        adapter.set(0x3C4, 2, 1 << plane)
        adapter.bus.write_mmio(GRAPHICS + 80 * 3 + 2, 1, value)
    shown = picture(adapter.vga, adapter.ram.read)
    assert shown.row(3)[7:13] == bytes((0, 1, 4, 15, 2, 0)) and (shown.width, shown.height) == (320, 200)
    adapter.set(0x3D4, 0x11, 0)
    adapter.set(0x3D4, 0x06, 0x0D)
    adapter.set(0x3D4, 0x07, 0x3E)
    adapter.set(0x3D4, 0x12, 0xDF)
    assert picture(adapter.vga, adapter.ram.read).height == 240  # Michael Abrash's


@pytest.mark.parametrize(
    ("number", "width", "height"), [(0x0D, 320, 200), (0x0E, 640, 200), (0x10, 640, 350), (0x12, 640, 480)]
)
def test_16_colours(adapter: Adapter, number: int, width: int, height: int) -> None:
    adapter.vga.set_mode(number)
    for plane, value in enumerate((0x80, 0x40, 0xC0, 0)):
        adapter.set(0x3C4, 2, 1 << plane)
        adapter.bus.write_mmio(GRAPHICS + 2 * width // 8 + 3, 1, value)
    shown = picture(adapter.vga, adapter.ram.read)
    assert (shown.width, shown.height, shown.used, len(shown.pixels)) == (width, height, 16, width * height)
    assert [pixel(shown, x, 2) for x in range(23, 27)] == [BLACK, (170, 0, 170), BROWN, BLACK]
    adapter.read(0x3DA)
    adapter.out(0x3C0, 5, 0x3F if number > 0x0E else 0x17, 0x20)
    assert pixel(picture(adapter.vga, adapter.ram.read), 24, 2) == WHITE


def test_cga_pictures(adapter: Adapter) -> None:
    adapter.vga.set_mode(4)
    adapter.ram.write(TEXT, b"\x1b")
    adapter.ram.write(TEXT + 0x2000, b"\xe4")
    adapter.ram.write(TEXT + 80, b"\xc0")
    shown = picture(adapter.vga, adapter.ram.read)
    cyan, magenta, white = (85, 255, 255), (255, 85, 255), WHITE
    assert (shown.width, shown.height, shown.used) == (320, 200, 4)
    assert [pixel(shown, x, 0) for x in range(4)] == [BLACK, cyan, magenta, white]
    assert [pixel(shown, x, 1) for x in range(4)] == [white, magenta, cyan, BLACK]
    assert [pixel(shown, x, 2) for x in range(2)] == [white, BLACK]
    adapter.vga.set_mode(6)
    adapter.ram.write(TEXT + 0x2000, b"\x41")
    shown = picture(adapter.vga, adapter.ram.read)
    assert (shown.width, shown.height, shown.used) == (640, 200, 2)
    assert [x for x in range(16) if pixel(shown, x, 1) != BLACK] == [1, 7]
    assert pixel(shown, 1, 1) == WHITE


def test_pictures_at_the_end_of_memory(adapter: Adapter) -> None:
    for number in (0x0D, 0x12, 0x13, 4, 6):
        adapter.vga.set_mode(number)
        adapter.vga.start = 0xFFFF
        shown = picture(adapter.vga, adapter.ram.read)
        assert len(shown.pixels) == shown.width * shown.height


# --- other sizes --------------------------------------------------------------------------------------------


def test_a_picture_is_made_smaller_by_means() -> None:
    colours = ((0, 0, 0), (200, 100, 0), *[(9, 9, 9)] * 254)
    shown = Picture(4, 4, bytes((0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0)), colours)
    assert list(shown.scaled(2, 2)) == [[(100, 50, 0), (200, 100, 0)], [(0, 0, 0), (0, 0, 0)]]
    assert next(iter(shown.scaled(4, 4))) == [colours[n] for n in (0, 1, 1, 1)]
    assert [len(row) for row in shown.scaled(3, 5)] == [3] * 5


def test_ink_of_characters() -> None:
    text = Characters(1, (b"A\xff",), (0, 0), (), True)
    assert text.ink(0xFF) == (15, 7) and Characters(1, (b"A\xff",), (0, 0), (), False).ink(0xFF) == (15, 15)

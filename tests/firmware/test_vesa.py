"""int 10h, AH=4Fh: VESA's modes, and the memory of their pictures."""

from __future__ import annotations

import struct

import pytest

from kvmdbg.devices.display import large_picture, picture
from kvmdbg.devices.vbe import ADDRESS, Vbe
from kvmdbg.devices.vga import Vga
from kvmdbg.firmware.vesa import MODES, PLANAR
from tests.firmware.machine import Pc

OK, FAILED, UNKNOWN = 0x004F, 0x014F, 0x01
BLOCK, WINDOW, KIB64 = 0x9000, 0xA0000, 0x10000
LINEAR, KEEPS = 0x4000, 0x8000


@pytest.fixture
def pc() -> Pc:
    return Pc().start()


def vbe(pc: Pc) -> Vbe:
    found = pc.bios.device(Vbe)
    assert found is not None
    return found


def vesa(pc: Pc, function: int, **registers: int) -> int:
    pc.call(0x10, ax=0x4F00 | function, es=0, **registers)
    return pc.ax


def set_mode(pc: Pc, number: int) -> None:
    assert vesa(pc, 2, bx=number) == OK


def pixel(pc: Pc, x: int, y: int) -> tuple[int, int, int]:
    adapter = pc.bios.device(Vga)
    assert adapter is not None
    return large_picture(adapter, vbe(pc)).rgb(y)[x]


def test_what_it_has(pc: Pc) -> None:
    pc.write(BLOCK, b"VBE2")
    assert vesa(pc, 0, di=BLOCK) == OK
    signature, version, name, _, modes, blocks = struct.unpack("<4sHIIIH", pc.read(BLOCK, 20))
    assert (signature, version, blocks) == (b"VESA", 0x300, 256)
    assert pc.read(name, 7) == b"kvmdbg\0"
    wanted = (*sorted((*MODES, *PLANAR)), 0xFFFF)
    assert struct.unpack(f"<{len(wanted)}H", pc.read(modes, 2 * len(wanted))) == wanted
    assert {0x101, 0x102, 0x103, 0x112, 0x115, 0x118} < set(wanted)


def test_a_block_of_the_old_size(pc: Pc) -> None:
    pc.write(BLOCK, bytes(256) + b"mine")
    assert vesa(pc, 0, di=BLOCK) == OK
    assert (pc.read(BLOCK, 4), pc.read(BLOCK + 256, 4)) == (b"VESA", b"mine")


@pytest.mark.parametrize("number", MODES)
def test_each_mode_is_described_and_shown(pc: Pc, number: int) -> None:
    width, height, bits = MODES[number]
    assert vesa(pc, 1, cx=number, di=BLOCK) == OK
    block = pc.read(BLOCK, 256)
    (pitch,) = struct.unpack_from("<H", block, 16)
    assert struct.unpack_from("<HH", block, 18) == (width, height)
    assert (block[25], struct.unpack_from("<I", block, 40)[0], block[0] & 0x80) == (bits, ADDRESS, 0x80)
    set_mode(pc, number | LINEAR)
    size = -(-bits // 8)
    pc.write(ADDRESS + 2 * pitch + 3 * size, b"\xff" * size)
    assert pixel(pc, 4, 2) == (0, 0, 0)
    assert pixel(pc, 3, 2) == ((0, 0, 0) if bits == 8 else (255, 255, 255))
    assert vesa(pc, 3) == OK
    assert pc.bx == number | LINEAR
    pc.call(0x10, ax=3)
    assert not vbe(pc).is_on
    assert vesa(pc, 3) == OK
    assert pc.bx == 3


@pytest.mark.parametrize(
    ("number", "data", "colour"),
    [
        (0x113, 0x7C00, (255, 0, 0)), (0x113, 0x03E0, (0, 255, 0)), (0x114, 0xF800, (255, 0, 0)),
        (0x114, 0x07E0, (0, 255, 0)), (0x114, 0x001F, (0, 0, 255)), (0x115, 0x123456, (0x12, 0x34, 0x56)),
        (0x143, 0xFF123456, (0x12, 0x34, 0x56)), (0x103, 4, (170, 0, 0)),
    ],
)  # fmt: skip
def test_colours(pc: Pc, number: int, data: int, colour: tuple[int, int, int]) -> None:
    set_mode(pc, number | LINEAR)
    pc.write(ADDRESS, data.to_bytes(-(-MODES[number][2] // 8), "little"))
    assert pixel(pc, 0, 0) == colour


@pytest.mark.parametrize(
    ("number", "place", "pitch", "size", "cell", "pixels"),
    [
        (3, (0x0F, 0xB800), 160, (80, 25), (9, 16), (4, 4, 1, 0)),
        (7, (0x07, 0xB000), 160, (80, 25), (9, 16), (4, 4, 1, 0)),
        (4, (0x1F, 0xB800), 80, (320, 200), (8, 8), (1, 2, 2, 1)),
        (6, (0x1F, 0xB800), 80, (640, 200), (8, 8), (1, 1, 2, 1)),
        (0x11, (0x1F, 0xA000), 80, (640, 480), (8, 16), (4, 1, 1, 3)),
        (0x12, (0x1F, 0xA000), 80, (640, 480), (8, 16), (4, 4, 1, 3)),
        (0x13, (0x1F, 0xA000), 320, (320, 200), (8, 8), (1, 8, 1, 4)),
    ],
)
def test_the_modes_of_the_vga_are_described(
    pc: Pc, number: int, place: tuple[int, int], pitch: int, size: tuple[int, int], cell: tuple[int, int],
    pixels: tuple[int, int, int, int],
) -> None:  # fmt: skip
    """As SeaBIOS does, but that bit 5 of its attributes says that none is the VGA's."""
    assert vesa(pc, 1, cx=number, di=BLOCK) == OK
    block = pc.read(BLOCK, 256)
    attributes, _, _, granularity, window, segment = struct.unpack_from("<HBBHHH", block)
    assert (attributes, segment, granularity, window) == (*place, 64, 64)
    assert struct.unpack_from("<HHH", block, 16) == (pitch, *size)
    assert tuple(block[22:24]) == cell
    assert tuple(block[24:28]) == pixels
    assert struct.unpack_from("<I", block, 40) == (0,)


def test_what_the_screen_says_of_itself(pc: Pc) -> None:
    assert vesa(pc, 0x15, bx=0) == OK
    assert pc.bx & 3 == 3
    assert vesa(pc, 0x15, bx=1, dx=0, di=BLOCK) == OK
    block = pc.read(BLOCK, 128)
    assert (block[:8], sum(block) & 0xFF, block[126]) == (bytes.fromhex("00ffffffffffff00"), 0, 0)
    wide, high = (block[at] | block[at + 2] >> 4 << 8 for at in (56, 59))
    assert (wide, high) in [(width, height) for width, height, _ in MODES.values()]
    assert b"kvmdbg\n" in block
    assert vesa(pc, 0x15, bx=1, dx=1, di=BLOCK) == FAILED
    assert vesa(pc, 0x15, bx=2, di=BLOCK) == FAILED


def test_sixteen_colours(pc: Pc) -> None:
    """800 x 600 pixels in four planes, which have no linear memory."""
    assert vesa(pc, 1, cx=0x102, di=BLOCK) == OK
    block = pc.read(BLOCK, 256)
    attributes, _, _, granularity, size, segment = struct.unpack_from("<HBBHHH", block)
    assert (attributes & 0x99, granularity, size, segment) == (0x19, 64, 64, WINDOW >> 4)
    pitch, width, height, _, _, planes, bits, banks, model = struct.unpack_from("<HHHBBBBBB", block, 16)
    assert (pitch, width, height, planes, bits, banks, model) == (100, 800, 600, 4, 4, 1, 3)
    assert vesa(pc, 2, bx=0x102 | LINEAR) == FAILED
    set_mode(pc, 0x101)
    set_mode(pc, 0x102)
    assert vesa(pc, 3) == OK
    assert pc.bx == 0x102 and not vbe(pc).is_on
    adapter = pc.bios.device(Vga)
    assert adapter is not None
    adapter.sequencer[2] = 4  # the plane of red
    pc.bus.write_mmio(WINDOW + 100 * 599 + 99, 1, 1)
    pc.call(0x10, ax=0x0C0E, bx=0, cx=3, dx=2)
    shown = picture(adapter, pc.memory.read)
    assert (shown.width, shown.height, shown.used) == (800, 600, 16)
    assert (shown.rgb(599)[798:], shown.rgb(2)[3]) == ([(0, 0, 0), (170, 0, 0)], (255, 255, 85))
    set_mode(pc, 0x102 | KEEPS)
    assert picture(adapter, pc.memory.read).rgb(2)[3] == (255, 255, 85)


def test_text_in_sixteen_colours(pc: Pc) -> None:
    """The BIOS writes it, in 37 rows of 100 characters, which roll."""
    set_mode(pc, 0x102)
    for char in b"\r\n" * 37 + b" " * 99 + b"A":
        pc.call(0x10, ax=0x0E00 | char, bx=4)
    pc.call(0x10, ax=0x0200, bx=0, dx=35 << 8 | 99)
    pc.call(0x10, ax=0x0800, bx=0)
    assert pc.al == ord("A")


def test_the_window(pc: Pc) -> None:
    """64 KiB of the picture are at 0xa0000, where the mode has no linear memory."""
    set_mode(pc, 0x101)
    pc.write(WINDOW + 5, b"\4")
    assert pixel(pc, 5, 0) == (170, 0, 0)
    assert vesa(pc, 5, bx=0, dx=1) == OK
    assert pc.read(WINDOW + 5, 1) == b"\0"
    pc.write(WINDOW, b"\2")
    assert pixel(pc, KIB64 % 640, KIB64 // 640) == (0, 170, 0)
    assert pixel(pc, 5, 0) == (170, 0, 0)
    assert vesa(pc, 5, bx=0x0100) == OK
    assert pc.dx == 1
    assert vesa(pc, 5, bx=0, dx=0) == OK
    assert pc.read(WINDOW + 5, 1) == b"\4"
    assert vesa(pc, 5, bx=0, dx=256) == FAILED
    assert vesa(pc, 5, bx=1, dx=0) == FAILED
    set_mode(pc, 0x101 | LINEAR)
    assert vesa(pc, 5, bx=0, dx=0) == FAILED


def test_longer_lines_and_another_start(pc: Pc) -> None:
    set_mode(pc, 0x101 | LINEAR)
    assert vesa(pc, 6, bx=0, cx=1000) == OK
    assert (pc.bx, pc.cx, pc.dx) == (1000, 1000, 16 * 1024 * 1024 // 1000)
    pc.write(ADDRESS + 10 * 1000 + 20, b"\4")
    assert pixel(pc, 20, 10) == (170, 0, 0)
    assert vesa(pc, 7, bx=0, cx=15, dx=8) == OK
    assert pixel(pc, 5, 2) == (170, 0, 0)
    assert vesa(pc, 7, bx=1) == OK
    assert (pc.cx, pc.dx) == (15, 8)
    assert vesa(pc, 6, bx=0, cx=639) == FAILED
    assert vesa(pc, 7, bx=0, cx=0, dx=0x7FFF) == FAILED


def test_the_palette(pc: Pc) -> None:
    set_mode(pc, 0x101 | LINEAR)
    pc.write(BLOCK, bytes((1, 2, 63, 0)))
    assert vesa(pc, 9, bx=0, cx=1, dx=7, di=BLOCK) == OK
    pc.write(ADDRESS, b"\7")
    assert pixel(pc, 0, 0) == (255, 2 << 2, 1 << 2)
    assert vesa(pc, 9, bx=1, cx=1, dx=7, di=BLOCK + 8) == OK
    assert pc.read(BLOCK + 8, 4) == bytes((1, 2, 63, 0))
    assert vesa(pc, 9, bx=0, cx=2, dx=255, di=BLOCK) == FAILED
    assert vesa(pc, 8, bx=0x0800) == OK
    assert pc.bh == 6


def test_what_is_drawn_can_be_kept(pc: Pc) -> None:
    set_mode(pc, 0x101 | LINEAR)
    pc.write(ADDRESS, b"\4")
    set_mode(pc, 0x101 | LINEAR | KEEPS)
    assert pixel(pc, 0, 0) == (170, 0, 0)
    set_mode(pc, 0x101 | LINEAR)
    assert pixel(pc, 0, 0) == (0, 0, 0)


def test_modes_that_are_not_there(pc: Pc) -> None:
    assert vesa(pc, 1, cx=0x1FE, di=BLOCK) == FAILED
    assert vesa(pc, 2, bx=0x1FE) == FAILED
    assert vesa(pc, 2, bx=0x14) == FAILED
    assert vesa(pc, 2, bx=0x13) == OK
    pc.call(0x10, ax=0x0F00)
    assert pc.al == 0x13
    assert vesa(pc, 6, bx=1) == FAILED
    assert vesa(pc, 0x14, bx=0) != OK
    assert pc.ah == UNKNOWN


def test_without_the_adapter() -> None:
    pc = Pc(has_vbe=False).start()
    for function in range(16):
        assert vesa(pc, function, di=BLOCK) & 0xFF00 == UNKNOWN << 8
    pc.call(0x10, ax=0x12)
    assert pc.al == 0x20

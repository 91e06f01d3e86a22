"""int 10h, AH=1Ch, AX=4F04h and AX=4F10h: the screen's state, kept and put back, and its power."""

from __future__ import annotations

import pytest

from kvmdbg.devices.vbe import Vbe
from kvmdbg.devices.vga import Vga
from kvmdbg.firmware import data_area as bda
from tests.firmware.machine import Pc

STATE, PICTURE = 0x9000, 0x4112
OK, FAILED = 0x004F, 0x014F


@pytest.fixture
def pc() -> Pc:
    return Pc().start()


def screen(pc: Pc) -> tuple[Vga, Vbe]:
    vga, vbe = pc.bios.device(Vga), pc.bios.device(Vbe)
    assert vga is not None
    assert vbe is not None
    return vga, vbe


def test_a_state_comes_back(pc: Pc) -> None:
    vga, _ = screen(pc)
    pc.call(0x10, ax=0x1112, bx=0)  # 50 rows
    pc.call(0x10, ax=0x1010, bx=9, dx=0x1200, cx=0x3456)
    pc.call(0x10, ax=0x0200, bx=0, dx=0x0305)
    before = vga.registers, bytes(vga.palette), pc.read(bda.MODE, 0x1E), pc.read(bda.ROWS, 7), pc.read(4 * 0x43, 4)
    pc.call(0x10, ax=0x1C00, cx=7)
    assert pc.al == 0x1C
    size = 64 * pc.bx
    pc.write(STATE + size, b"mine")
    pc.call(0x10, ax=0x1C01, cx=7, es=0, bx=STATE)
    assert pc.read(STATE + size, 4) == b"mine"
    pc.call(0x10, ax=0x13)
    assert before[0] != vga.registers
    pc.call(0x10, ax=0x1C02, cx=7, es=0, bx=STATE)
    assert before == (
        vga.registers, bytes(vga.palette), pc.read(bda.MODE, 0x1E), pc.read(bda.ROWS, 7), pc.read(4 * 0x43, 4)
    )  # fmt: skip
    assert vga.is_text


def test_only_what_is_asked_for(pc: Pc) -> None:
    vga, _ = screen(pc)
    pc.call(0x10, ax=0x1C01, cx=4, es=0, bx=STATE)
    colours, registers = bytes(vga.palette), bytes(vga.registers)
    pc.call(0x10, ax=0x13)
    pc.call(0x10, ax=0x1C02, cx=4, es=0, bx=STATE)
    assert (bytes(vga.palette), pc.read(bda.MODE, 1)) == (colours, b"\x13")
    assert vga.registers != registers
    pc.call(0x10, ax=0x1C00, cx=0)
    assert pc.al == 0, "nothing was"


def test_larger_pictures(pc: Pc) -> None:
    _, vbe = screen(pc)
    pc.call(0x10, ax=0x4F02, bx=PICTURE)
    pc.call(0x10, ax=0x4F06, bx=0, cx=700)
    pc.call(0x10, ax=0x4F07, bx=0, cx=3, dx=4)
    before = list(vbe.registers)
    pc.call(0x10, ax=0x4F04, cx=0xF, dx=1, es=0, bx=STATE)
    assert pc.ax == OK
    pc.call(0x10, ax=3)
    assert not vbe.is_on
    pc.call(0x10, ax=0x4F04, cx=0xF, dx=2, es=0, bx=STATE)
    assert (pc.ax, vbe.is_on, vbe.pitch, vbe.shows_from) == (OK, True, 2100, (3, 4))
    assert [value for n, value in enumerate(vbe.registers) if n != 4] == [v for n, v in enumerate(before) if n != 4]
    pc.call(0x10, ax=0x4F04, cx=0xF, dx=3, es=0, bx=STATE)
    assert pc.ax == FAILED


def test_a_text_comes_back_from_a_larger_picture(pc: Pc) -> None:
    vga, vbe = screen(pc)
    pc.call(0x10, ax=0x4F04, cx=0xF, dx=1, es=0, bx=STATE)
    pc.call(0x10, ax=0x4F02, bx=PICTURE)
    pc.call(0x10, ax=0x4F04, cx=0xF, dx=2, es=0, bx=STATE)
    assert (vbe.is_on, vga.is_text, pc.read(bda.MODE, 1)) == (False, True, b"\x03")


def test_the_screen_is_always_on(pc: Pc) -> None:
    pc.call(0x10, ax=0x4F10, bx=0)
    assert (pc.ax, pc.bx) == (OK, 0x0010)
    pc.call(0x10, ax=0x4F10, bx=0x0001)
    assert pc.ax == OK
    pc.call(0x10, ax=0x4F10, bx=0x0401)
    assert pc.ax == FAILED, "it cannot be switched off"
    pc.call(0x10, ax=0x4F10, bx=0x0402)
    assert (pc.ax, pc.bh) == (OK, 0)
    pc.call(0x10, ax=0x4F10, bx=3)
    assert pc.ax == FAILED

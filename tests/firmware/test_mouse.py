"""int 15h/C2 and int 74h: the mouse by the BIOS (IBM PS/2 BIOS Interface Technical Reference)."""

from __future__ import annotations

import pytest

from kvmdbg.devices.i8042 import Keyboard
from tests.firmware.machine import Pc

EBDA = 0x9FC00


@pytest.fixture
def pc() -> Pc:
    return Pc().start()


def mouse(pc: Pc, function: int, bh: int = 0, **registers: int) -> int:
    """AH, which carry confirms."""
    pc.call(0x15, ax=0xC200 | function, bx=bh << 8, **registers)
    assert pc.carry == bool(pc.ah)
    return pc.ah


def ready(pc: Pc) -> Keyboard:
    """Its handler is at 1234:5678, and it reports."""
    assert mouse(pc, 5, 3) == 0
    pc.call(0x15, ax=0xC207, bx=0x5678, es=0x1234)
    assert mouse(pc, 0, 1) == 0
    return next(one for one in pc.bus.devices if isinstance(one, Keyboard))


def packets(pc: Pc) -> list[bytes]:
    """What the guest's handler is called with."""
    found = []
    while pc.bus.read_port(0x64, 1) & 0x21 == 0x21:
        pc.call(0x74)
        if pc.waits:
            found.append(pc.read(EBDA + 0x28, 3))
    return found


def test_its_reports(pc: Pc) -> None:
    keyboard = ready(pc)
    assert pc.read(EBDA + 0x22, 6) == bytes.fromhex("7856 3412 00 82")
    keyboard.move((5, -3, 1))
    keyboard.move((-2, 0, 0))
    assert packets(pc) == [bytes((0x09, 5, 3)), bytes((0x18, 0xFE, 0))]
    pc.call(0x74)
    assert not pc.waits, "nothing is there to be read"
    assert mouse(pc, 0, 0) == 0
    keyboard.move((1, 1, 0))
    assert packets(pc) == []


def test_without_a_handler(pc: Pc) -> None:
    assert mouse(pc, 0, 1) == 5
    keyboard = ready(pc)
    pc.call(0x15, ax=0xC207, bx=0, es=0)
    keyboard.move((1, 1, 0))
    assert packets(pc) == [] and mouse(pc, 0, 1) == 5


def test_what_it_is_told_and_says(pc: Pc) -> None:
    assert mouse(pc, 1) == 0 and pc.bx == 0x00AA
    assert mouse(pc, 4) == 0 and pc.bh == 0
    assert mouse(pc, 2, 6) == 0 and mouse(pc, 3, 3) == 0 and mouse(pc, 6, 2) == 0
    assert mouse(pc, 6, 0) == 0 and (pc.bl, pc.cl, pc.dl) == (0x10, 3, 200)
    assert mouse(pc, 6, 1) == 0
    assert mouse(pc, 6, 0) == 0 and pc.bl == 0
    for function, bh in ((0, 2), (2, 7), (3, 4), (5, 0), (5, 9), (6, 3)):
        assert mouse(pc, function, bh) == 2
    assert mouse(pc, 8) == 1


def test_a_key_that_waits_stays(pc: Pc) -> None:
    keyboard = ready(pc)
    keyboard.press("a")
    assert mouse(pc, 6, 0) == 0
    assert pc.bus.read_port(0x60, 1) == 0x1E


def test_it_is_in_the_list_of_equipment(pc: Pc) -> None:
    pc.call(0x11)
    assert pc.ax & 4


@pytest.mark.parametrize("told", [(0xEE,), (0xF3,)], ids=["it echoes", "it waits for a byte"])
def test_a_mouse_that_answers_nothing_of_use(pc: Pc, told: tuple[int, ...]) -> None:
    for function, bh in ((4, 0), (6, 0)):
        pc.bus.write_port(0x64, 1, 0xD4)
        pc.bus.write_port(0x60, 1, told[0])
        assert mouse(pc, function, bh) == 3

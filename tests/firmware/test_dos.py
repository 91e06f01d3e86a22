"""int 20h and 21h: what programs for DOS get, and what others are told."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.engine import stops
from kvmdbg.machine.bus import GuestEnd
from tests.conftest import TIME_SCALE
from tests.firmware.machine import Pc


@pytest.fixture
def pc() -> Pc:
    pc = Pc().start()
    pc.write(0x10000, b"\xcd\x20")
    return pc


@pytest.mark.parametrize(
    ("interrupt", "ax", "status"), [(0x20, 0x1234, 0), (0x21, 0x0007, 0), (0x21, 0x4C07, 7), (0x21, 0x4C00, 0)]
)
def test_the_end(pc: Pc, interrupt: int, ax: int, status: int) -> None:
    end = pc.call(interrupt, ax=ax)
    assert isinstance(end, GuestEnd) and end.status == status and f"(int {interrupt:x}h" in end.text


def test_characters(pc: Pc) -> None:
    pc.write(0x10200, b"Hello\r\nyou$ and nobody")
    pc.call(0x21, ax=0x0900, dx=0x200, ds=0x1000)
    assert (pc.line(0), pc.line(1), pc.al) == ("Hello", "you", ord("$"))
    pc.call(0x21, ax=0x0200, dx=ord("!"))
    assert (pc.line(1), pc.al) == ("you!", ord("!"))


def test_each_other_function_is_told_once(pc: Pc) -> None:
    for ax, then in ((0x3D00, 1), (0x3D02, 1), (0x1B00, 0x1B00)):
        pc.call(0x21, ax=ax)
        assert (pc.carry, pc.ax) == (True, then)
    assert [said.partition(":")[0].partition(",")[2] for said in pc.said] == [
        " AH=0x3d (DOS), before 0000", " AH=0x1b (DOS), before 0000",
    ]  # fmt: skip


@pytest.mark.parametrize(("interrupt", "ax"), [(0x20, 0), *((0x21, ax) for ax in (0x0000, 0x4C00, 0x0900, 0x0200))])
def test_others_find_no_dos(interrupt: int, ax: int) -> None:
    pc = Pc().start()
    assert pc.call(interrupt, ax=ax, dx=0x41) is None
    assert (pc.line(0), pc.ax) == ("", ax)
    assert f"int {interrupt:#x} (DOS)" in pc.said[0] and "nobody has set its vector" in pc.said[0]


def test_keys(pc: Pc) -> None:
    pc.call(0x21, ax=0x0800)
    assert pc.waits
    pc.call(0x21, ax=0x0B55)
    assert (pc.ax, pc.waits) == (0x0B00, False)
    pc.call(0x21, ax=0x0655, dx=0xFF)
    assert (pc.al, pc.zero, pc.waits) == (0, True, False)
    pc.call(0x16, ax=0x0500, cx=0x1E61)
    pc.call(0x16, ax=0x0500, cx=0x4800)
    pc.call(0x16, ax=0x0500, cx=0x1E62)
    pc.call(0x21, ax=0x0B55)
    assert pc.ax == 0x0BFF
    pc.call(0x21, ax=0x0100)
    assert (pc.ax, pc.line(0), pc.waits) == (0x0161, "a", False)
    pc.call(0x21, ax=0x0755)
    assert pc.ax == 0x0700, "that of no character, whose code comes next"
    pc.call(0x21, ax=0x0B55)
    assert pc.al == 0xFF
    pc.call(0x21, ax=0x0655, dx=0xFF)
    assert (pc.al, pc.zero) == (0x48, False)
    pc.call(0x21, ax=0x0655, dx=0xFF)
    assert (pc.al, pc.zero) == (0x62, False)
    pc.call(0x21, ax=0x0600, dx=ord("!"))
    assert (pc.al, pc.line(0)) == (ord("!"), "a!")
    assert not pc.said


def test_vectors_and_the_time(pc: Pc) -> None:
    pc.call(0x21, ax=0x2508, dx=0x1234, ds=0x1000)
    assert pc.read(4 * 8, 4) == bytes.fromhex("34120010")
    pc.call(0x21, ax=0x3508, es=0)
    assert (pc.bx, pc.sregs.es.selector, pc.sregs.es.base) == (0x1234, 0x1000, 0x10000)
    for register, value in ((4, 0x23), (2, 0x59), (0, 0x58)):
        pc.bus.write_port(0x70, 1, register)
        pc.bus.write_port(0x71, 1, value)
    pc.call(0x21, ax=0x2C00)
    seconds = (pc.ch * 60 + pc.cl) * 60 + pc.dh + pc.dl / 100
    assert seconds == pytest.approx(86398, abs=1)


def test_the_date(pc: Pc) -> None:
    for register, value in ((7, 0x29), (8, 0x02), (9, 0x24), (0x32, 0x20)):
        pc.bus.write_port(0x70, 1, register)
        pc.bus.write_port(0x71, 1, value)
    pc.call(0x21, ax=0x2A00)
    assert (pc.cx, pc.dh, pc.dl, pc.al) == (2024, 2, 29, 4), "a Thursday"
    pc.bus.write_port(0x70, 1, 8)
    pc.bus.write_port(0x71, 1, 0)
    pc.call(0x21, ax=0x2A00)
    assert (pc.cx, pc.dh, pc.dl, pc.al) == (1980, 1, 1, 2), "of a clock that has none: DOS's first day, a Tuesday"


def test_what_a_program_asks_at_its_start(pc: Pc) -> None:
    pc.call(0x21, ax=0x3000)
    assert (pc.ax, pc.bx, pc.cx) == (5, 0, 0)
    pc.call(0x21, ax=0x19AA)
    assert pc.ax == 0x1902
    pc.call(0x21, ax=0x3300, dx=0xFF)
    assert pc.dl == 0
    for ax in (0x5100, 0x6200):
        pc.call(0x21, ax=ax)
        assert pc.bx == 0x1000
    assert not pc.said


def test_memory_is_all_the_programs(pc: Pc) -> None:
    """From its prefix to the end that the prefix says."""
    pc.call(0x21, ax=0x4A00, bx=0x8FFF, es=0x1000)
    assert not pc.carry
    pc.call(0x21, ax=0x4A00, bx=0x9000, es=0x1000)
    assert (pc.carry, pc.ax, pc.bx) == (True, 8, 0x8FFF)
    pc.call(0x21, ax=0x4800, bx=1)
    assert (pc.carry, pc.ax, pc.bx) == (True, 8, 0)
    pc.call(0x21, ax=0x4900, es=0x1000)
    assert not pc.carry


@pytest.mark.kvm
def test_a_program_waits_for_a_key(tmp_path: Path) -> None:
    """It takes the screen's segment from its prefix, as small ones do, and paints with the key."""
    code = "b81300 cd10 c42f b408 cd21 268886 00fa b44c cd21"  # les bp, [bx]; int 21h, AH=8; …
    (tmp_path / "key.com").write_bytes(bytes.fromhex(code))
    with kvmdbg.open(tmp_path / "key.com", serial="none") as dbg:
        assert isinstance(dbg.run(timeout=1), stops.LimitStop)
        dbg.press("a")
        stop = dbg.run(timeout=20 * TIME_SCALE)
        assert isinstance(stop, stops.ExitedStop) and stop.status == ord("a")
        assert dbg.regs.es == 0x9FFF


@pytest.mark.kvm
def test_a_program_waits_for_a_tick_and_returns(tmp_path: Path) -> None:
    """Interrupts are on and let through, as in DOS; ``ret`` ends at the prefix."""
    code = "31c0 8ec0 26a16c04 263b066c04 74f9 ba1801 b409 cd21 c3"  # 46Ch of the BIOS data area; 21h, AH=9; ret
    (tmp_path / "tick.com").write_bytes(bytes.fromhex(code).ljust(0x18, b"\x90") + b"tick$")
    with kvmdbg.open(tmp_path / "tick.com", serial="none") as dbg:
        stop = dbg.run(timeout=20 * TIME_SCALE)
        assert isinstance(stop, stops.ExitedStop) and (stop.status, stop.text) == (0, "the program ended (int 20h)")
        assert dbg.screen()[0] == "tick"

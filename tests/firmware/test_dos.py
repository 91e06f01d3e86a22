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
    for ax in (0x3D00, 0x3D02, 0x2C00):
        pc.call(0x21, ax=ax)
        assert pc.carry
    assert [said.partition(":")[0].partition(",")[2] for said in pc.said] == [
        " AH=0x3d (DOS), before 0000", " AH=0x2c (DOS), before 0000",
    ]  # fmt: skip


@pytest.mark.parametrize(("interrupt", "ax"), [(0x20, 0), *((0x21, ax) for ax in (0x0000, 0x4C00, 0x0900, 0x0200))])
def test_others_find_no_dos(interrupt: int, ax: int) -> None:
    pc = Pc().start()
    assert pc.call(interrupt, ax=ax, dx=0x41) is None
    assert (pc.line(0), pc.ax) == ("", ax)
    assert f"int {interrupt:#x} (DOS)" in pc.said[0] and "nobody has set its vector" in pc.said[0]


@pytest.mark.kvm
def test_a_program_waits_for_a_tick_and_returns(tmp_path: Path) -> None:
    """Interrupts are on and let through, as in DOS; ``ret`` ends at the prefix."""
    code = "31c0 8ec0 26a16c04 263b066c04 74f9 ba1801 b409 cd21 c3"  # 46Ch of the BIOS data area; 21h, AH=9; ret
    (tmp_path / "tick.com").write_bytes(bytes.fromhex(code).ljust(0x18, b"\x90") + b"tick$")
    with kvmdbg.open(tmp_path / "tick.com", serial="none") as dbg:
        stop = dbg.run(timeout=20 * TIME_SCALE)
        assert isinstance(stop, stops.ExitedStop) and (stop.status, stop.text) == (0, "the program ended (int 20h)")
        assert dbg.screen()[0] == "tick"

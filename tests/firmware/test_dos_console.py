"""int 21h: lines from the keyboard, and the console's handles."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.build import from_assembly
from kvmdbg.engine import stops
from tests.conftest import TIME_SCALE
from tests.firmware.machine import Pc

BUFFER = 0x10200
BACKSPACE, ENTER, UP = 0x0E08, 0x1C0D, 0x4800


@pytest.fixture
def pc() -> Pc:
    pc = Pc().start()
    pc.write(0x10000, b"\xcd\x20")
    return pc


def press(pc: Pc, *keys: int | str) -> None:
    for key in keys:
        for code in [key] if isinstance(key, int) else [0x1E00 | ord(char) for char in key]:
            pc.call(0x16, ax=0x0500, cx=code)


def test_a_line_into_a_buffer(pc: Pc) -> None:
    """At most one less than the first byte says, which has room for Enter."""
    pc.write(BUFFER, b"\x05" + b"?" * 9)
    press(pc, "ab")
    pc.call(0x21, ax=0x0A00, dx=0x200, ds=0x1000)
    assert (pc.waits, pc.ax, pc.line(0)) == (True, 0x0A00, "ab")
    assert pc.read(BUFFER, 9) == b"\x05" + b"?" * 8, "not before Enter"
    press(pc, BACKSPACE, UP, "cdefg", ENTER)
    pc.call(0x21, ax=0x0A00, dx=0x200, ds=0x1000)
    assert (pc.waits, pc.line(0)) == (False, "acde")
    assert pc.read(BUFFER, 9) == b"\x05\x04acde\r??"
    press(pc, BACKSPACE, ENTER, "next")
    pc.call(0x21, ax=0x0A00, dx=0x200, ds=0x1000)
    assert pc.read(BUFFER, 4) == b"\x05\x00\rc", "of the second line nothing"
    pc.write(BUFFER, b"\0\xff\xff")
    pc.call(0x21, ax=0x0A00, dx=0x200, ds=0x1000)
    assert (pc.waits, pc.read(BUFFER, 3)) == (False, b"\0\0\xff")


def test_a_line_by_handle_is_given_in_pieces(pc: Pc) -> None:
    pc.call(0x21, ax=0x3F00, cx=2, dx=0x200, ds=0x1000)
    assert pc.waits
    press(pc, "abc", ENTER)
    found = b""
    for count in (2, 1, 0, 9):
        pc.call(0x21, ax=0x3F00, cx=count, dx=0x200, ds=0x1000)
        assert (pc.waits, pc.carry, pc.ax) == (False, False, min(count, 2))
        found += pc.read(BUFFER, pc.ax)
    assert found == b"abc\r\n"
    pc.call(0x21, ax=0x3F00, cx=9, dx=0x200, ds=0x1000)
    assert pc.waits, "the next line"
    assert pc.line(0) == "abc"
    pc.say("x")
    assert pc.line(1) == "x"


def test_a_line_into_a_buffer_while_one_by_handle_is_read(pc: Pc) -> None:
    """Each is a line of its own, as in DOS."""
    press(pc, "abc", ENTER, "x", ENTER)
    pc.call(0x21, ax=0x3F00, cx=1, dx=0x200, ds=0x1000)
    assert pc.read(BUFFER, 1) == b"a"
    pc.write(BUFFER, b"\x20")
    pc.call(0x21, ax=0x0A00, dx=0x200, ds=0x1000)
    assert pc.read(BUFFER, 4) == b"\x20\x01x\r"
    pc.call(0x21, ax=0x3F00, cx=9, dx=0x200, ds=0x1000)
    assert (pc.ax, pc.read(BUFFER, 4)) == (4, b"bc\r\n")


def test_nothing_by_handle_needs_no_line(pc: Pc) -> None:
    pc.call(0x21, ax=0x3F00, cx=0, dx=0x200, ds=0x1000)
    assert (pc.waits, pc.carry, pc.ax) == (False, False, 0)


def test_output_by_handle(pc: Pc) -> None:
    pc.write(BUFFER, b"one$\r\ntwo and no more")
    for handle in (1, 2):
        pc.call(0x21, ax=0x4000, bx=handle, cx=9, dx=0x200, ds=0x1000)
        assert (pc.ax, pc.carry) == (9, False)
    assert [pc.line(row) for row in range(3)] == ["one$", "twoone$", "two"]


@pytest.mark.parametrize("ax", [0x3E00, 0x3F00, 0x4000, 0x4400])
def test_handles_that_are_not_open(pc: Pc, ax: int) -> None:
    pc.call(0x21, ax=ax, bx=5, cx=1, dx=0x200, ds=0x1000)
    assert (pc.carry, pc.ax, pc.waits, pc.said) == (True, 6, False, [])


def test_what_the_handles_are(pc: Pc) -> None:
    for handle in range(3):
        pc.call(0x21, ax=0x4400, bx=handle)
        assert (pc.carry, pc.dx) == (False, 0x80D3), "a device, and the console"
        pc.call(0x21, ax=0x3E00, bx=handle)
        assert not pc.carry
    pc.call(0x21, ax=0x4401, bx=1)
    assert pc.carry and "AH=0x44 (DOS)" in pc.said[0]


@pytest.mark.parametrize("function", [1, 7, 8])
def test_keys_are_forgotten_once(pc: Pc, function: int) -> None:
    """Where the function waits it is called again, as the BIOS's code does, with the registers of then."""
    press(pc, UP, "old")
    pc.call(0x21, ax=0x0700)
    pc.call(0x21, ax=0x0C00 | function)
    again = pc.ax
    assert pc.waits
    press(pc, "new")
    pc.call(0x21, ax=again)
    assert (pc.al, pc.waits) == (ord("n"), False)


def test_output_behind_forgotten_keys(pc: Pc) -> None:
    press(pc, "old")
    pc.call(0x21, ax=0x0C06, dx=ord("?"))
    assert (pc.al, pc.waits, pc.line(0)) == (ord("?"), False, "?")
    pc.call(0x21, ax=0x0C06, dx=0xFF)
    assert (pc.al, pc.waits, pc.zero) == (0, False, True)


def test_a_line_behind_forgotten_keys(pc: Pc) -> None:
    pc.write(BUFFER, b"\x09")
    press(pc, "old")
    pc.call(0x21, ax=0x0C0A, dx=0x200, ds=0x1000)
    again = pc.ax
    press(pc, "new", ENTER)
    pc.call(0x21, ax=again, dx=0x200, ds=0x1000)
    assert pc.read(BUFFER, 6) == b"\x09\x03new\r"
    press(pc, "old")
    pc.call(0x21, ax=0x0C00)
    assert (pc.al, pc.waits) == (0, False)
    pc.call(0x21, ax=0x0B00)
    assert pc.al == 0


PROGRAM = """
    mov cl, [0x80]; mov ch, 0; mov dx, 0x81; mov bx, 1; mov ah, 0x40; int 0x21
    mov dx, 0x200; mov byte ptr [0x200], 20; mov ah, 0x0a; int 0x21
    mov bx, 0; mov cx, 1; mov dx, 0x300; mov ah, 0x3f; int 0x21
    mov al, [0x300]; sub al, [0x202]; mov ah, 0x4c; int 0x21
"""


@pytest.mark.kvm
def test_a_program_reads_lines(tmp_path: Path) -> None:
    code, _ = from_assembly(PROGRAM, tmp_path, address=0x100)
    program = tmp_path / "lines.com"
    program.write_bytes(code.read_bytes())
    with kvmdbg.open(program, cmdline="a line", serial="none") as dbg:
        assert isinstance(dbg.run(timeout=1), stops.LimitStop)
        assert dbg.screen()[0] == " a line"
        dbg.type("bc\n")
        assert isinstance(dbg.run(timeout=1 * TIME_SCALE), stops.LimitStop)
        dbg.type("de\n")
        stop = dbg.run(timeout=20 * TIME_SCALE)
        assert isinstance(stop, stops.ExitedStop) and stop.status == 2

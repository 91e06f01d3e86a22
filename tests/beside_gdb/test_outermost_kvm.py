"""Behind the function that the program starts in there is no frame, whatever lies on the stack: as in gdb."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import FLAGS, both, differences
from tests.e2e.debuggers import TIME_SCALE

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]
SOURCE = """\
int pair[2] = {1, 2};
__attribute__((noinline)) int f(int n) { return pair[0] + n; }
void _start(void) { pair[1] = f(3); for (;;) __asm__("hlt"); }
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "a.c").write_text(SOURCE)
    command = ["gcc", *FLAGS.split(), "-O0", "-fasynchronous-unwind-tables", "-o", "a.elf", "a.c"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    return tmp_path / "a.elf"


def test_a_session(program: Path) -> None:
    lines = ["starti", "bt", "break f", "c", "bt", "up", "up", "frame 2", "finish", "down", "finish", "p $"]
    theirs, ours = both(program, lines)
    assert [one for one in differences(theirs, ours) if ": sp: " not in one] == []


def test_further_than_there_are_frames(program: Path) -> None:
    """As far as it goes; and a breakpoint that is not stood at is passed no more often."""
    lines = ["starti", "break f", "continue 3", "up 9", "up 9", "down 8", "down 8", "up-silently 7", "up-silently 7"]
    theirs, ours = both(program, lines)
    assert [one for one in differences(theirs, ours) if ": sp: " not in one] == []


def test_why_there_is_none(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        session.break_at("f")
        session.run(timeout=20 * TIME_SCALE)
        assert session.backtrace().end == "the program starts here"
        interpreter = Interpreter(session)
        list(interpreter.execute("up"))
        with pytest.raises(KvmdbgError, match="frame 1 is the outermost one that is known"):
            list(interpreter.execute("finish"))


def test_find_takes_two_negative_addresses(program: Path) -> None:
    """The first and the last of a range, as in gdb; what was found is an address."""
    lines = ["starti", "find /w &pair, &pair[2], 2", "p $_", "whatis $_", "p $numfound", "find -4096, -4000, (char)1"]
    theirs, ours = both(program, lines)
    assert [one for one in differences(theirs[1:], ours[1:]) if ": sp: " not in one and ": pc: " not in one] == []

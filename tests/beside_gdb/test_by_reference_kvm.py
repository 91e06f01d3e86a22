"""C++: objects that functions get and return by where they are, functions of what others return, bases: as in gdb."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import kvmdbg
from tests.beside_gdb.sessions import FLAGS, both, differences
from tests.beside_gdb.test_sessions_kvm import lines_of
from tests.e2e.debuggers import TIME_SCALE

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCE = Path(__file__).parent / "everyday" / "by_reference.cc"
BOUND = "p of_ended(ended)|p of_plain(1, plain)|p of_holds(holds, 1)|p of_w(w, 2)|p of_w(make_w(3), 4)"
RETURNED = """p make_copied(7)|p make_moved(8)|p make_ended(9)|p make_plain(10)|p make_derived(11)|p make_box(12)
    p make_w(13)|p w.plus(3)|p w.plus(3).v(3)|p w.plus(1).plus(2)|p copied.add(3).add(4)|p make_w(3).v(4)
    p make_copied(4).add(5)|tbreak make_w|p make_w(1).x"""
TEMPORARY = """p (sum + 1).get(1)|p (sum + 1).get(1l)|p make_sum(4).bee()|p sum + 1 + 2|p make_sum(2)[3]
    p make_sum(1).st(2)
    p make_sum(3).Base::bee()|p sum.get|p &Sum::get|p sum.get(1)|whatis sum.get"""
BASES = """p w|p both|p within|p derived|p -pretty -- w|p -pretty -- both|p -pretty -- within|p -pretty -- derived|p/x w
    output within"""


@pytest.mark.parametrize("lines", [BOUND, RETURNED, TEMPORARY, BASES], ids=["bound", "returned", "temporary", "bases"])
@pytest.mark.parametrize("bits", [32, 64])
def test_a_session(tmp_path: Path, bits: int, lines: str) -> None:
    program = built(tmp_path, bits)
    typed = ["starti", "break here", "c", *lines_of(lines)]
    theirs, ours = both(program, typed)
    found = differences(theirs[3:], ours[3:])
    assert "\n".join(one for one in found if ": said: " in one or ": failed: " in one) == ""


def test_an_argument_is_a_copy_of_the_bytes(tmp_path: Path) -> None:
    """gdb calls the class's own constructor for that."""
    with kvmdbg.open(built(tmp_path, 64), memory="16M") as session:
        session.break_at("here")
        session.run(timeout=20 * TIME_SCALE)
        asked = ("of_copied(copied, 2)", "of_copied(make_copied(2), 3)", "of_derived(derived)", "of_box(box, 2)")
        assert [session.evaluate(text).value for text in asked] == [6, 6, 6, 16]


def built(folder: Path, bits: int) -> Path:
    made = folder / "by_reference.elf"
    more = f"-m{bits} -std=c++20 -fno-exceptions -fno-rtti -O0 -o"
    subprocess.run(["g++", *FLAGS.split(), *more.split(), str(made), SOURCE.name], cwd=SOURCE.parent, check=True)
    return made

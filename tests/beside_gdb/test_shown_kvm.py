"""Pointers with typedefs, flexible arrays, long runs in texts, ptype/o of arrays of structures: shown as gdb does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.beside_gdb.sessions import PROGRAM, both, build, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

ASKED = """whatis place + 1|whatis again - 1|p place + 1|p again + 1|p $ + 1|whatis place|whatis place += 1|p text + 1
    whatis text + 1|p function + 1|whatis place - again
    p/x flexible|p/d flexible|p flexible|p/a flexible|p/x flexible.data|output/x flexible
    p run|p runs|p ends|p run@2|set print null-stop on|p run|p ends|set print elements 3|p run|p text|p runs
    set print null-stop off|p run|p runs
    ptype/o points|ptype/o each|ptype/o &points|ptype/o struct point[2]|ptype/ox points|ptype/o struct point
    ptype/o fixed|ptype/o nothing|ptype/o none|ptype/o *each[0]|ptype/o numbers|ptype/r points|ptype/o function"""


def test_a_session(tmp_path: Path) -> None:
    program = build(tmp_path, "-O0", PROGRAM.with_name("shown.c"))
    theirs, ours = both(program, ["starti", *lines_of(ASKED)])
    assert "\n".join(one for one in differences(theirs, ours) if ": said: " in one or ": failed: " in one) == ""

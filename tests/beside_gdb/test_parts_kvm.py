"""Optimized structures of which only some members are kept: these are shown, as in gdb."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import FLAGS, both, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

ASKED = """tbreak here|c|up|info locals|p some|p/x some|p some.a|p some.c|p some.inner|p some.inner.y|whatis some.name
    p sizeof(some)|p &some|p &some.a"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    made, source = tmp_path / "parts.elf", Path(__file__).parent / "everyday" / "parts.c"
    subprocess.run(["gcc", *FLAGS.split(), "-O2", "-o", made, source], check=True, timeout=60)
    return made


def test_as_gdb(program: Path) -> None:
    typed = ["starti", *lines_of(ASKED)]
    theirs, ours = both(program, typed)
    found = [one for one in differences(theirs, ours) if ": said: " in one or "variables" in one]
    assert "\n".join(one for one in found if not one.startswith("p &")) == ""
    assert [one.failed for one in ours] == [one.failed for one in theirs]
    assert any("c = 7, name = {<optimized out>, <optimized out>" in (one.said or "") for one in ours)


def test_what_is_not_kept_is_no_number(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        for line in ("tbreak here", "continue", "up"):
            list(interpreter.execute(line))
        for asked in ("some.inner.x", "some.high", "some.name", "some.inner.x + 1", "some.name[1]"):
            with pytest.raises(KvmdbgError, match="optimized out"):
                session.evaluate(asked)
        kept = session.evaluate("some")
        with pytest.raises(KvmdbgError, match="optimized out"):
            int.from_bytes(kept.bytes, "little")

"""Constants that are in no memory, as static members may be, and parts of structures in registers: as in gdb."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import FLAGS, both, differences, of_gdb, of_kvmdbg
from tests.beside_gdb.test_sessions_kvm import lines_of
from tests.e2e.debuggers import GDBS, TIME_SCALE

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCE = Path(__file__).parent / "everyday" / "constants.cc"
MEMBERS = """p all|p Constants::half|p Constants::name|p all.in|p all.half * 2|p all.name|p Constants::wide
    p Constants::kind
    p Constants::used|p outer|p of_file|p outer_in|whatis Constants::half|p sizeof(all.row)"""


PARTS = """p Constants::in.b|p all.in.b|p all.row[1]|p Constants::row[2]|p Constants::row[all.plain]|p all.name[1]
    p outer_in.b|p outer_row[1]|p outer|p of_file|ptype outer_in|p outer_in.a + all.in.a|p all.in.a == 1
    p sizeof(all.in.a)|whatis all.in.b|p $v = all.in|p $v.b|break takes|c|p small|p small.x|p small.row|p small.row[1]
    p small.row[index]|p small.x + small.row[0]|whatis small.row[1]|p/x small.x|output small.x|p small.row[1] == 3"""


def answers(made: Path, flags: str, lines: str) -> list[str]:
    """What is answered differently on a program that is compiled to ``made``."""
    command = ["g++", *FLAGS.replace("-mgeneral-regs-only", "").split(), "-std=c++20", *flags.split(), "-o", str(made)]
    subprocess.run([*command, SOURCE.name], cwd=SOURCE.parent, check=True, timeout=60)
    typed = ["starti", *lines_of(lines)]
    theirs, ours = both(made, typed)
    return [one for one in differences(theirs[1:], ours[1:]) if ": said: " in one or ": failed: " in one]


@pytest.mark.parametrize("flags", ["-gdwarf-5", "-gdwarf-4", "-gdwarf-3 -m32"])
def test_static_members(tmp_path: Path, flags: str) -> None:
    assert "\n".join(answers(tmp_path / "constants.elf", flags, MEMBERS)) == ""


@pytest.mark.parametrize("flags", ["-O0", "-O2", "-O2 -gdwarf-4"])
def test_parts(tmp_path: Path, flags: str) -> None:
    assert "\n".join(answers(tmp_path / "constants.elf", flags, PARTS)) == ""


def test_what_has_no_address(tmp_path: Path) -> None:
    made = tmp_path / "constants.elf"
    assert answers(made, "-O2", "p all.in") == []
    with kvmdbg.open(made, memory="16M") as session:
        session.break_at("takes")
        session.run()
        assert session.evaluate("*small.row").value == 2
        for text in ("&small.x", "small.x = 3", "small.row + 1"):
            with pytest.raises(KvmdbgError, match="'small' is in a register here, it has no address"):
                session.evaluate(text)
        with pytest.raises(KvmdbgError, match="no such element"):
            session.evaluate("small.row[5]")


def test_variables_that_were_optimized_away(tmp_path: Path) -> None:
    source, made = tmp_path / "lost.c", tmp_path / "lost.elf"
    source.write_text(
        "static int lost_away; static const int five = 5; extern int other;\n"
        'void _start(void) { if (0) lost_away++, other++; for (;;) __asm__("hlt"); }\n'
    )
    command = ["gcc", *FLAGS.split(), "-O2", "-o", str(made), source.name]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=60)
    typed = ["starti", *lines_of("whatis lost_away|p sizeof(lost_away)|p five|ptype lost_away|p sizeof(five) + five")]
    theirs = of_gdb(GDBS["distribution"], made, typed)
    with kvmdbg.open(made, memory="16M") as session:
        ours = of_kvmdbg(session, typed, 20 * TIME_SCALE)
        with pytest.raises(KvmdbgError, match="lost_away: optimized out"):
            session.evaluate("lost_away")
        with pytest.raises(KvmdbgError, match="no symbol 'other'"):
            session.evaluate("other")
        interpreter = Interpreter(session)
        said = [
            one.plain(200) for line in ("info variables lost", "info address five") for one in interpreter.execute(line)
        ]
    assert [one for one in differences(theirs[1:], ours[1:]) if ": said: " in one or ": failed: " in one] == []
    assert "1:\tstatic int lost_away;" in said[0]
    assert said[1] == 'Symbol "five" is constant.'


def test_what_lto_has_copied_is_there(tmp_path: Path) -> None:
    """Its first copy is nowhere, as what was optimized away; a variable of another unit may have its name."""
    for name, text in (
        ("one.c", "int shared = 4; static int mine = 2; int get(void);\n"
                  "void _start(void) { shared = get() + mine++; for (;;) __asm__(\"hlt\"); }\n"),
        ("two.c", "extern int shared; static int mine = 8;\n"
                  "__attribute__((noinline)) int get(void) { return shared + mine++; }\n"),
    ):  # fmt: skip
        (tmp_path / name).write_text(text)
    made = tmp_path / "lto.elf"
    subprocess.run(["gcc", *FLAGS.split(), "-O2", "-flto", "-o", str(made), "one.c", "two.c"], cwd=tmp_path, check=True)
    typed = ["starti", "p shared", "break get", "c", "p shared", "p mine", "finish", "p mine"]
    theirs, ours = both(made, typed)
    assert [one for one in differences(theirs[1:], ours[1:]) if ": said: " in one or ": failed: " in one] == []

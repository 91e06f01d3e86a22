"""Arrays as long as the program says, whole structures and arrays that are assigned: as gdb has them."""

from __future__ import annotations

from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import PROGRAM, both, build, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

LENGTHS = """break shows|c|up|p line|p square|p names|whatis line|whatis square|ptype square|whatis *square
    p sizeof line|p sizeof(square)|p square[1]|p square[1][2]|p names[1]|p *line@2|p line[1] + 1|p/x line|p *rows
    p &line == line|p sizeof line / sizeof line[0]|c|up|p line|p square|p names
    p line = {7, 8, 9}|p line|p square[2] = {1}|p square[2]"""
WHOLES = """set var pair = {5, 6}|p pair|p pair = {8}|p pair|p pairs = {{1, 2}, {3, 4}, {5}}|p pairs[2]
    p pairs[0] = pairs[1]|p (struct pair){3, 4}|whatis (struct pair){3, 4}|p sizeof (struct pair){3, 4}
    p (int[3]){1, 2, 3}|p pair = {1.5, 2.7}
    p bits = {2, -1, {7, 8}}|p bits|p pair = {1, 2, 3}|p pair|p deep.at[0][0].in[1] = {{8, 9}}|p deep
    p pair = {struct pair}&pairs[1]|p pair = (struct pair){7, 8}|p (struct pair){struct pair}&pairs|ptype/o struct deep
    p $v = {1, 2}|p $v[1]|p $v = {sum, 7}|p $v|p numbers = {9, 8}|p numbers"""


def session(folder: Path, optimize: str, lines: list[str]) -> list[str]:
    program = build(folder, optimize, PROGRAM.with_name("values.c"))
    lines = ["starti", *lines]
    theirs, ours = both(program, lines)
    return [one for one in differences(theirs[1:], ours[1:]) if ": sp: " not in one]


def test_arrays_as_long_as_the_program_says(tmp_path: Path) -> None:
    assert "\n".join(session(tmp_path, "-O0", lines_of(LENGTHS))) == ""


def test_such_arrays_where_gdb_does_not_know_how_long_they_are(tmp_path: Path) -> None:
    program = build(tmp_path, "-O0", PROGRAM.with_name("values.c"))
    with kvmdbg.open(program, memory="16M") as guest:
        guest.break_at("shows")
        guest.run()
        for text, shown in {
            "lengths::line": "{10, 20}",
            "lengths::square[1]": "{0, 1, 2}",
            "sizeof lengths::square": "24",
        }.items():
            assert guest.c_variables.printer().value(guest.evaluate(text)) == shown
        list(Interpreter(guest).execute("up"))
        assert guest.type_of("rows").name == "int (*)[2]"
        assert guest.evaluate("rows[1][0]").value == 3


def test_whole_structures_and_arrays(tmp_path: Path) -> None:
    assert "\n".join(session(tmp_path, "-O0", lines_of(WHOLES))) == ""


def test_initialisers_that_gdb_has_not(tmp_path: Path) -> None:
    program = build(tmp_path, "-O0", PROGRAM.with_name("values.c"))
    with kvmdbg.open(program, memory="16M") as guest:
        interpreter = Interpreter(guest)
        interpreter.settings["context"] = ()

        def said(line: str) -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute(line)).partition(" = ")[2]

        assert said("print (struct pair){3, 4}.b") == "4"
        assert said("print (int[3]){1, 2, 3}[1]") == "2"
        assert said("print pair = {.b = 5}") == "{a = 0, b = 5}"
        assert said("print numbers = {[2] = 7, 6}") == "{0, 0, 7, 6}"
        assert said('print text = "hi"') == '"hi\\000\\000\\000\\000\\000"'
        assert said("print any = {6}") == '{i = 6, c = "\\006\\000\\000"}'
        for line, reason in {
            "print pair = {1, 2, 3}": "struct pair has room for 2 items",
            "print pair = {.c = 1}": "struct pair has no member c",
            "print pair = {{1}, 2}": "the elements of an array|cannot be|has no address",
            'print text = "too long for it"': "cannot be assigned to a char \\[8\\]",
            "print numbers += {1}": "'\\+=' cannot change a whole array",
            "print lengths::square[1]": "no frame of lengths|how long the rows",
        }.items():
            with pytest.raises(KvmdbgError, match=reason):
                said(line)
        assert said("print pair") == "{a = 0, b = 5}"


def test_what_the_session_knows(tmp_path: Path) -> None:
    program = build(tmp_path, "-O0", PROGRAM.with_name("values.c"))
    with kvmdbg.open(program, memory="16M") as guest:
        interpreter = Interpreter(guest)
        interpreter.settings["context"] = ()

        def said(line: str) -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute(line)).rpartition(" = ")[2]

        assert said("print $_hit_bpnum") == "void"
        for line in ("break _start", "break shows if $_thread == 1 && $_inferior == 1", "run", "continue"):
            said(line)
        assert said("print $_hit_bpnum") == "2" and said("whatis $_hit_bpnum") == "int"
        assert (said("print $_thread"), said("print $_gthread + 1")) == ("1", "2")
        said("set print pretty on")
        assert said('print $_gdb_setting("print pretty")') == "1"
        assert said('print $_gdb_setting_str("print elements")') == '"200"'
        with pytest.raises(KvmdbgError, match="there is no setting 'nonesuch'"):
            said('print $_gdb_setting("nonesuch")')

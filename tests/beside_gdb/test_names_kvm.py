"""C++: functions in functions, templates, operators, words for operators, one name in several scopes: as in gdb."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from kvmdbg.language import classes
from kvmdbg.language.overloads import best
from tests.beside_gdb.sessions import FLAGS, both, differences, of_gdb
from tests.beside_gdb.test_sessions_kvm import lines_of
from tests.e2e.debuggers import GDBS, TIME_SCALE

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCE = Path(__file__).parent / "everyday" / "names.cc"
INSIDE = """break here|c|up|p z|p k|p local + 0|p __closure->__k|up|p local|c|up|p n|p *this|p this->n|p n + 1"""
VALUES = """break here|c|up|p w|p outer::inner::w|p ::w|p ::outer::one|p nothing|p Row<int, 3>::rows|p Row<char,5>::rows
    p Row<int, 3>::rows + 1|p three + three|p three == three|p three + three + three|p nine - nine|whatis three + three
    p three == (three + three)|p -three|p yes and no|p yes or no|p not yes|p yes and not no
    p alignof(int)|p alignof(Apart)
    whatis alignof(int)|p alignof(Length)|p over('c')|p over(1, 2)|p hidden()|ptype three|p greater<int>(3, 4)
    p three += 1"""
PLACES = """operator+|greater|greater<int>|Row::first|Row<int, 3>::first|Length::operator()|Length::operator bool
    Length::operator+=|Length::operator-|(anonymous namespace)::hidden|hidden|outer::operator-|count|over|over(char)
    Length::operator==(Length const&) const|Length::operator==(const Length &) const if n == 3"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("names") / "names.elf"
    more = "-std=c++20 -fno-exceptions -fno-rtti -O0 -o"
    command = ["g++", *FLAGS.split(), *more.split(), str(made), SOURCE.name]
    subprocess.run(command, cwd=SOURCE.parent, check=True, timeout=60)
    return made


@pytest.mark.parametrize("lines", [INSIDE, VALUES], ids=["inside", "values"])
def test_a_session(program: Path, lines: str) -> None:
    typed = ["starti", *lines_of(lines)]
    theirs, ours = both(program, typed)
    found = differences(theirs[1:], ours[1:])
    assert (
        "\n".join(one for one in found if not any(f": {what}: " in one for what in ("sp", "function", "variables")))
        == ""
    )


def test_places(program: Path) -> None:
    typed = [f"break {one}" for one in lines_of(PLACES)]
    theirs = of_gdb(GDBS["distribution"], program, ["starti", *typed, "info breakpoints"])
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        for line in typed:
            list(interpreter.execute(line))
        ours = [len(one.places) or 1 for one in session.breakpoints]
    assert not [one.line for one in theirs if one.failed]
    assert ours == [1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1]


def test_what_is_listed(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()

        def said(line: str) -> list[str]:
            return "\n".join(one.plain(200) for one in interpreter.execute(line)).splitlines()

        assert [one.partition("\t")[2] for one in said("info functions ^over")[3:]] == [
            "int over(int);", "int over(char);", "int over(int, int);",
        ]  # fmt: skip
        assert "\tRow<char, 5>;" in "\n".join(said("info types ^Row"))
        assert "\tLength &Length::operator+=(int);" in "\n".join(said("info functions operator"))
        assert "\tLength::operator bool();" in "\n".join(said("info functions operator"))
        assert said("print count<int, char>")[0].endswith("<count<int, char>(int, char)>")
        with pytest.raises(KvmdbgError, match="needs an object of a class with virtual functions"):
            said("print dynamic_cast<Length *>(&three)")
        session.break_at("here")
        session.run()
        shown = "\n".join(said("backtrace"))
        assert "captures::{...}::operator()+" in shown and " here+0x" in shown
        assert "_Z4here" not in shown


def test_overloads_in_each_others_arguments(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments are looked at once for their types, and once more: not twice as often with each call."""
    asked = []
    monkeypatch.setattr(classes, "best", lambda *given: asked.append(given) or best(*given))
    with kvmdbg.open(program, memory="16M") as session:
        session.break_at("here")
        session.run(timeout=20 * TIME_SCALE)
        assert session.evaluate("over(" * 15 + "1" + ")" * 15).value == 1
    assert len(asked) < 15 * 15

"""What names of C++ mean by where the code stands, by using, by base classes and by arguments, as in gdb."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import kvmdbg
from kvmdbg.commands.interpreter import Interpreter
from kvmdbg.errors import KvmdbgError
from tests.beside_gdb.sessions import FLAGS, both, differences
from tests.beside_gdb.test_sessions_kvm import lines_of

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SOURCE = Path(__file__).parent / "everyday" / "meanings.cc"
SESSIONS = {
    "using": """stepi 6|ptype outer::Point|p sizeof(outer::Point)|p outer::depth|p outer::solo(1)|p outer::area(3)
        p outer::area(3,4)|p outer::area(point)|p oi::depth|p oi::area(3)|p oi::solo(3)|p oi::low|ptype oi::Point
        p in_opened|p of_opened(3)|ptype Inside|p through::depth|p through::solo(1)|p through::own|ptype through::Point
        p area(point)|p twin|p ::twin|p v1::versioned(1)""",
    "members by classes": """p Counter::count|p &Counter::count|p Counter::plain|p Counter::twice|p Counter::twice(4)
        ptype Counter::number|whatis Counter::number|p sizeof(Counter::number)|ptype Counter::Nest|p (Counter::number)5
        p Base::plain|p &Counter::plain|p &Counter::b|p Counter::first""",
    "in functions": """p locals|p &locals|p locals::st|p remembers|p remembers::kept|whatis locals|whatis remembers
        p get|whatis get|tbreak locals|c|p q::value|p q::inner::depth|p q::depth|p q::solo(1)|p area(3)|p area(3,4)
        p solo(3)|ptype Point|p sizeof(Point)|p (Level)3|p low|p twin|p st|p local.m()|p closure(3)|p locals|p n|p get()
        p get|p total""",
    "in members": """tbreak Counter::get|c|p n|p ::n|p get()|p get|p ::get()|p this->get()|p total|p ::total|p total + n
        p b|p plain(3)|p plain|p twice(3)|p twice|p count|p over(1)|p over('a')|p (number)4|ptype number|p first
        p Base::b|p nest|p sizeof(Nest)|p &n|p &plain|whatis get|whatis plain|whatis n|ptype get|whatis true
        tbreak Point::sum|c|p area(3)|p solo(1)|p depth|p low|p twin|p sum()|p x + y|p value|p inner::depth
        p inner::solo(1)""",
    "places": """tbreak locals|c|tbreak remembers|tbreak Local::m|tbreak locals(int)::Local::m|tbreak oi::solo
        tbreak Counter::plain|c|delete|list locals|info line remembers""",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("meanings") / "meanings.elf"
    more = "-std=c++20 -fno-exceptions -fno-rtti -O0 -o"
    command = ["g++", *FLAGS.split(), *more.split(), str(made), SOURCE.name]
    subprocess.run(command, cwd=SOURCE.parent, check=True, timeout=60)
    return made


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session(program: Path, name: str) -> None:
    typed = ["starti", *lines_of(SESSIONS[name])]
    theirs, ours = both(program, typed)
    leave = (": sp: ", ": function: ", ": variables: ")
    found = [one for one in differences(theirs[1:], ours[1:]) if not any(each in one for each in leave)]
    assert "\n".join(re.sub(r"_Z\d+(\w+)i\b", r"\1", one) for one in found if not one.startswith("info line")) == ""


def test_places_with_functions_inside(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)

        def said(line: str) -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute(line))

        for place, name in {
            "locals": "locals(int)", "locals(int)::Local::m": "Local::m", "oi::solo": "outer::inner::solo",
            "Counter::plain": "Base::plain", "outer::solo": "outer::inner::solo",
        }.items():  # fmt: skip
            said("delete")
            assert re.search(r"\(0x[0-9a-f]+\)", said(f"break {place}"))
            assert name in said("info breakpoints") or name in said(f"info symbol {place}")
        assert [row.split()[0] for row in said("info scope locals").splitlines()[1:]] == [
            "given", "st", "local", "closure", "r",
        ]  # fmt: skip
        assert said("print versioned(1)").endswith(" = 4")
        for line in ("break &Counter::plain", "break *&Counter::plain", "x/i &Counter::plain"):
            with pytest.raises(KvmdbgError, match="a pointer to a member, is no address"):
                said(line)


def test_completion_knows_classes_and_namespaces(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        session.break_at("Counter::get")
        session.run()
        interpreter = Interpreter(session)

        def completed(line: str) -> str:
            said = "\n".join(one.plain(200) for one in interpreter.execute(f"complete {line}"))
            return " ".join(one.rpartition(" ")[2].removeprefix(line.rpartition(" ")[2]) for one in said.split("\n"))

        whole = "b count get n nest over plain total twice"
        assert completed("p this->") == completed("p counter.") == completed("p (&counter)->") == whole
        assert completed("p Counter::") == f"Nest {whole}" and completed("break Counter::") == "get over plain twice"
        assert completed("p point.s") == "um" == completed("p outer::inner::Point::s")
        assert (completed("p (1 + to"), completed("p twi")) == ("tal", "ce n")
        assert completed("p oi::") == "Level Point area depth high low solo twin"
        assert completed("tbreak oi::") == "Point area solo" and completed("p outer::") == "inner value"
        assert (completed("break get tot"), completed("break get i"), completed("break get if tot")) == ("", "f", "al")
        assert completed("p nowhere::") == completed("break nowhere::") == ""

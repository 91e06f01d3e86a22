"""Pointers to members of C++'s classes: what they show, and the functions that are called by them, as in gdb."""

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

SOURCE = Path(__file__).parent / "everyday" / "pointers.cc"
CALLS = """p (whole.*plain)(5)|p (first.*plain)(5)|p (pointed->*plain)(5)|p (base->*area)()|p (first.*area)()
    p (whole.*area)()|p (second->*held)(3)|p (second->*weight)()|p (whole.*whole_held)(2)|p (pointed->*whole_held)(2)
    p (whole.*whole_weight)()|p (pointed->*whole_weight)()|p (whole.*whole_plain)(2)|p (whole.*held)(2)
    p (whole.*weight)()|p (whole.*both)()|p (whole.*both)().y|p (second->*place)()
    p (holder.whole->*holder.kept)(4)|p (whole.*table[0])(4)|p (whole.*&First::plain)(6)|p (base->*&First::area)()
    p (referred.*plain)(2)|p (pointed->*plain)(5) + 1|p number + (base->*area)() * 2|p $f = plain|p (whole.*$f)(2)
    whatis (whole.*plain)(5)|whatis (pointed->*both)()|p (shared->*shared_area)()|p (shared->*area)()"""
SHOWN = """p whole.*plain|p first.*plain|p whole.*area|p base->*area|whatis whole.*plain|ptype whole.*area
    p (whole.*data)|p first.*data|p whole.*whole_data|p pointed->*whole_data|p second->*whole_data|p plain|p area
    p whole_held|p whole_weight|p none|p held|p both|p table|p holder|p data|p whole_data|p second->*place
    p &(whole.*plain)|p sizeof plain|p !none|p !plain|p none ? 1 : 2|p none || plain|p !data|p constant
    whatis constant|p shared_area"""


@pytest.fixture(scope="module", params=["-m64", "-m32"])
def program(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    made = tmp_path_factory.mktemp("pointers") / "pointers.elf"
    more = f"-std=c++20 -fno-exceptions -fno-rtti -O0 {request.param} -o"
    subprocess.run(
        ["g++", *FLAGS.split(), *more.split(), str(made), SOURCE.name], cwd=SOURCE.parent, check=True, timeout=60
    )
    return made


@pytest.mark.parametrize("lines", [CALLS, SHOWN], ids=["calls", "shown"])
def test_a_session(program: Path, lines: str) -> None:
    typed = ["starti", *lines_of(lines)]
    theirs, ours = both(program, typed)
    assert "\n".join(one for one in differences(theirs[1:], ours[1:]) if ": sp: " not in one) == ""


def test_what_gdb_has_not(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()

        def said(line: str) -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute(line)).partition(" = ")[2]

        assert said("print !no_data") == "true"  # it is -1
        said("print $step = pointed")
        assert said("print $step++->weight()") == "301"
        assert said("print (long) $step - (long) pointed == sizeof(Whole)") == "true"
        for line, reason in {
            "print whole.*plain(5)": "a call goes before",
            "print (second->*plain)(1)": "a Second is no First",
            "print (whole.*plain)(1, 2)": "takes 1 arguments, 2 were given",
            "print whole.plain(1, 2)": "takes 1 arguments, 2 were given",
            "print (whole.*number)": "a pointer to a member is expected",
        }.items():
            with pytest.raises(KvmdbgError, match=reason):
                said(line)

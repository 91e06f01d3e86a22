"""Objects as their base classes and back, virtual bases and members that are ambiguous, as in gdb."""

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

SOURCE = Path(__file__).parent / "everyday" / "inherits.cc"
HERE = ["starti", "break here", "continue", "up"]
CASTS = """p (Top)diamond|p *(Top*)&diamond|p (Top*)&diamond|p (Right*)&diamond|p (Diamond*)to_top|p *(Diamond*)to_top
    p (Diamond*)to_left|p static_cast<Top*>(&diamond)|p static_cast<Top&>(diamond)|p (Top&)diamond|p (Diamond&)*to_top
    p (Diamond&)top|p (Two*)&both|p (Two)both|p (Two&)both|p (Both*)to_two|p *(Both*)to_two|p ((Two)both).x
    p (Two*)(Both*)0|p (Both*)null|p (Top*)(long)&apart|p both|p (One)$
    p (Apart*)&both|p sizeof((Two)both)|whatis (Top&)diamond|p (Twice*)(Second*)&twice|p ((Second)twice).x"""
MEMBERS = """p both.One::x|p both.Two::x|p both.only_two|p twice.f|p twice.First::x|p twice.Second::x|p hidden.h
    p hidden.p|p diamond.a|p to_left->a|p diamond.r"""
REFUSED = {
    "print both.x": "x is ambiguous in a Both: name One::x or Two::x",
    "print twice.x": "x is ambiguous in a Twice: name First::x or Second::x",
    "print twice.only_one": "only_one is ambiguous in a Twice: name First::only_one or Second::only_one",
    "print (One)twice": "the base One is ambiguous in a Twice: cast to First or Second before",
    "print (One *)&twice": "the base One is ambiguous in a Twice",
    "print *(Diamond *)(Top *)&apart": "the class of the object at 0x[0-9a-f]+ is not known",
}


@pytest.fixture(scope="module", params=["-m64", "-m32"])
def program(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    made = tmp_path_factory.mktemp("inherits") / "inherits.elf"
    more = f"-std=c++20 -fno-exceptions -fno-rtti -O0 {request.param} -o"
    subprocess.run(
        ["g++", *FLAGS.split(), *more.split(), str(made), SOURCE.name], cwd=SOURCE.parent, check=True, timeout=60
    )
    return made


@pytest.mark.parametrize("lines", [CASTS, MEMBERS], ids=["casts", "members"])
def test_a_session(program: Path, lines: str) -> None:
    typed = [*HERE, *lines_of(lines)]
    theirs, ours = both(program, typed)
    at = len(HERE)
    fields = (": sp: ", ": variables: ")
    found = [one for one in differences(theirs[at:], ours[at:]) if not any(each in one for each in fields)]
    assert "\n".join(found) == ""


def test_what_is_said_of_what_is_ambiguous(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()

        def said(line: str) -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute(line)).partition(" = ")[2]

        for line in HERE:
            said(line)
        for line, reason in REFUSED.items():
            with pytest.raises(KvmdbgError, match=reason):
                said(line)
        assert said("print hidden.x") == "40"  # gdb calls it ambiguous; in C++ it hides the one of the virtual base
        assert said("print ((Two&)both).x") == "20"  # gdb's is 30: the one behind it
        assert said("print ((Right&)diamond).r + ((Top&)diamond).a") == "4"
        assert said("print *(Left *)to_top").endswith("l = 2}")  # gdb goes back to Diamond alone

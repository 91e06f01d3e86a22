"""One name in several scopes of C++: it means what it means where the code stands, as in gdb."""

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

SOURCE = Path(__file__).parent / "everyday" / "scopes.cc"
ASKED = """ptype D|ptype struct D|ptype/o struct D|p D|p sizeof(D)|p sizeof(struct D)|p count|p own|p sizeof(Word)
    break two::D::in|c|ptype D|ptype/o D|ptype struct D|ptype/o struct D|p sizeof(D)|p sizeof(struct D)|p (D*)b2
    p *(D*)b2|p count|p ::count|p one::count|p total|p ::total|p own|p sizeof(Word)|whatis (Word)5|p *this
    break two::deep::where|c|p own|p ::own|p count|p sizeof(D)|p total|p deep::own|p two::count|ptype Word"""

HIDDEN = """set var $t = chain|p $t++->value|whatis $t|p $t->value|p (--$t)->next|p *$t++|whatis $t|p 0 && ($t = 5)
    whatis $t|p ($i = 2, $j = chain + $i)->value|whatis $i|whatis $j|tbreak here|c|up|p z|p this->z
    p (*this).Middle::z|p this->Base::z|p this->inner::Last::z|p this->Last::z|p Middle::z|p Base::z|p Last::z
    p inner::Last::z|p this->Middle::Base::z|p this->::Middle::z|p this->Middle::plain|p this->w|p Base::w
    whatis this->Middle::z|ptype this->Base::w|p *this|p *&this->Middle::z|p &this->Base::w == &this->w|up|p last.z
    p last.Middle::z|p last.Base::z|tbreak here|c|up|p z|p this->Base::z|p this->z|p Base::z"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scopes") / "scopes.elf"
    command = ["g++", *FLAGS.split(), "-std=c++20", "-fno-rtti", "-o", str(made), SOURCE.name]
    subprocess.run(command, cwd=SOURCE.parent, check=True, timeout=60)
    return made


def test_as_gdb(program: Path) -> None:
    typed = ["starti", *lines_of(ASKED)]
    theirs, ours = both(program, typed)
    assert "\n".join(one for one in differences(theirs, ours) if ": said: " in one or ": failed: " in one) == ""


def test_members_that_hide_those_of_bases(tmp_path: Path) -> None:
    made, typed = tmp_path / "hidden.elf", ["starti", *lines_of(HIDDEN)]
    subprocess.run(["g++", *FLAGS.split(), "-o", made, SOURCE.with_name("hidden.cc")], check=True, timeout=60)
    theirs, ours = both(made, typed)
    assert "\n".join(one for one in differences(theirs, ours) if ": said: " in one or ": failed: " in one) == ""


def test_casts_by_what_an_object_really_is(program: Path) -> None:
    with kvmdbg.open(program, memory="16M") as session:
        interpreter = Interpreter(session)
        interpreter.settings["context"] = ()

        def said(line: str) -> str:
            return "\n".join(one.plain(200) for one in interpreter.execute(line)).partition(" = ")[2]

        session.break_at("two::D::in")
        session.run()
        assert said("print dynamic_cast<D *>(b2)").endswith("<second>")
        assert said("print dynamic_cast<D *>(b3)") == "(two::D *) 0x0"
        assert said("print dynamic_cast<one::D *>(b1)").endswith("<first>")
        assert said("print -object on -- *b3").startswith("(D) {")
        with pytest.raises(KvmdbgError, match="'D' is a type here"):
            said("print D")

"""C++: base classes, references, members of this, names with scopes."""

from __future__ import annotations

import re

import pytest

from tests.beside_gdb import answers_of_gdb, answers_of_kvmdbg
from tests.e2e.debuggers import GDBS
from tests.programs import gdb
from tests.programs.conftest import Debugger, Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]


@pytest.fixture(params=["-gdwarf-5", "-gdwarf-4", "-gsplit-dwarf"])
def dbg(debug: Open, request: pytest.FixtureRequest) -> Debugger:
    return debug("classes.cc", flags=f"-fno-exceptions -fno-rtti {request.param}")


def value(dbg: Debugger, text: str) -> str:
    return dbg.typed(f"print {text}").partition(" = ")[2]


def test_members_of_this_and_of_its_bases(dbg: Debugger) -> None:
    dbg.typed("break kern::Heap::alloc(int)", "run")
    assert value(dbg, "*this") == "{<kern::Base> = {tag = 9}, static total = 3, free = 0}"
    assert [value(dbg, one) for one in ("tag", "this->tag", "this->free", "n")] == ["9", "9", "0", "2"]
    assert [value(dbg, one) for one in ("kern::heap.tag", "kern::Heap::total", "heap.tag")] == ["9", "3", "9"]
    assert "struct kern::Heap : public kern::Base {" in dbg.typed("ptype this")
    assert value(dbg, "&kern::heap").endswith("<kern::heap>")
    address = re.findall(r"0x\w+", gdb(dbg.path, "print &kern::heap"))[0]
    assert address in value(dbg, "&kern::heap")


def test_references_are_what_they_refer_to(dbg: Debugger) -> None:
    dbg.typed("break hidden", "run")
    assert [value(dbg, one) for one in ("r + 1", "h.tag", "h.free")] == ["6", "9", "-2"]
    assert re.fullmatch(r"\(int &\) @0x[0-9a-f]+: 5", value(dbg, "r"))
    rows = dbg.typed("info args").splitlines()
    assert re.fullmatch(r"r +@0x[0-9a-f]+: 5 +int &", rows[1])
    assert re.fullmatch(
        r"h +@0x[0-9a-f]+: \{<kern::Base> = \{tag = 9\}, static total = \d+, free = -2\} +const kern::Heap &", rows[2]
    )
    dbg.typed("set var r = 7")
    assert value(dbg, "r").endswith(": 7")
    assert dbg.typed("whatis r") == "type = int &"


def test_names_without_debug_information(debug: Open) -> None:
    dbg = debug("classes.cc", flags="-fno-exceptions -fno-rtti -g0")
    wanted = re.findall(r"by *(0x\w+)|at (0x\w+)", gdb(dbg.path, "break kern::Heap::alloc(int)"))[0]
    said = dbg.typed("break kern::Heap::alloc(int)", "break Heap::alloc", "run")
    assert "Breakpoint 2 at Heap::alloc (2 locations)." in said
    assert f"({next(one for one in wanted if one)})" in said.splitlines()[0] or "kern::Heap::alloc(int)" in said
    assert "<kern::Heap::alloc(int)" in said.splitlines()[-1]
    assert dbg.typed("break Heap::alloc(char)").startswith("refused: no function is called 'Heap::alloc(char)'")


SCOPED = """print kern::heap
whatis kern::heap
whatis &kern::heap
print &kern::heap
print *kern::bp
whatis kern::bp
whatis *kern::bp
whatis kern::block_t
ptype kern::block_t
ptype kern::Heap::Block
ptype struct kern::Heap::Block
whatis kern::numbers
print kern::numbers
print kern::heaps
print sizeof(kern::Vec<int>)
print (kern::Vec<int>*)&kern::numbers
whatis (kern::Vec<kern::Heap *>*)0
print *(kern::Heap::Block*)kern::bp
print kern::RED
print kern::Mode::OFF
print (kern::Colour)4
print (kern::Mode)2
print kern::mode
print/d kern::mode
whatis kern::mode
ptype kern::mode
ptype kern::Colour
ptype kern::empty
print kern::empty
print sizeof(kern::Heap)
print kern::heap.parts
whatis kern::Heap::alloc""".splitlines()


@pytest.mark.parametrize("bits", [32, 64])
def test_names_with_scopes_are_those_of_gdb(debug: Open, bits: int) -> None:
    dbg = debug("namespaces.cc", flags="-fno-exceptions -fno-rtti", bits=bits)
    theirs = answers_of_gdb(GDBS["distribution"], dbg.path, ["set language c++", *SCOPED])[1:]
    ours = answers_of_kvmdbg(dbg.session, SCOPED)
    assert [(one, two) for one, two in zip(theirs, ours, strict=True) if one != two] == []


def test_inner_scopes_are_enough(debug: Open) -> None:
    dbg = debug("namespaces.cc", flags="-fno-exceptions -fno-rtti")
    assert value(dbg, "hidden_one") == value(dbg, "kern::hidden_one") == "{x = 3}"
    assert value(dbg, "sizeof(Heap::Block)") == value(dbg, "sizeof(Block)") == "12"
    assert value(dbg, "Colour::GREEN") == "kern::GREEN"
    assert dbg.typed("whatis kern::nothing").startswith("refused: no variable and no type is called")

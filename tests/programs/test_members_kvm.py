"""C++'s members, base classes and overloads: what gdb says of them, and calls of them."""

from __future__ import annotations

import re

import pytest

from tests.beside_gdb import answers_of_gdb, answers_of_kvmdbg
from tests.e2e.debuggers import GDBS
from tests.programs.conftest import Debugger, Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]
FLAGS = "-fno-exceptions -fno-rtti -fno-threadsafe-statics -w"
ALIKE = r"""
print derived|print -pretty -- derived|print *base_pointer|print base_ref|print diamond|print ints
print nested_array|print special|print vec|print anon|print bits|print ref|print cref|print with_ref
print empty|print priv|print init|print point|print colour|print level|print plain|print member_pointer
print member_pointer2|print method_pointer|print method_pointer2|print function_pointer|print *function_pointer
print function_ref|print array_ref|print array_ref[1]|print truth|print c16|print c32|print lambda|print tree
print uni|print cexpr|print text|print fwd|print Base::count|print Base::limit|print derived.count
print Derived::all|print derived.b|print derived.o|print diamond.b|print derived.Base::b|print &derived.Base::b
print outer::inner::deep|print short_name::deep|print (anonymous namespace)::hidden
print '(anonymous namespace)::hidden'|print outer::inner::Colour::green|print (outer::inner::Colour)5
print (outer::inner::Colour)1|print Level::high|print (Level)10|print two|print Derived::large
print derived.kind|print (Derived::Kind)0|print &Base::b|print &Derived::d|print &Base::area|print &Base::plain
print derived.area|print base_pointer->plain|print derived.*member_pointer|print base_pointer->*member_pointer
print sizeof(Derived)|print sizeof(derived)|print sizeof(int&)|print sizeof(ref)|print &ref|print *&ref
print &with_ref.r|print with_ref.r + 1|print ref + 1|print (Derived *)base_pointer
print *(Derived *)base_pointer|print static_cast<Derived *>(base_pointer)
print reinterpret_cast<long>(base_pointer)|print reinterpret_cast<Derived *>(base_pointer)
print const_cast<const Base *>(base_pointer)|print *static_cast<Derived *>(base_pointer)|print true|print false
print !truth|print true + 1|print nullptr|print this|print plain_function|print overloaded|print &overloaded
print 'overloaded(int)'|print 'overloaded(long)'|print biggest<int>|print biggest<int>(int, int)
print 'biggest<int>(int, int)'|print derived.nested|print derived.nested.n|print/x derived|print/x vec
print/d ref|print/x ref|print &derived|print &base_ref|print &vec|print *&vec|print sizeof(Array<int, 3>)
print (Array<int, 3> *)0|print (Array<int,3> *)0|print ints.items[1]|print ints.size|print/c outer::inner::deep
print derived._vptr|print derived._vptr.Base|print *derived._vptr.Base@2|print _vptr|print typeid(int)
print sizeof derived|print lambda.x|print outer::inner|print bool(5)|print int(3.5)|print @derived
print -static-members off -- derived|print -vtbl on -- derived|ptype derived|ptype Derived|ptype struct Derived
ptype class Derived|ptype Base|ptype Other|ptype Diamond|ptype Virtual1|ptype Vec|ptype Anon|ptype Bits
ptype WithRef|ptype Empty|ptype Private|ptype Init|ptype Derived::Nested|ptype Derived::Kind|ptype Level
ptype level|ptype outer::inner::Point|ptype outer::inner::Colour|ptype lambda|ptype uni|ptype member_pointer
ptype method_pointer|ptype method_pointer2|ptype function_pointer|ptype function_ref|ptype array_ref|ptype ref
ptype cref|ptype rref|ptype base_pointer|ptype base_ref|ptype &Base::b|ptype plain_function|ptype overloaded
ptype Base::area|ptype Base::plain|ptype derived.area|ptype Derived::number|ptype Tree|ptype fwd
ptype/o Derived|ptype/o Diamond|ptype/o Bits|ptype/o Anon|ptype/o Private|ptype/m Derived|ptype/t Derived
ptype/mt Derived|ptype int&|ptype short_name::Point|ptype derived.nested|whatis derived|whatis Derived
whatis ref|whatis cref|whatis rref|whatis &ref|whatis base_ref|whatis member_pointer|whatis method_pointer
whatis method_pointer2|whatis &Base::b|whatis &Base::area|whatis Base::area|whatis function_ref|whatis lambda
whatis ints|whatis nested_array|whatis vec|whatis level|whatis colour|whatis derived.kind|whatis derived.nested
whatis derived.Base::b|whatis short_name::deep|whatis truth|whatis *base_pointer|whatis anon|whatis bits.flag
whatis names|whatis bits.l|whatis with_ref.r|whatis with_ref|whatis with_ref.p|whatis Derived::number
whatis outer::inner::Point|whatis biggest<int>|whatis plain_function|whatis (Array<int, 3> *)0
whatis static_cast<Derived *>(base_pointer)|whatis vec + vec|whatis vec == vec|whatis sizeof(int)|whatis 5 == 5
whatis !truth|whatis true && false|whatis c16
"""


@pytest.mark.parametrize(("bits", "version"), [(64, "-gdwarf-5"), (32, "-gdwarf-4"), (64, "-gdwarf-3")])
def test_all_is_as_in_gdb(debug: Open, bits: int, version: str) -> None:
    dbg = debug("members.cc", flags=f"{FLAGS} {version}", bits=bits)
    lines = [one for row in ALIKE.strip().splitlines() for one in row.split("|")]
    theirs = answers_of_gdb(GDBS["distribution"], dbg.path, ["set language c++", *lines])[1:]
    ours = answers_of_kvmdbg(dbg.session, lines)
    found = zip(lines, theirs, ours, strict=True)
    assert [one for one in found if one[1] != one[2] and not one[1].startswith("(refused)")] == []


@pytest.fixture
def dbg(debug: Open) -> Debugger:
    return debug("members.cc", flags=FLAGS, bits=64)


def values(dbg: Debugger, *expressions: str) -> list[str]:
    return [dbg.typed(f"print {one}").partition(" = ")[2] for one in expressions]


def test_functions_are_called_by_what_they_take(dbg: Debugger) -> None:
    asked = {
        "overloaded(1)": "2", "overloaded(1L)": "3", "overloaded(text)": "104", "plain_function(2, 3)": "5",
        "biggest<int>(3, 9)": "9", "vec + vec": "{x = 6, y = 8}", "vec == vec": "true", "vec(5)": "15",
        "ints.size()": "3", "derived.plain()": "2", "derived.area()": "3", "base_pointer->area()": "3",
        "base_pointer->plain()": "2", "ints[1] + 1": "3",
        "lambda(4)": "8",
    }  # fmt: skip
    found = dict(zip(asked, values(dbg, *asked), strict=True))
    assert found == asked
    assert values(dbg, "++vec")[0].endswith(": {x = 4, y = 4}")
    assert values(dbg, "vec--") == ["{x = 3, y = 4}"]
    assert "'--' cannot change" in dbg.typed("print --vec")
    dbg.typed("set call-keeps on")
    assert values(dbg, "vec--, vec") == ["{x = 2, y = 4}"]


def test_a_virtual_base_is_where_the_object_says(dbg: Debugger) -> None:
    dbg.typed("break marker", "run", "up", "set print symbol off")
    said = values(dbg, "built")[0]
    assert re.sub("0x[0-9a-f]+", "…", said) == (
        "{<Virtual1> = {<Base> = {_vptr.Base = …, b = 1, static count = 9, static limit = 42}, _vptr.Virtual1 = …, "
        "v1 = 11}, <Virtual2> = {_vptr.Virtual2 = …, v2 = 12}, dd = 13}"
    )
    assert values(dbg, "built.b", "built.Virtual2::v2", "(&built)->b + 1", "built.area()") == ["1", "12", "2", "1"]
    dbg.typed("set var built.b = 6")
    assert values(dbg, "built.Base::b", "built.plain()") == ["6", "7"]
    rows = dbg.typed("info locals")
    assert "<Base> = {_vptr.Base = " in rows and re.search(r"local_ref +@0x[0-9a-f]+: 5 +int &", rows)
    assert dbg.typed("set print static-members off", "print built").count("static") == 0


def test_what_a_reference_is(dbg: Debugger) -> None:
    dbg.typed("break kmain", "run", "set var ref = 9")
    assert values(dbg, "target", "ref + 1", "sizeof(ref)", "*&ref") == ["9", "10", "4", "9"]
    assert values(dbg, "ref")[0].endswith(": 9")
    assert "refused: behind '.*'" in dbg.typed("print vec.*target")

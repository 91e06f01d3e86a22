"""Objects of C++ by the class that they really have: set print object, info vtbl, dynamic_cast."""

from __future__ import annotations

import re

import pytest

from tests.beside_gdb import answers_of_gdb, answers_of_kvmdbg
from tests.e2e.debuggers import GDBS
from tests.programs.conftest import Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]
FLAGS = "-fno-exceptions -fno-rtti -fno-threadsafe-statics -w"
NAMES = (
    "to_base|*to_base|to_derived|*to_derived|to_bottom|*to_bottom|to_const|*to_const|second|*second|third|*third|to_row"
    "|*to_row|reference|other_reference|&reference|*&reference|holder|*&holder|holder.p|*holder.p|holder.q|rows|rows[1]"
    "|*rows[1]|null|broken|*broken|plain|&plain|derived|&derived|nowhere|(Base *)to_bottom|(void *)to_bottom|second->o"
    "|(long)second|to_bottom->area()|row|bottom.b"
).split("|")
TABLES = "to_base|to_bottom|*to_bottom|second|third|bottom|derived|reference|plain|5|row|base.b".split("|")
ALIKE = [
    "set print object on",
    *(f"{command} {name}" for name in NAMES for command in ("print", "whatis", "ptype", "print/x") ),
    "print -object off -- *third", "output *third", "set print object off",
    *(f"{command} {name}" for name in ("third", "*third", "reference") for command in ("print", "whatis")),
    *(f"info vtbl {name}" for name in TABLES),
    "print -object -- third",
    "print dynamic_cast<Derived *>(to_base)", "print dynamic_cast<deep::Deep *>(second)",
    "print dynamic_cast<Plain *>(second)", "print dynamic_cast<Derived *>(null)", "print dynamic_cast<int *>(second)",
    "whatis dynamic_cast<Derived *>(second)",
]  # fmt: skip

ELSE = (
    "print to_bottom->area()", "print/x to_bottom->area()",  # gdb calls nothing without a process
    "print/x holder", "print/x *&holder",  # gdb has an @ before a reference, too
    "ptype row",  # gdb has T for each type that is T's
)  # fmt: skip


@pytest.mark.parametrize("bits", [64, 32])
def test_what_gdb_says_of_objects(debug: Open, bits: int) -> None:
    dbg = debug("objects.cc", flags=FLAGS, bits=bits)
    lines = [one for one in ALIKE if one not in ELSE]
    theirs = answers_of_gdb(GDBS["distribution"], dbg.path, ["set language c++", *lines])[1:]
    ours = answers_of_kvmdbg(dbg.session, lines)
    found = zip(lines, theirs, ours, strict=True)
    assert [one for one in found if one[1] != one[2] and (one[1] + one[2]).count("(refused)") != 2] == []


def test_casts_by_the_class_of_the_object(debug: Open) -> None:
    dbg = debug("objects.cc", flags=FLAGS, bits=64)

    def same(one: str, other: str) -> bool:
        return dbg.typed(f"print ({one}) == ({other})").endswith("= true")

    assert same("dynamic_cast<Derived *>(second)", "&derived")  # gdb 13 gives the table's address for the whole object
    assert same("dynamic_cast<deep::Deep *>(to_bottom)", "&bottom")
    assert same("dynamic_cast<Other *>(to_bottom)", "third")
    assert same("dynamic_cast<void *>(third)", "(void *)&bottom")
    assert same("&dynamic_cast<Derived &>(reference)", "&derived")
    assert dbg.typed("print dynamic_cast<Derived *>(second)->d").endswith("= 3")
    assert "is no deep::Deep" in dbg.typed("print dynamic_cast<deep::Deep &>(reference)")
    assert "is not known" in dbg.typed("print dynamic_cast<Derived *>(broken)")
    assert "needs an object" in dbg.typed("print dynamic_cast<Derived *>(&plain)")


def test_the_tables_of_the_whole_object(debug: Open) -> None:
    dbg = debug("objects.cc", flags=FLAGS, bits=64)
    whole = dbg.typed("info vtbl bottom")
    assert whole.count("vtable for") == 2 and "[2]: " in whole
    assert dbg.typed("info vtbl to_bottom") != whole
    assert dbg.typed("set print object on", "info vtbl to_bottom") == dbg.typed("info vtbl third") == whole


def test_a_virtual_base(debug: Open) -> None:
    dbg = debug("objects.cc", flags=FLAGS, bits=64)
    dbg.typed("break here", "run", "up", "set print object on")
    shown = re.sub("0x[0-9a-f]+", "…", dbg.typed("print *through", "whatis through", "info vtbl *through"))
    assert shown.splitlines() == [
        "$1 = (Virtual) {<Base> = {_vptr.Base = … <vtable for Virtual+56>, b = 1}, "
        "_vptr.Virtual = … <vtable for Virtual+24>, v = 7}",
        "type = /* real type = Virtual * */",
        "Base *",
        "vtable for 'Virtual' @ … (subobject @ …):",
        "[0]: … <Virtual::area()>",
        "",
        "vtable for 'Base' @ … (subobject @ …):",
        "[0]: … <virtual thunk to Virtual::area()>",
    ]
    assert dbg.typed("print dynamic_cast<Virtual *>(through) == &local").endswith("= true")

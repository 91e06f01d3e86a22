"""Expressions over a program: its types are those of its compiler in 32 and in 64 bits; the values are gdb's."""

from __future__ import annotations

import re

import pytest

from tests.programs.conftest import Debugger, Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SHOWN = {
    "print sizeof(long)": ("4", "8"), "print *(long*)&lng": ("-9", "-9"),
    "print/x *(unsigned long*)arr": ("0x1", "0x200000001"), "print now-start": ("21", "21"),
    "print now-start<100": ("1", "1"), "print t-u>0": ("1", "1"), "print neg<now": ("0", "0"),
    "print neg==0xffffffff": ("1", "1"), "print start*2": ("4294967264", "4294967264"), "print flags<<1": ("0", "0"),
    "print ~now": ("4294967290", "4294967290"), "print (unsigned)1-2": ("4294967295", "4294967295"),
    "print -1>0u": ("1", "1"), "print sc": ("-5 '\\373'", "-5 '\\373'"), "print/d sc": ("-5", "-5"),
    "print/u sc": ("251", "251"), "print (float)3": ("3", "3"), "print f+1": ("3.5", "3.5"), "print f>2": ("1", "1"),
    "print 1.5": ("1.5", "1.5"), 'print "abc"': ('"abc"', '"abc"'), "print (1,2)": ("2", "2"),
    "print (int)3.7": ("3", "3"), "print key": ('"k\\000\\310!"', '"k\\000\\310!"'),
    "print 'integers.c'::now": ("5", "5"), "print twice::calls": ("3", "3"), "print ::neg": ("-1", "-1"),
    "print (unsigned char[4])now": ('"\\005\\000\\000"', '"\\005\\000\\000"'),
    "print *(char(*)[4])&now": ('"\\005\\000\\000"', '"\\005\\000\\000"'),
    "ptype unsigned long": ("type = unsigned long",) * 2,
    "whatis struct bits": ("type = struct bits",) * 2, "whatis bits": ("type = struct bits",) * 2,
    "whatis matrix": ("type = int [3][4]",) * 2, "whatis twice": ("type = int (int)",) * 2,
    "whatis &matrix": ("type = int (*)[3][4]",) * 2, "whatis lng + 1": ("type = int", "type = long"),
    "whatis now + lng": ("type = unsigned int", "type = long"), "whatis f * 2": ("type = volatile float",) * 2,
    "print fn": ("(int (*)(int)) 0x0",) * 2, "print values": ("{{1, 2}, {3, 4}}",) * 2,
    "print values[1]@1": ("{{3, 4}}",) * 2, "print *values[1]@2": ("{3, 4}",) * 2, "print -5 / 2u": ("2147483645",) * 2,
    "print sizeof(long double)": ("12", "16"), "print &arr[2] - arr": ("2", "2"), "print $_": ("void", "void"),
    "output/f bad_float": ("nan(0x400000)",) * 2,
}  # fmt: skip


@pytest.fixture(params=[32, 64])
def both(debug: Open, request: pytest.FixtureRequest) -> tuple[Debugger, int]:
    return debug("integers.c", bits=request.param), request.param


def test_values_and_types(both: tuple[Debugger, int]) -> None:
    dbg, bits = both
    shown = {line: re.sub(r"^\$\d+ = ", "", dbg.typed(line)) for line in SHOWN}
    assert shown == {line: of_width[bits == 64] for line, of_width in SHOWN.items()}


def test_what_is_refused(both: tuple[Debugger, int]) -> None:
    dbg, _ = both
    assert "Attempt to take contents of a non-pointer value." in dbg.typed("print *vp")
    assert "a bit field has no address" in dbg.typed("print &bits.runs")


def test_bit_fields_and_structures_are_written(both: tuple[Debugger, int]) -> None:
    dbg, _ = both
    dbg.typed("set var bits.runs=3", "set var bits.after += 1")
    assert dbg.typed("output bits") == "{before = 1, runs = 3, after = -2}"
    dbg.typed("set var bits = other", "set var f = 0.25", "set var lng = -2")
    assert dbg.typed("output bits") == "{before = 2, runs = 9, after = 4}"
    assert dbg.typed("output f * lng") == "-0.5"


def test_registers_have_the_types_of_pointers(both: tuple[Debugger, int]) -> None:
    dbg, bits = both
    sp, ip = ("esp", "eip") if bits == 32 else ("rsp", "rip")
    dbg.typed("break kmain", "run")
    assert dbg.typed(f"output ${sp}").startswith("(void *) 0x")
    assert dbg.typed(f"output ${ip}").startswith("(void (*)()) 0x") and "<kmain+" in dbg.typed(f"output ${ip}")
    assert dbg.typed(f"whatis ${sp} + 4") == "type = void *"


def test_the_history_and_what_x_leaves(both: tuple[Debugger, int]) -> None:
    dbg, _ = both
    dbg.typed("print values", "set var values[0][0] = 9")
    assert dbg.typed("output $1[0]") == "{1, 2}" and dbg.typed("output values[0]") == "{9, 2}"
    dbg.typed("print f", "x/2dw &values")
    assert dbg.typed("output $2 + 1") == "3.5"
    assert dbg.typed("output $__") == "2" and dbg.typed("output $_").startswith("(int32_t *) 0x")
    assert dbg.typed("show values") == "$1 = {{1, 2}, {3, 4}}\n$2 = 2.5"
    assert dbg.typed("show values 1").startswith("$1 = ")
    dbg.typed("set $copy = bits", "set $half = f / 2")
    assert dbg.typed("output $copy.before", "output $half") == "1\n1.25"


def test_how_values_are_shown_is_set(both: tuple[Debugger, int]) -> None:
    dbg, _ = both
    assert dbg.typed("output -pretty -- bits") == "{\n  before = 1,\n  runs = 0,\n  after = -3\n}"
    assert dbg.typed("output -array-indexes on -elements 1 -- arr") == "{[0] = 1...}"
    assert dbg.typed("output -t - -t") == "0"  # no option without --
    dbg.typed("set print pretty on", "set p elements 2", "set print symbol off")
    assert dbg.typed("output bits").startswith("{\n  before") and dbg.typed("output arr") == "{1, 2...}"
    assert "<" not in dbg.typed("output vp") and "<twice>" in dbg.typed("output &twice")
    assert re.search(r"elements +2$", dbg.typed("show print"), re.MULTILINE)
    assert dbg.typed("show print elements").endswith("is 2.")
    dbg.typed("set print elements unlimited")
    assert dbg.typed("output arr") == "{1, 2, 3}" and "unlimited" in dbg.typed("show print elements")
    for line, says in (
        ("set print nonsense on", "there is no setting print nonsense"),
        ("set print elements x", "needs a number"),
        ("set print pretty perhaps", "is on or off"),
        ("show print vtbl", "gdb's alone"),
    ):
        assert says in dbg.typed(line), line

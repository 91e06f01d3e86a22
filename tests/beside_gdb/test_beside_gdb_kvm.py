"""What kvmdbg shows of expressions is what gdb shows of them, but for what docs/expressions.md says."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

import kvmdbg
from tests.beside_gdb import Difference, answers_of_gdb, answers_of_kvmdbg, build, differences
from tests.beside_gdb.questions import Questions
from tests.e2e.debuggers import GDBS

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]
COUNT = 500
"""For each of the four programs: 2,000."""


@pytest.mark.parametrize(("bits", "optimize"), list(product((32, 64), ("-O0", "-O2"))))
def test_generated_expressions(tmp_path: Path, bits: int, optimize: str) -> None:
    program = build(tmp_path, bits, optimize)
    questions = Questions(bits + len(optimize))
    lines = [questions.question() for _ in range(COUNT)]
    theirs = answers_of_gdb(GDBS["distribution"], program, lines)
    with kvmdbg.open(program, memory="16M") as session:
        ours = answers_of_kvmdbg(session, lines)
    found = differences(lines, theirs, ours)
    assert not [one for one in found if not one.reason]
    assert len(found) < COUNT // 20


def test_of_32_bits(tmp_path: Path) -> None:
    """There wchar_t is a long, and no type has 128 bits."""
    program = build(tmp_path, 32, "-O0")
    lines = ["whatis L'a'", "whatis -L'a'", "whatis ~wide", "print sizeof(L'a')", "whatis *&huge", "whatis *vp"]
    theirs = answers_of_gdb(GDBS["distribution"], program, lines)
    with kvmdbg.open(program, memory="16M") as session:
        assert differences(lines, theirs, answers_of_kvmdbg(session, lines)) == []


@pytest.mark.parametrize("flags", ["-gdwarf-4 -fdebug-types-section", "-gdwarf-5 -fdebug-types-section"])
def test_types_in_units_of_their_own(tmp_path: Path, flags: str) -> None:
    program = build(tmp_path, 64, "-O1", flags)
    lines = [
        *("print g", "print *bp", "print col", "print GREEN", "whatis enum colour", "ptype union any", "print node"),
        *("print (point_t)pt", "print sizeof(struct big)", "ptype struct big", "print g.mode", "whatis g.self->col"),
    ]
    theirs = answers_of_gdb(GDBS["distribution"], program, lines)
    with kvmdbg.open(program, memory="16M") as session:
        ours = answers_of_kvmdbg(session, lines)
    assert not [one for one in differences(lines, theirs, ours) if not one.reason]
    assert not any("refused" in one for one in ours)


def test_a_difference_is_found() -> None:
    lines = ["print 1", "print 2", "print x", "print yes+no"]
    theirs = ["1", "2", "(refused) No symbol", "(refused) Invalid operation on booleans."]
    found = differences(lines, theirs, ["1", "3", "(refused) no symbol", "1"])
    assert [(one.line, bool(one.reason)) for one in found] == [("print 2", False), ("print yes+no", True)]
    assert str(found[0]) == "print 2\n  gdb:    2\n  kvmdbg: 3"
    assert isinstance(found[0], Difference)


FORMS = r"""
print wide|print wname|print wp|print *wp|print c16|print s16|print p16|print c32|print s32|print wrep
print/x wname|print mixture|whatis wide|whatis wide + 0|ptype wide|print sizeof(wname)|print L'a'|whatis u'a'
print U"ab" "c"|print L"abc"[1]|whatis L"abc"|print sizeof(u"abc")|print '\x41'|print wide == L'k'
print {1, 2, 3}[1]|whatis {1, 2}|print sizeof({1, 2, 3})|print {'a', 'b'}|print {{1, 2}, {3, 4}}|print {1, 'a'}
print {num}|print {pt, pts[1]}|print {short}&num|print {int[2]}table|print u8|print u8 + 1|print half
whatis (u16)num|print sizeof(nothing_here)|whatis nothing_here + 1|print huge|print/x minus|print most
print/t minus|print sizeof(huge)|whatis huge|print &huge|print -elements 3 -- wname|output s16
print quad|print quads|print quad * 3|print quad / 3|print (double)quad|print quad == quad|print $q = quad|print $q + 1
whatis quad + 1|print -quads[1]|print (float)quads[1]|print/x quad|print -repeats 3 -- s16|print L"aaaaaaaaaaaaaaab"
print sixteen|print/x sixteen|print/d sixteen|print sixteen[0]|print -elements 3 -- sixteen
print $_inferior|print $_gdb_setting("print elements")|print $_gdb_setting_str("print pretty")|whatis $_inferior
print $_gdb_setting("print max-depth")|whatis $_gdb_setting("print pretty")|print $_gdb_setting("print union") + 1
print 1? waves[0]: 1|print 0? waves[0]: 1|print 0? 1: waves[0]|whatis 1? waves[0]: 1|whatis 0? waves[0]: 1
print 1? waves[1]: 2.5l|print (1? waves[0]: 1) + 1|print (0? 1: waves[0]) * 2i|print $_creal(1? waves[0]: 1)
print waves[0] == (1? waves[0]: 1)|print 1? lanes: 1|print (0? lanes: 2) + lanes
print 1? table: 0|print (0? 0: table)[1]|print *(1? table: 0)|print 1? table: table|print 0? table: 5
print 1? "a": "bcd"|print pts->x|print pts.y|print g.p->y|print &pts->y|whatis (&pts)->x|print shapes->at->y
print num->x|print lanes->x|print $_streq|print $_isvoid|print $_gdb_setting|output $_strlen
printf "%ls|%d\n", wname, 5"""


def test_forms_that_generated_questions_seldom_have(tmp_path: Path) -> None:
    program = build(tmp_path, 64, "-O0")
    lines = [one for row in FORMS.strip().splitlines() for one in row.split("|")]
    lines[-2:] = ["|".join(lines[-2:])]
    theirs = answers_of_gdb(GDBS["distribution"], program, lines)
    with kvmdbg.open(program, memory="16M") as session:
        ours = answers_of_kvmdbg(session, lines)
        assert [one for one in differences(lines, theirs, ours) if not one.reason] == []
        more = {"huge + 1": "1512366075204170947332355369683137041", "minus * 2": "-10", "~most": "0",
                "huge >> 64": "81985529216486895", "1 + (most >> 127)": "2", "huge > 1": "1", "huge == 0": "0",
                "(unsigned __int128)-1 == most": "1", "(long)huge": "-81985529216486896", "minus / 2": "-2",
                "huge & 0xff": "16", "-most": "1", "(__int128)1 << 100": "1267650600228229401496703205376",
                "$big = huge": "1512366075204170947332355369683137040", "$big - huge": "0",
                "L'\\u00e9'": "233 L'é'", 'L"\\u20ac"': 'L"€"'}  # fmt: skip
        assert answers_of_kvmdbg(session, [f"print {one}" for one in more]) == list(more.values())

"""Sessions as gdb's users type them, and the rows of docs/coming-from.md: gdb over a process, kvmdbg over a guest."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from kvmdbg.commands.coming_from import GDB, START, Row
from tests.beside_gdb.sessions import PROGRAM, both, build, differences, of_gdb
from tests.e2e.debuggers import GDBS

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]

SESSIONS = {
    "stepping": """break divide|run|bt|finish|p $|up|info locals|p all[0]|p *all[0].next|down|next|next|step
        step|c|list divide|info line divide|x/4xw $sp|x/3i $pc|x/s all[0].name|disassemble divide
        tbreak fact|c|bt|c""",
    "frames": """break fact|run|bt|c|c|c|bt|info args|frame 2|p n|p $pc|info locals|up|p n|down 2|p n
        finish|bt|finish|p $|finish|bt|info breakpoints|delete|until|next|step|bt|advance last|bt
        finish|bt|finish|bt""",
    "frames not shown": """break fact|run|c|c|select-frame 1|p n|p $pc|up-silently|p n|down-silently 2|p n
        select-frame function kmain|info locals|down-silently|p n|select-frame level 2|p n|frame|select-frame
        up-silently|frame|down-silently 9|down-silently|info stack 2|info args n|info args -q zz
        frame level 1""",
    "enabled for a while": """break fact|break tail|run|enable once 1|c|info breakpoints|c|enable 1|run|c
        enable count 2 1|run|c|info breakpoints|enable delete 1|run|info breakpoints|disable breakpoints
        enable breakpoints|enable breakpoints once 2|run|info breakpoints""",
    "conditions": """break fact if n == 2|run|p n|bt|tbreak by_pointer|condition 1 n == 1|c|p n|c|bt
        info breakpoints|step|step|bt|finish|next|next""",
    "watchpoints": """break shrink|run|watch all[0].total|c|p all[0].total|c|p all[0].total|info breakpoints
        disable 1|c|p all[0].total|delete 2|break count|c|step|step|step|p number|watch number|c
        p number|c|c|c|bt|info breakpoints|delete|tbreak tail|c|stepi|nexti|x/i $pc|stepi 4|until
        step|bt""",
    "data": """break tasks.c:8|info breakpoints|p $_|break 15|break tasks.c:20|tbreak kmain|run|next|next
        step|step|step|c|c|ignore 1 2|c|p all|p/x all|p &all[1]|p *all@2|p all[0].step|ptype all
        whatis &all|p sizeof(all)|p $bpnum|x/2xg all|x/s all[0].name|p $_|p $__
        x/3dw &all[0].state|x/2s all[0].name|x/3c all[0].name|x/2xb all[0].name|x/a &all[0].step
        x/2ub all[0].name|x/2ow all|x/2tb all|p/c all[0].name[0]|p/a &all|p/a 0x100011
        output all[0].runs|printf "%s %d %lu %c\\n", all[0].name, all[0].runs, all[0].total, 65
        echo hello\\n|call fact(3)|p fact(5)|p pair_of(3, 4)|p pair_of(3, 4).b|p fact|p *fact
        p &fact|p fact(fact(3))|p last(1) + tail(2)|print (void)0|print $_exitcode
        set var all[0].runs = 50|p all[0].runs++|p all[0].runs|p $rip|p/x $sp|p $sp|p $fp
        whatis $pc|whatis $sp|p $eax|list|list|list -|list 10,12|list fact|list tasks.c:20|list 5,
        list ,20|list kmain,|info line 15|info line tasks.c:20|info line fact|info line *0x100020
        p $_|info line 6|p $_|info line tasks.c:24|info line -line 33""",
    "callers": """break fact if $_caller_is("kmain")|run|bt|p $_caller_is("kmain")|p $_caller_is("fact", 0)
        p $_caller_is("fact")|p $_caller_matches("km")|p $_caller_matches("ain")|condition 1 $_caller_is("fact", 2)
        c|bt|p $_any_caller_is("kmain", 3)|p $_any_caller_is("kmain", 2)|p $_any_caller_matches("kmain", 3)|up 2
        p $_caller_is("kmain")|p $_any_caller_is("fact", 0)""",
    "skipped functions": """break tail|run|skip last|step|bt|skip disable|run|step|bt|skip delete 1|run
        skip -gfi *.c -rfu ^la|step|bt|skip delete|skip file tasks.c|run|step|bt""",
    # behind a list of several lines gdb 13 searches from the first of them, against its manual
    "searches in the source": """list 43,43|forward-search sink|p $_|forward-search sink|fo sink|list|list 58,58
        reverse-search fact|rev sink|list 12,12|fo ;$|list|list -|break fact|run|list 50,50|rev divide|list|list""",
    "loops": "break loops|run" + "|until" * 16,
    "over inlined calls": "break loops|run" + "|next" * 24,
    "jumps": """break tasks.c:41|break fact|run|c|p n|jump fact|p n
        info breakpoints|disable 1 2|finish|return|bt""",
}
OPTIMIZED = {
    "stepping": """break fact|run|bt|c|c|bt|finish|finish|bt|tbreak tail|c|bt|info args|tbreak last|c|bt
        finish|p $""",
    "lines": """break count|run|info line 15|list count|next|next|next|p number|bt|tbreak loops|c|next
        next|p n|info line 33|info line 35|info line 41""",
    "into calls of itself": """break fact if n == 2|run|step|bt|step|bt|step|bt|step|bt|step|bt""",
}


Program = Callable[[str], Path]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program, compiled once with these optimizations."""
    return cache(lambda optimize: build(tmp_path_factory.mktemp("everyday"), optimize))


def lines_of(text: str) -> list[str]:
    return [one.strip() for row in text.splitlines() for one in row.split("|")]


@pytest.mark.parametrize(
    ("optimize", "name"), [*(("-O0", name) for name in SESSIONS), *(("-O1", name) for name in OPTIMIZED)]
)
def test_a_session(program: Program, optimize: str, name: str) -> None:
    lines = lines_of((SESSIONS if optimize == "-O0" else OPTIMIZED)[name])
    theirs, ours = both(program(optimize), lines)
    assert differences(theirs, ours) == []


def test_a_copy_whose_entry_is_not_its_own(program: Program) -> None:
    """gcc says of the copy of divide in shrink that it begins where shrink does, before its first range."""
    theirs, ours = both(program("-O2"), lines_of("break divide|run|bt|info args|p by|up|info locals"))
    assert differences(theirs, ours) == []
    assert (ours[1].function, ours[4].said) == ("divide", "4")


def test_lines_that_are_not_found(program: Program) -> None:
    theirs, ours = both(program("-O0"), lines_of("list 12,12|rev nosuch|fo nosuch|fo ["))
    assert [one.failed for one in ours] == [False, True, True, True]
    assert [one.said for one in theirs][1:] == ["", "", ""] and theirs[0].said == "12" == ours[0].said


def test_start_is_gdbs(tmp_path: Path) -> None:
    program = build(tmp_path, "-O0", PROGRAM.with_name("main.c"))
    lines = lines_of("start|info breakpoints|next|break 10|c|start|info breakpoints|delete|next|start|p $bpnum")
    theirs, ours = both(program, lines)
    assert differences(theirs, ours) == []


NOT_OF_GDB = (
    *(
        "info threads",
        "thread 0",
        "info mem",
        "maintenance",
        "monitor",
        "catch io",
        "python",
        "run",
        "start",
    ),  # a guest's, or anew
    "rwatch",  # asks for debug registers, which a process need not have
    "x/s",  # UTF-8 here, bytes there
)
ROWS = [row for row in GDB if not row.theirs.startswith(NOT_OF_GDB) and "\n" not in row.theirs]


@pytest.mark.parametrize("row", ROWS, ids=[row.theirs for row in ROWS])
def test_a_row_is_the_same_in_gdb(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: Row) -> None:
    monkeypatch.chdir(tmp_path)
    optimize = "-O0"
    lines = ["starti", "stepi 3", *START, *row.setup, row.theirs]
    theirs, ours = both(program(optimize), lines)
    assert differences(theirs[2:], ours[2:]) == []


def test_differences_are_found(program: Program) -> None:
    lines = ["break fact", "run", "p n"]
    theirs = of_gdb(GDBS["distribution"], program("-O0"), lines)
    assert [one.said for one in theirs][-1] == "4"
    other = [*theirs[:-1], theirs[-1]._replace(said="5", pc=0)]
    assert [one.split(": ")[1] for one in differences(theirs, other)] == ["said", "pc"]

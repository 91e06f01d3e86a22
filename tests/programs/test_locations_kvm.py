"""Places in programs as compilers make them: lines, functions, copies of them, C++ names; gdb means the same."""

from __future__ import annotations

import re

import pytest

from kvmdbg.engine.breakpoints import Breakpoint
from tests.programs import gdb
from tests.programs.conftest import Debugger, Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]


def addresses(dbg: Debugger, place: str) -> list[int]:
    return sorted(one.address for one in dbg.session.locations.find(place).locations)


def gdbs_addresses(dbg: Debugger, *places: str) -> dict[str, list[int]]:
    """Where gdb puts a breakpoint on each place."""
    found = {}
    for place in places:
        said = gdb(dbg.path, f"break {place}", "info breakpoints")
        found[place] = sorted(int(one, 16) for one in re.findall(r"\by   (0x[0-9a-f]+)", said))
        assert found[place], said
    return found


@pytest.mark.parametrize(
    ("sources", "flags", "places"),
    [
        (("kernel.c",), "", "add work kmain kernel.c:6 kernel.c:7 kernel.c:8 kernel.c:2 kernel.c:add *0x100010"),
        (("kernel.c",), "-O2", "add work kernel.c:8 kernel.c:10 kernel.c:16 kernel.c:22"),
        (("inlined.c",), "-O1", "emit one inlined.c:5 inlined.c:6 inlined.c:7 inlined.c:10 inlined.c:16"),
        (("inlined.c",), "-O2", "emit two inlined.c:5 inlined.c:6 inlined.c:7"),
        (("same_name_a.c", "same_name_b.c"), "", "init fa same_name_b.c:init same_name_a.c:1 same_name_b.c:3"),
        (("classes.cc",), "-fno-exceptions -fno-rtti", "kern::Heap::alloc Heap::alloc(int) alloc(long) hidden kmain"),
    ],
)  # fmt: skip
def test_places_are_gdbs(debug: Open, sources: tuple[str, ...], flags: str, places: str) -> None:
    dbg = debug(*sources, flags=flags)
    wanted = gdbs_addresses(dbg, *places.split())
    assert {place: addresses(dbg, place) for place in wanted} == wanted


def test_spelled_out_places(debug: Open) -> None:
    dbg = debug("same_name_a.c", "same_name_b.c")
    wanted = gdbs_addresses(
        dbg, "-function init", "-source same_name_b.c -function init", "-source same_name_b.c -line 3"
    )
    assert {place: addresses(dbg, place) for place in wanted} == wanted
    assert "Breakpoint 1 at -fu init (2 locations)" in dbg.typed("break -fu init if 1")
    assert dbg.typed("break -source same_name_b.c").startswith("refused: -source alone is no place")


def test_lines_of_the_current_file(debug: Open) -> None:
    dbg = debug("kernel.c")
    said = dbg.typed("break add", "run", "break 16", "tbreak 21", "break +1", "break 2", "info breakpoints")
    assert re.findall(r"^\d +\S+ +(?:keep|del) +y +(0x\w+) +(in \w+ at \S+)", said, re.MULTILINE) == [
        ("0x100013", "in add at kernel.c:8"), ("0x100049", "in work at kernel.c:16"),
        ("0x10006d", "in kmain at kernel.c:22"), ("0x10001e", "in add at kernel.c:9"),
        ("0x100013", "in add at kernel.c:8"),
    ]  # fmt: skip
    assert dbg.typed("break 1048592") == (
        "refused: kernel.c, the current file, has no code at line 1048592 or behind it (the last is 25); "
        "the address 0x100010, add+0x3, is written *1048592"
    )
    assert "(0x100010)" in dbg.typed("break *1048592")
    assert dbg.typed("clear 16") == "Deleted breakpoint 2."
    assert dbg.typed("delete", "until 16", "info line").splitlines()[1].startswith('Line 16 of "kernel.c"')


def test_one_breakpoint_at_all_copies_of_an_inlined_function(debug: Open) -> None:
    dbg = debug("inlined.c", flags="-O1")
    said = dbg.typed("break inlined.c:6", "run", "continue", "continue", "continue")
    assert said.count("Breakpoint 1 at 0x") == 3
    assert "Halted" in said
    (point,) = dbg.session.breakpoints.breakpoints()
    assert (point.hits, [one.hits for one in point.places]) == (3, [1, 1, 1])
    rows = dbg.typed("disable 1.2", "info breakpoints").splitlines()
    assert [row.split()[0] for row in rows[1:]] == ["1", "already", "1.1", "1.2", "1.3"]
    assert "in emit at inlined.c:6" in rows[3]
    assert rows[4].split()[1] == "n"
    assert dbg.typed("run", "continue", "continue").count("Breakpoint 1 at 0x") == 2
    assert dbg.typed("enable 1.2-3", "run", "continue", "continue").count("Breakpoint 1 at 0x") == 3
    assert dbg.typed("enable 1.4") == "refused: breakpoint 1 has no location 4: it has 3"
    assert dbg.typed("delete 1", "run").startswith("Halted")


def test_a_condition_sees_the_locals_of_each_copy(debug: Open) -> None:
    dbg = debug("same_name_a.c", "same_name_b.c")
    dbg.typed("break init if a == 1", "run")
    assert dbg.typed("print a") == "$1 = 1"
    assert dbg.typed("ignore 1 1", "condition 1", "run", "print a").endswith("= 1")


def test_a_breakpoint_waits_for_symbols(debug: Open) -> None:
    dbg = debug("kernel.c")
    assert "set breakpoint pending on" in dbg.typed("break later")
    assert dbg.typed("set breakpoint pending on", "break later::f(int)") == (
        "Breakpoint 1 at later::f(int) (waits for symbols)."
    )
    assert "(pending)" in dbg.typed("break later", "info breakpoints")
    assert "Halted" in dbg.typed("run")
    symbols = dbg.path.with_name("later.map")
    symbols.write_text("0000000000100036 T later\n")
    dbg.typed(f"add-symbol-file {symbols}", "run")
    point = dbg.session.breakpoints.get(2)
    assert isinstance(point, Breakpoint)
    assert (point.address, point.hits) == (0x100036, 1)


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("kernel.c:nix", "no function and no label of kernel.c is called 'nix'"),
        ("nix.c:3", "no code comes from a file nix.c; code comes from kernel.c, start32.S"),
        ("a::b(int)", "no function is called 'a::b(int)'"),
        ("nix", "no symbol 'nix'"),
        ("kernel.c:99", "no code comes from line 99 of kernel.c or behind it"),
        ("-line", "-line needs a value"),
        ("-nix 3", "'-nix' is none of -source, -function, -line, -label, -qualified"),
    ],
)
def test_a_place_that_is_none_says_so(debug: Open, place: str, why: str) -> None:
    assert debug("kernel.c").typed(f"break {place}").startswith(f"refused: {why}")


def test_hooks_are_at_all_copies(debug: Open) -> None:
    dbg = debug("inlined.c", flags="-O1")
    seen = []
    dbg.session.on.insn("emit")(lambda event: seen.append(event.pc))
    dbg.typed("run")
    assert seen == addresses(dbg, "emit")


def shown(text: str) -> list[int]:
    """The numbers of the lines that a listing shows."""
    return [int(one) for one in re.findall(r"^(?:=>)? *(\d+)(?:  |$)", text, re.MULTILINE)]


def test_list_shows_what_gdb_shows(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("break add", "run")
    for command in ("list 14", "list 5,8", "list ,20", "list add", "list work,kmain", "list kernel.c:12", "list 20,"):
        said = gdb(dbg.path, "list kernel.c:8", command)
        wanted = [int(one) for one in re.findall(r"^(\d+)\t", said, re.MULTILINE)][10:]
        assert shown(dbg.typed(command)) == wanted, command
    assert shown(dbg.typed("list 14", "list", "list -"))[-10:] == list(range(9, 19))
    assert dbg.typed("list *(add+3)").startswith("0x100010 is in add (kernel.c:7).")
    assert shown(dbg.typed("list *$pc")) == list(range(3, 13))
    assert dbg.typed("list 1,3", "list -").endswith("refused: already at the start of kernel.c")
    assert dbg.typed("list 99").startswith("refused: line 94 is not there: kernel.c has")


def test_all_functions_of_a_name_are_listed(debug: Open) -> None:
    said = debug("same_name_a.c", "same_name_b.c").typed("list init")
    assert "file: same_name_a.c, line number: 1, function: init" in said
    assert "file: same_name_b.c, line number: 1, function: init" in said


def test_where_a_place_is(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("break add", "run")
    assert dbg.typed("info line *$pc").startswith(
        'Line 8 of "kernel.c" starts at address 0x100013 <add+0x6> and ends at 0x10001e <add+0x11>.'
    )
    assert 'Line 14 of "kernel.c" starts at address 0x100039' in dbg.typed("info line 14")
    assert dbg.typed("info symbol *$pc") == "0x100013 is add+0x6"
    assert dbg.typed("info symbol add") == "0x10000d is add"
    assert dbg.typed("info symbol 1048592") == "0x100010 is add+0x3"
    assert dbg.typed("disassemble kernel.c:work").startswith("Function work:")

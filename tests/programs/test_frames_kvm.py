"""Frames of programs as compilers make them: inlined ones, arguments, the registers of the frame that is selected."""

from __future__ import annotations

import re

import pytest

from tests.programs.conftest import Open

pytestmark = [pytest.mark.kvm, pytest.mark.e2e]


def test_inlined_functions_are_frames(debug: Open) -> None:
    dbg = debug("inlined.c", flags="-O1")
    rows = dbg.typed("break emit", "run", "bt").splitlines()
    assert [row.split()[2:5] for row in rows[-5:-1]] == [
        ["emit", "(inlined)", "inlined.c:6"], ["one", "inlined.c:10", "inlined"], ["kmain+0x5", "inlined.c:14", "cfi"],
        ["_start+0xa", "start32.S:4", "cfi"],
    ]  # fmt: skip
    assert "c=49" in rows[-5]
    assert dbg.typed("info locals").split() == ["Name", "Value", "Type", "twice", "98", "int"]
    assert dbg.typed("print c") == "$1 = 49"
    assert dbg.typed("up").splitlines()[0] == "#1  0x10000d <one> at inlined.c:10"
    assert dbg.typed("info locals") == "No locals."
    assert dbg.typed("print $pc") == "$2 = (void (*)()) 0x10000d <one>"
    assert "inlined  into one" in re.sub(" +", "  ", dbg.typed("frame 0", "info frame")).replace("into  ", "into ")


def test_backtraces_of_parts(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("break add", "run")
    whole = dbg.typed("bt").splitlines()
    assert [re.findall(r"\w+=\w+", row) for row in whole[1:4]] == [["a=0", "b=2"], ["n=3"], []]
    assert [row.split()[0] for row in dbg.typed("bt -2").splitlines()[1:-1]] == ["#2", "#3"]
    assert dbg.typed("bt 1").splitlines()[1].startswith("#0")
    full = dbg.typed("bt full 2").splitlines()
    assert full[0] == "#0  0x100013 <add+0x6> (a=0, b=2) at kernel.c:8"
    assert [row.split() for row in full[1:5]] == [
        ["sum", "=", "0"], ["#1", "0x100053", "<work+0x20>", "(n=3)", "at", "kernel.c:16"], ["i", "=", "0"],
        ["got", "=", "0"],
    ]  # fmt: skip
    assert dbg.typed("bt 0").startswith("refused: COUNT must be at least 1")


def test_the_selected_frame_rules_registers(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("break add", "run")
    regs = dbg.session.regs
    innermost = (regs.rip, regs.rsp, regs.rbp)
    assert dbg.typed("frame 1", "print $pc", "print/x $eip").splitlines()[-2:] == [
        "$1 = (void (*)()) 0x100053 <work+32>", "$2 = 0x100053",
    ]  # fmt: skip
    (ebp,) = re.findall(r"ebp +(0x\w+)", dbg.typed("info registers ebp"))
    assert int(ebp, 16) == int.from_bytes(dbg.session.memory.read(innermost[2], 4), "little")
    assert re.search(r"esp +" + f"{innermost[2] + 8:#x}", dbg.typed("info registers"))
    assert re.search(r"pc +0x100053", dbg.typed("info registers pc"))
    assert dbg.typed("x/i $pc").split()[1:3] == ["<work+0x20>", "add"]
    assert dbg.typed("print n") == "$3 = 3"
    assert dbg.typed("list").count("=>") == 0
    assert "of the selected frame is not in the register now" in dbg.typed("set $pc = 0")
    assert dbg.typed("frame 0", "print $pc").endswith("$4 = (void (*)()) 0x100013 <add+6>")
    assert (regs.rip, regs.rsp, regs.rbp) == innermost


def test_frames_by_name_and_for_all(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("break add", "run")
    assert dbg.typed("frame function kmain").startswith("#2 ")
    assert dbg.typed("frame function nix") == "refused: no frame of a function nix"
    assert dbg.typed("frame level 1").startswith("#1 ")
    assert dbg.typed("frame apply level 0-1 -q print $pc").split("\n") == [
        "$1 = (void (*)()) 0x100013 <add+6>", "$2 = (void (*)()) 0x100053 <work+32>",
    ]  # fmt: skip
    assert dbg.session.frame.number == 1
    assert dbg.typed("faas print sum").splitlines() == ["#0  0x100013 <add+0x6> (a=0, b=2) at kernel.c:8", "$3 = 0"]
    assert dbg.typed("frame apply 1").startswith("refused: frame apply needs frames and a command")
    assert dbg.typed("down 9").startswith("#0 ")
    assert dbg.typed("down") == "refused: this is the innermost frame"
    assert dbg.typed("up 9").startswith("#3 ")
    assert dbg.typed("up") == "refused: this is the outermost frame that is known"


def test_methods_are_called_by_their_names(debug: Open) -> None:
    dbg = debug("classes.cc", flags="-fno-exceptions -fno-rtti")
    rows = dbg.typed("break Heap::alloc(long)", "run", "bt").splitlines()
    assert "kern::Heap::alloc(long)+0x3" in rows[-4]
    assert dbg.typed("frame function kern::Heap::alloc").startswith("#0")
    assert "n=7" in rows[-4]


RETURNED = {
    "one_small": "{a = 7, b = -2}",
    "one_large": '{a = 9, b = 2.5, c = "abc"}',
    "one_union": "{i = 5, f = 7.00649232e-45}",
    "one_long": "3298534883328",
    "one_char": "98 'b'",
    "one_text": '0x… <kept+…> "abc"',
    "nothing": "",
}


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("optimize", ["-O0", "-O2 -fno-ipa-cp -fno-ipa-sra"])
def test_finish_shows_values_of_all_kinds(debug: Open, optimize: str, bits: int) -> None:
    dbg = debug("returns.c", flags=optimize, bits=bits)
    for name, value in RETURNED.items():
        said = dbg.typed(f"tbreak {name}", "continue", "finish").splitlines()
        told = [line.partition("Value returned is ")[2] for line in said if "Value returned" in line]
        shown = [re.sub(r"^\$\d+ = ", "", one) for one in told]
        if name == "one_text":
            shown = [re.sub(r"(0x|\+)\w+", r"\1…", one) for one in shown]
        assert shown == ([value] if value else []), said


def test_finish_ends_the_selected_frame(debug: Open) -> None:
    dbg = debug("kernel.c")
    said = dbg.typed("tbreak add", "run", "frame 1", "finish")
    assert "Stepped to 0x100074 <kmain+0xa>" in said
    assert said.endswith("Value returned is $1 = 9")
    dbg = debug("inlined.c", flags="-O1")
    assert "Stepped to 0x10001e <one+0x11>" in dbg.typed("tbreak emit", "run", "finish")


def test_until_and_advance_end_with_the_frame(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("tbreak add", "run")
    assert "Reached 0x100053 <work+0x20>" in dbg.typed("advance kmain")
    assert "Reached 0x100065 <work+0x32> (kernel.c:17)" in dbg.typed("until 17")
    assert "Reached 0x100074 <kmain+0xa>" in dbg.typed("advance kernel.c:8")
    assert "Reached 0x100013 <add+0x6>" in dbg.typed("advance add")


def test_until_does_not_count_deeper_calls(debug: Open) -> None:
    dbg = debug("returns.c")
    dbg.typed("tbreak fact", "run")
    assert dbg.typed("print n") == "$1 = 4"
    fact = dbg.session.symbols.lookup("fact")
    assert fact is not None
    dbg.typed(f"until *{fact.address + fact.size - 1}")  # its ret
    assert dbg.typed("print n").endswith("= 4")


def test_a_watchpoint_on_a_local_ends_with_its_frame(debug: Open) -> None:
    dbg = debug("kernel.c")
    said = dbg.typed(
        "break kernel.c:8", "run", "delete", "watch sum", "watch counter", "continue", "continue", "continue"
    )
    assert "Watchpoint 2: write of 4 bytes" in said
    assert (
        "Watchpoint 2 deleted because the program has left the block in which its expression is valid (sum), "
        "at 0x100053 <work+0x20> (kernel.c:16)." in said
    )
    assert [one.number for one in dbg.session.breakpoints] == [3]
    stop = dbg.session.last_stop
    assert stop is not None
    assert stop.to_json() | {"text": ""} == {
        "stop": "scope-end", "vcpu": 0, "pc": 0x100053, "text": "", "watchpoint": 2, "expression": "sum",
    }  # fmt: skip
    assert "Watchpoint 3: write" in dbg.typed("continue")


def test_a_watchpoint_on_the_place_of_a_local_stays(debug: Open) -> None:
    dbg = debug("kernel.c")
    dbg.typed("break kernel.c:8", "run", "delete", "watch -l sum")
    assert dbg.typed("continue", "continue").count("Watchpoint 2: write") == 2
    dbg.typed("delete", "tbreak add", "run", "watch a", "run")
    assert not list(dbg.session.breakpoints), "another run has another frame"
